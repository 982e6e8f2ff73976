"""Precision, recall and F1 of motion tags: does the camera move as the reference camera (`captions/*` of GenDoP)."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from shotverse_jax.camera.motion_tags import FRAMES, NUM_LABELS, ROTATION_NAMES, labels_of_shots
from shotverse_jax.camera.trajectory import Trajectory

Scale = Literal["none", "match", "unit"]
SCALES: tuple[Scale, ...] = ("none", "match", "unit")


def caption_f1(pred: np.ndarray, ref: np.ndarray, mask: np.ndarray | None = None) -> dict[str, float]:
    """Returns the agreement of motion labels per frame.

    The values of the 189 classes are averaged with the reference's number of frames per class as weights.
    Source: GenDoP `evaluate/eval/src/metrics/modules/caption.py`.

    Args:
        pred, ref: integer labels 0..188 of one shape; samples and frames are pooled.
        mask: [same shape] bool, True where a frame counts; None (default) for all.

    Returns:
        precision: a class that is never predicted has precision 0.
        recall: with these weights it is the accuracy.
        f1: mean of the classes' F1.

    Raises:
        ValueError: the shapes differ, a label is out of range, or no frame counts.
    """
    return _by_class(*_counted(pred, ref, mask), NUM_LABELS)


def axis_f1(pred: np.ndarray, ref: np.ndarray, mask: np.ndarray | None = None) -> dict[str, dict[str, float]]:
    """Returns the agreement of motion labels axis by axis; the arguments and errors are those of `caption_f1`.

    A label of 189 says all at once: it is wrong as a whole where one axis crosses its threshold a little early. Here
    each axis has three classes (none, one way, the other way), and the turn of the camera has its seven.

    Returns:
        For "right/left", "up/down", "forward/backward", "turn" and "mean" (of the four): precision, recall and f1 as
        `caption_f1` returns them.
    """
    pred, ref = _counted(pred, ref, mask)
    values = {
        name: _by_class(_digit(pred, axis), _digit(ref, axis), 3)
        for axis, name in enumerate(("right/left", "up/down", "forward/backward"))
    }
    turns = len(ROTATION_NAMES)
    values["turn"] = _by_class(pred % turns, ref % turns, turns)
    values["mean"] = {name: float(np.mean([v[name] for v in values.values()])) for name in values["turn"]}
    return values


def _digit(labels: np.ndarray, axis: int) -> np.ndarray:
    """The digit of a translation axis (x, y, z) in labels: 0 none, 1 positive, 2 negative."""
    return labels // len(ROTATION_NAMES) // 3 ** (2 - axis) % 3


def _counted(pred, ref, mask) -> tuple[np.ndarray, np.ndarray]:
    """The labels that count, checked."""
    pred, ref = np.asarray(pred), np.asarray(ref)
    mask = np.ones(ref.shape, bool) if mask is None else np.asarray(mask, bool)
    if not pred.shape == ref.shape == mask.shape:
        raise ValueError(f"labels must have one shape, got {pred.shape} against {ref.shape}, mask {mask.shape}")
    pred, ref = pred[mask], ref[mask]
    if not ref.size:
        raise ValueError("no frame to compare: the labels are empty or fully masked")
    if min(pred.min(), ref.min()) < 0 or max(pred.max(), ref.max()) >= NUM_LABELS:
        raise ValueError(f"motion labels go from 0 to {NUM_LABELS - 1}")
    return pred, ref


def _by_class(pred: np.ndarray, ref: np.ndarray, classes: int) -> dict[str, float]:
    right = np.bincount(ref[pred == ref], minlength=classes)
    predicted, support = np.bincount(pred, minlength=classes), np.bincount(ref, minlength=classes)
    return {
        "precision": float((support * right / np.maximum(predicted, 1)).sum() / ref.size),
        "recall": float(right.sum() / ref.size),
        "f1": float((support * 2 * right / np.maximum(predicted + support, 1)).sum() / ref.size),
    }


def trajectory_caption_f1(
    pred: Sequence[Trajectory],
    ref: Sequence[Trajectory],
    scale: Scale = "match",
    frames: int = FRAMES,
) -> dict[str, float]:
    """Returns `caption_f1` of multi-shot trajectories.

    Each shot is resampled to `frames` poses and tagged on its own; the labels of all shots are pooled.

    Args:
        pred, ref: trajectories in the same order, each pair with the same number of shots.
        scale: tags depend on the unit of length. "none" takes both trajectories as they are. "match" (default) scales
            each prediction to the extent of its reference. "unit" scales both to extent 1. One factor is used for all
            shots of a scene.
        frames: poses per shot; default 120.

    Raises:
        ValueError: the lists differ in length, a pair differs in its number of shots, or there are no trajectories.
    """
    if len(pred) != len(ref):
        raise ValueError(f"{len(pred)} predictions cannot be compared with {len(ref)} references")
    sides: tuple[list, list] = ([], [])
    for index, (p, r) in enumerate(zip(pred, ref, strict=True)):
        if p.num_shots != r.num_shots:
            raise ValueError(f"scene {index}: predicted {p.num_shots} shots, the reference has {r.num_shots}")
        for side, paths in zip(sides, same_unit(p, r, scale), strict=True):
            side += paths
    if not sides[0]:
        raise ValueError("no trajectory to compare")
    # Frames of all scenes are pooled before the average, as in GenDoP; the mean of each scene's F1 is another number.
    return caption_f1(*(labels_of_shots(side, frames) for side in sides))


def same_unit(pred: Trajectory, ref: Trajectory, scale: Scale) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Returns the shots [T, 3, 4] of a prediction and of its reference, as `scale` brings them to one unit of length.

    Raises:
        ValueError: an unknown scale.
    """
    if scale not in SCALES:
        raise ValueError(f"scale must be one of {', '.join(SCALES)}, got {scale!r}")
    p, r = scene_extent(pred), scene_extent(ref)
    factors = {"none": (1.0, 1.0), "match": (_ratio(r, p), 1.0), "unit": (_ratio(1.0, p), _ratio(1.0, r))}[scale]
    return tuple(
        # Only translations have a unit of length; the rotation must stay a rotation.
        [t.pose_T34[start:end] * np.asarray([1.0, 1.0, 1.0, factor]) for start, end in t.spans]
        for t, factor in zip((pred, ref), factors, strict=True)
    )


def scene_extent(trajectory: Trajectory) -> float:
    """Returns the extent of a scene, the largest distance of a camera from the first one."""
    centre_T3 = trajectory.pose_T34[:, :, 3]
    return float(np.linalg.norm(centre_T3 - centre_T3[0], axis=1).max())


def _ratio(a: float, b: float) -> float:
    """a / b, or 1 where there is no extent to scale to or from."""
    return a / b if a > 1e-9 and b > 1e-9 else 1.0
