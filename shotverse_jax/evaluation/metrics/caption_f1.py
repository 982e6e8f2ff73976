"""Motion-tag precision, recall and F1: does the camera do what the reference camera does (`captions/*` of GenDoP)."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from shotverse_jax.camera.motion_tags import FRAMES, NUM_LABELS, shot_labels
from shotverse_jax.camera.trajectory import Trajectory


def caption_f1(pred: np.ndarray, ref: np.ndarray, mask: np.ndarray | None = None) -> dict[str, float]:
    """Per-frame agreement of motion labels, averaged over the 189 classes with the reference's class counts as weights.

    Args:
        pred, ref: integer labels 0..188 of one shape; samples and frames are pooled.
        mask: same shape, true where a frame counts.

    Returns:
        precision, recall (which with these weights is the accuracy) and f1; a class never predicted has precision 0.
        Source: GenDoP `evaluate/eval/src/metrics/modules/caption.py`.

    Raises:
        ValueError: shapes that differ, labels out of range, nothing to count.
    """
    pred, ref = np.asarray(pred), np.asarray(ref)
    mask = np.ones(ref.shape, bool) if mask is None else np.asarray(mask, bool)
    if not pred.shape == ref.shape == mask.shape:
        raise ValueError(f"labels must have one shape, got {pred.shape} against {ref.shape}, mask {mask.shape}")
    pred, ref = pred[mask], ref[mask]
    if not ref.size:
        raise ValueError("no frame to compare: the labels are empty or fully masked")
    if min(pred.min(), ref.min()) < 0 or max(pred.max(), ref.max()) >= NUM_LABELS:
        raise ValueError(f"motion labels go from 0 to {NUM_LABELS - 1}")
    right = np.bincount(ref[pred == ref], minlength=NUM_LABELS)
    predicted = np.bincount(pred, minlength=NUM_LABELS)
    support = np.bincount(ref, minlength=NUM_LABELS)
    return {
        "precision": float((support * right / np.maximum(predicted, 1)).sum() / ref.size),
        "recall": float(right.sum() / ref.size),
        "f1": float((support * 2 * right / np.maximum(predicted + support, 1)).sum() / ref.size),
    }


def trajectory_caption_f1(
    pred: Sequence[Trajectory],
    ref: Sequence[Trajectory],
    scale: Literal["none", "match", "unit"] = "match",
    frames: int = FRAMES,
) -> dict[str, float]:
    """`caption_f1` of multi-shot trajectories: each shot is resampled to `frames` and tagged alone, labels are pooled.

    scale: tags depend on the unit of length. "none" takes both as they are, "match" brings each prediction to the
    extent of its reference, "unit" brings both to extent 1; the extent of a scene is its largest distance from its
    first camera, and one factor serves all its shots.

    Raises ValueError when the lists differ in length or a pair in its number of shots.
    """
    if scale not in ("none", "match", "unit"):
        raise ValueError(f'scale must be "none", "match" or "unit", got {scale!r}')
    if len(pred) != len(ref):
        raise ValueError(f"{len(pred)} predictions cannot be compared with {len(ref)} references")
    labels = []
    for index, (p, r) in enumerate(zip(pred, ref, strict=True)):
        if p.num_shots != r.num_shots:
            raise ValueError(f"scene {index}: predicted {p.num_shots} shots, the reference has {r.num_shots}")
        extent = scene_extent(r)
        p_factor = {"none": 1.0, "match": _ratio(extent, scene_extent(p)), "unit": _ratio(1.0, scene_extent(p))}[scale]
        r_factor = _ratio(1.0, extent) if scale == "unit" else 1.0
        labels.append((_labels(p, p_factor, frames), _labels(r, r_factor, frames)))
    if not labels:
        raise ValueError("no trajectory to compare")
    return caption_f1(*(np.concatenate(side) for side in zip(*labels, strict=True)))


def scene_extent(trajectory: Trajectory) -> float:
    """Largest distance of any camera from the first one."""
    centre_T3 = trajectory.pose_T34[:, :, 3]
    return float(np.linalg.norm(centre_T3 - centre_T3[0], axis=1).max())


def _ratio(a: float, b: float) -> float:
    """a / b, or 1 where there is no extent to scale to or from."""
    return a / b if a > 1e-9 and b > 1e-9 else 1.0


def _labels(trajectory: Trajectory, factor: float, frames: int) -> np.ndarray:
    pose_T34 = trajectory.pose_T34 * np.asarray([1.0, 1.0, 1.0, factor])
    return np.concatenate([shot_labels(pose_T34[start:end], frames) for start, end in trajectory.spans])
