"""Precision, recall and F1 of motion tags: does the camera move as the reference camera (`captions/*` of GenDoP)."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from shotverse_jax.camera.motion_tags import FRAMES, NUM_LABELS, shot_labels
from shotverse_jax.camera.trajectory import Trajectory


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
    # Frames of all scenes are pooled before the average, as in GenDoP; the mean of each scene's F1 is another number.
    return caption_f1(*(np.concatenate(side) for side in zip(*labels, strict=True)))


def scene_extent(trajectory: Trajectory) -> float:
    """Returns the extent of a scene, the largest distance of a camera from the first one."""
    centre_T3 = trajectory.pose_T34[:, :, 3]
    return float(np.linalg.norm(centre_T3 - centre_T3[0], axis=1).max())


def _ratio(a: float, b: float) -> float:
    """a / b, or 1 where there is no extent to scale to or from."""
    return a / b if a > 1e-9 and b > 1e-9 else 1.0


def _labels(trajectory: Trajectory, factor: float, frames: int) -> np.ndarray:
    # Only translations have a unit of length; the rotation must stay a rotation.
    pose_T34 = trajectory.pose_T34 * np.asarray([1.0, 1.0, 1.0, factor])
    return np.concatenate([shot_labels(pose_T34[start:end], frames) for start, end in trajectory.spans])
