"""Whether subject 1 of a film of the stage has its colour: its pixels are compared with renders in every colour."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.evaluation.metrics.camera_error import known_poses
from shotverse_jax.stage.raycast import SUBJECT, primitives, render
from shotverse_jax.stage.scene import COLORS, Scene

EVERY = 4
"""Distance between the frames that are compared: they are the latent frames 0, 4, 8, … of the video."""
LEAST_PIXELS = 60
"""A film is judged only if its compared frames show at least this many coloured pixels of the subject."""
_SPREAD = 0.15  # a pixel is coloured where the candidates' renders differ by this much; skin, eyes and wheels do not
_CLIP = 0.25  # of a pixel's distance: where the film shows something else, all candidates are equally far


def subject_color(video_THWC: np.ndarray, trajectory: Trajectory, scene: Scene) -> str | None:
    """Finds the colour of subject 1 in a film.

    The scene is rendered with the subject in every colour, so light and shadow are those of the scene. The colour whose
    render is nearest to the film wins. The pixels that count are inside the subject's instance mask, at least one pixel
    from its edge, and change with the colour (a jacket, not a face). A pixel's distance is the mean absolute difference
    of its channels, clipped.

    Args:
        video_THWC: [T, H, W, 3] uint8.
        trajectory: cameras of the video's frames, for images of its size, with a known stage.
        scene: the scene that was filmed; the colour of its first subject is not read.

    Returns:
        a word of `COLORS`, or None when fewer than `LEAST_PIXELS` pixels count.

    Raises:
        ValueError: the trajectory has no stage, or another length or size than the video.
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
    """Returns how often subject 1 has its colour.

    Args:
        videos: [T, H, W, 3] uint8 each.
        trajectories, scenes: cameras and scene of each film, as in `subject_color`.

    Returns:
        color_accuracy: share of the judged films whose subject has the colour of its scene; nan if none was judged.
        color_judged: number of judged films.
    """
    films = zip(videos, trajectories, scenes, strict=True)
    right = [(subject_color(video, t, scene), scene.subjects[0].color) for video, t, scene in films]
    judged = [found == true for found, true in right if found is not None]
    return {"color_accuracy": float(np.mean(judged)) if judged else float("nan"), "color_judged": float(len(judged))}


def _candidates(trajectory: Trajectory, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Renders [colours, T, H, W, 3] in [0, 1] of every fourth frame, and the mask [T, H, W] of pixels that count."""
    pose_T34 = known_poses(trajectory)[::EVERY]
    time_T = trajectory.stage_seconds_T
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
    """Pixels whose eight neighbours are all in the mask; beyond its border the mask repeats its edge."""
    padded = np.pad(mask_THW, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows, columns = mask_THW.shape[1:]
    shifted = [padded[:, i : i + rows, j : j + columns] for i in range(3) for j in range(3)]
    return np.logical_and.reduce(shifted)
