"""What moves by itself in the frames of a shot, and must not be taken for the place: people, animals, vehicles.

A masker says it for the frames of one shot. `MASKERS` is the table of those that are found by name; a new one is a row.
Masks are True where something may move. Reconstruction takes the opposite, `static`.
"""

import importlib
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
from PIL import Image, ImageFilter

from shotverse_jax.limits import finite

DILATION = 0.01
"""The share of the short side by which masks grow: their edges are never exact, and shadows are beside them."""


class Masker(Protocol):
    """Finds what moves by itself."""

    def __call__(self, frames_THWC: np.ndarray, number_T: Sequence[int]) -> np.ndarray:
        """Returns masks [T, H, W] bool of frames of one shot, [T, H, W, 3] uint8 in order.

        number_T: the number of each frame in the film.
        """


MASKERS = {
    "motion": "masks_motion.Motion",
    "saliency": "masks_saliency.Saliency",
    "sam2": "masks_sam2.Sam2",
    "text": "masks_text.Text",
    "file": "masks_file.Files",
    "stage": "masks_stage.Stage",
}
"""Name → "file.Class" in this room. A masker is imported when it is used, as some need packages that are optional."""


class Together:
    """Several maskers as one: what any of them finds is masked."""

    def __init__(self, maskers: Sequence[Masker]):
        self._maskers = maskers

    def __call__(self, frames_THWC: np.ndarray, number_T: Sequence[int]) -> np.ndarray:
        """Returns the masks of frames; see `Masker`."""
        return np.any([masker(frames_THWC, number_T) for masker in self._maskers], axis=0)


def load_masker(name: str, *arguments: Any, **options: Any) -> Masker:
    """Returns a masker of `MASKERS`: `file` takes a folder, `stage` a trajectory, `sam2` boxes or words.

    Raises:
        ValueError: an unknown name, or what it needs is not installed.
    """
    if name not in MASKERS:
        raise ValueError(f"there are no masks {name!r}; known: {', '.join(MASKERS)}")
    file, _, cls = MASKERS[name].partition(".")
    return getattr(importlib.import_module(f"shotverse_jax.calibration.{file}"), cls)(*arguments, **options)


def find_masks(
    masker: Masker, frames_THWC: np.ndarray, number_T: Sequence[int] | None = None, dilation: float = DILATION
) -> np.ndarray:
    """Returns the masks [T, H, W] bool of the frames of one shot, grown.

    Args:
        masker: who finds them.
        frames_THWC: [T, H, W, 3] uint8.
        number_T: their numbers in the film; by default 0, 1, ….
        dilation: share of the short side by which masks grow; default 1 %.

    Raises:
        ValueError: the masker refuses, or the dilation is not from 0 to 0.5.
    """
    numbers = np.arange(len(frames_THWC)) if number_T is None else np.asarray(number_T)
    mask_THW = np.asarray(masker(frames_THWC, numbers), bool)
    return dilated(mask_THW, finite(dilation, "the dilation", 0, 0.5))


def same_proportions(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Returns whether pictures of two sizes (width, height) have the same proportions, but for roundings."""
    return abs(one[0] * other[1] - one[1] * other[0]) <= max(one) * max(other) * 0.01


def dilated(mask_THW: np.ndarray, share: float = DILATION) -> np.ndarray:
    """Returns masks that are grown by a share of the short side, in pixels at least 1 unless the share is 0."""
    reach = int(np.ceil(share * min(mask_THW.shape[1:])))
    if not reach or not mask_THW.any():
        return mask_THW
    grow = ImageFilter.MaxFilter(2 * reach + 1)
    return np.stack([np.asarray(Image.fromarray(mask_HW.astype(np.uint8)).filter(grow)) > 0 for mask_HW in mask_THW])


def filled(frames_THWC: np.ndarray, mask_THW: np.ndarray, fill: Literal["none", "zero"] = "none") -> np.ndarray:
    """Returns the frames that a reconstruction sees.

    fill: "none" (default) leaves the pixels, so that masks count as weights alone; "zero" makes masked pixels black, as
        the paper does. Black holes are nothing that a network was trained on.

    Raises:
        ValueError: another fill.
    """
    if fill not in ("none", "zero"):
        raise ValueError(f"masked pixels are filled with none or zero, got {fill!r}")
    return np.where(mask_THW[..., None], np.uint8(0), frames_THWC) if fill == "zero" else frames_THWC
