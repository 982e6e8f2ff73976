"""Whether subject 1 of a film of the stage has its colour: what its pixels show against every colour it could have."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.evaluation.features.stage_camera import known_poses
from shotverse_jax.stage.raycast import SUBJECT, primitives, render
from shotverse_jax.stage.scene import COLORS, Scene

EVERY = 4
"""Frames between those that are looked at: the video's latent frames."""
LEAST_PIXELS = 60
"""Coloured pixels of the subject that a film must show in all frames looked at to be judged."""
_SPREAD = 0.15  # a pixel is coloured where the candidates' renders differ by this much; skin, eyes and wheels do not
_CLIP = 0.25  # of a pixel's distance: where the film shows something else, all candidates are equally far


def subject_color(video_THWC: np.ndarray, trajectory: Trajectory, scene: Scene) -> str | None:
    """The word of `COLORS` in which subject 1, filmed by these cameras, looks most like this film.

    The scene is rendered with the subject in every colour, so light and shadow are those of the scene. Pixels count
    where the subject is by its instance mask, one pixel away from its edge, and takes part in the colour (a jacket,
    not a face); a pixel's distance is the mean absolute difference of its channels, clipped.

    Args:
        video_THWC: [T, H, W, 3] uint8.
        trajectory: cameras of its frames, of its size, with a known stage.
        scene: what they film; the colour of its first subject is not read.

    Returns:
        The colour, or None where fewer than `LEAST_PIXELS` pixels count.

    Raises:
        ValueError: a trajectory without a stage, or of another length or size than the video.
    """
    expected = (len(trajectory), trajectory.height, trajectory.width, 3)
    if video_THWC.shape != expected:
        raise ValueError(f"the trajectory is of a film of shape {expected}, got {video_THWC.shape}")
    renders_CTHW3, coloured_THW = _candidates(trajectory, scene)
    if coloured_THW.sum() < LEAST_PIXELS:
        return None
    pixels_P3 = video_THWC[::EVERY][coloured_THW].astype(np.float32) / 255
    distance_CP = np.abs(renders_CTHW3[:, coloured_THW] - pixels_P3).mean(-1)
    return list(COLORS)[int(np.minimum(distance_CP, _CLIP).mean(1).argmin())]


def color_accuracy(
    videos: Sequence[np.ndarray], trajectories: Sequence[Trajectory], scenes: Sequence[Scene]
) -> dict[str, float]:
    """color_accuracy: share of the judged films whose subject has its colour (nan for none); color_judged: how many."""
    films = zip(videos, trajectories, scenes, strict=True)
    right = [(subject_color(video, t, scene), scene.subjects[0].color) for video, t, scene in films]
    judged = [found == true for found, true in right if found is not None]
    return {"color_accuracy": float(np.mean(judged)) if judged else float("nan"), "color_judged": float(len(judged))}


def _candidates(trajectory: Trajectory, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """(renders [colours, T, H, W, 3] in [0, 1], mask [T, H, W] of the pixels that count) of every fourth frame."""
    pose_T34 = known_poses(trajectory)[::EVERY]
    time_T = np.arange(len(trajectory)) / trajectory.fps if trajectory.time_T is None else trajectory.time_T
    lens_T4, size = trajectory.intrinsics_T4[::EVERY], (trajectory.width, trajectory.height)
    renders = []
    for color in COLORS:
        subject = dataclasses.replace(scene.subjects[0], color=color)
        prims = primitives(dataclasses.replace(scene, subjects=(subject, *scene.subjects[1:])), time_T[::EVERY])
        frames = render(prims, pose_T34, lens_T4, *size)
        renders.append(np.asarray(frames.color_THW3, np.float32) / 255)
    renders_CTHW3 = np.stack(renders)
    spread_THW = (renders_CTHW3.max(0) - renders_CTHW3.min(0)).max(-1)
    return renders_CTHW3, _eroded(np.asarray(frames.instance_THW) == SUBJECT) & (spread_THW > _SPREAD)


def _eroded(mask_THW: np.ndarray) -> np.ndarray:
    """Pixels whose eight neighbours are all in the mask; the image goes on beyond its border."""
    padded = np.pad(mask_THW, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows, columns = mask_THW.shape[1:]
    shifted = [padded[:, i : i + rows, j : j + columns] for i in range(3) for j in range(3)]
    return np.logical_and.reduce(shifted)
