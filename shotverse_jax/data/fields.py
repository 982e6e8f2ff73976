"""What the fields of a film's record are, and their check when it is read: records may be made by other programs."""

from collections.abc import Iterable, Mapping

import jax.numpy as jnp
import numpy as np

from shotverse_jax.screenplay import LATENT_STRIDE

FIELDS: dict[str, tuple[type, tuple[int | str | None, ...]]] = {
    "video": (np.uint8, ("F", None, None, 3)),
    "latents": (np.floating, ("T", None, None, None)),
    "pose_T34": (np.floating, ("T", 3, 4)),
    "path_F34": (np.floating, ("F", 3, 4)),
    "shot_T": (np.integer, ("T",)),
    "subject_THW": (np.uint8, ("T", None, None)),
    "intrinsics": (np.floating, (4,)),
    "text_SD": (np.floating, (None, None)),
    "spans": (np.integer, (None, 2)),
}
"""Field → the type of its numbers, and its axes: T latent frames, F frames, None any other number of entries."""
TEXTS = ("prompt", "name", "world", "changes")

RIGID = 1e-2
"""Largest |R Rᵀ - I| of a pose: float16 rounds to a thousandth."""


def check_record(record: Mapping[str, np.ndarray | str], needs: Iterable[str] = ()) -> None:
    """Checks the fields of a record that are in the tables above; others may be anything.

    needs: fields that must be there.

    Raises:
        ValueError: a field is missing, or is not what the tables say; the message does not name the data set.
    """
    if missing := [name for name in needs if name not in record]:
        raise ValueError(f"it has no {' and no '.join(missing)}; encode the films again (docs/data.md)")
    sizes: dict[str, tuple[str, int]] = {}
    for name, value in record.items():
        if name in TEXTS and not isinstance(value, str):
            raise ValueError(f"its {name} is no text")
        if name in FIELDS:
            _check_field(name, value, sizes)
    frames, latents = sizes.get("F", ("", 0)), sizes.get("T", ("", 0))
    if all((*frames, *latents)) and frames[1] != LATENT_STRIDE * (latents[1] - 1) + 1:
        raise ValueError(f"its {frames[0]} has {frames[1]} frames, and its {latents[0]} {latents[1]} latent frames")
    shot_T = record.get("shot_T")
    if shot_T is not None and (shot_T[0] != 0 or not np.isin(np.diff(shot_T), (0, 1)).all()):
        raise ValueError("its shot_T does not count shots from 0")


def _check_field(name: str, value: np.ndarray | str, sizes: dict[str, tuple[str, int]]) -> None:
    kind, axes = FIELDS[name]
    shape = getattr(value, "shape", None)
    fits = shape is not None and len(shape) == len(axes) and jnp.issubdtype(value.dtype, kind)
    if not fits or any(
        axis not in (None, size) for axis, size in zip(axes, shape, strict=True) if axis not in ("T", "F")
    ):
        raise ValueError(f"its {name} should be {kind.__name__} {_shown(axes)}, and is {_described(value)}")
    for axis, size in zip(axes, shape, strict=True):
        if size == 0 and axis != 2 and name != "spans":
            raise ValueError(f"its {name} is empty: {_described(value)}")
        if axis in ("T", "F"):
            other, before = sizes.setdefault(axis, (name, size))
            if before != size:
                raise ValueError(f"its {name} has {size} frames, and its {other} {before}")
    if jnp.issubdtype(value.dtype, np.floating) and not np.isfinite(value.astype(np.float32)).all():
        raise ValueError(f"its {name} holds NaN or infinity")
    if axes[1:] == (3, 4):
        turn = value[:, :, :3].astype(np.float64)
        if np.abs(turn @ turn.swapaxes(1, 2) - np.eye(3)).max() > RIGID or (np.linalg.det(turn) < 0).any():
            raise ValueError(f"the matrices of its {name} are no rotations")
    if name == "intrinsics" and (value <= 0).any():
        raise ValueError("its intrinsics are not positive")


def _shown(axes: tuple[int | str | None, ...]) -> str:
    return f"[{', '.join('…' if axis is None else str(axis) for axis in axes)}]"


def _described(value: np.ndarray | str) -> str:
    return "a text" if isinstance(value, str) else f"{value.dtype} {list(value.shape)}"
