"""The stage filmed by a trajectory: the place of the stage in the trajectory's world, and the frames."""

from collections.abc import Iterator

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.stage.casting import scene_from_screenplay
from shotverse_jax.stage.focus import focused
from shotverse_jax.stage.raycast import SUBJECT, primitives, render
from shotverse_jax.stage.scene import Scene

BATCH = 16  # frames per call of the compiled program; any film length uses the same program
_EYE_HEIGHT = 1.6
_USUAL_DISTANCE = 3.0

SKY = 100.0
"""Metres that a depth map has for the sky, and for all that is farther."""


def gravity_of(pose_T34: np.ndarray) -> np.ndarray:
    """Returns the probable direction of gravity [3] in the world of some cameras.

    It is the direction most perpendicular to the right axes of all cameras, since cameras rarely roll; its sign, and
    the direction itself where the right axes leave it open, come from the mean down axis.
    """
    right_T3, down_T3 = pose_T34[:, :, 0], pose_T34[:, :, 1]
    # The eigenvector of the smallest eigenvalue has the least sum of squared products with the right axes; the small
    # second term chooses among directions that are equally good.
    spread = right_T3.T @ right_T3 - 0.01 * down_T3.T @ down_T3
    gravity = np.linalg.eigh(spread)[1][:, 0]
    return gravity if gravity @ down_T3.sum(0) >= 0 else -gravity


def implied_stage(trajectory: Trajectory) -> np.ndarray:
    """Returns a plausible stage [3, 4] in the world of a trajectory whose floor and subject are unknown.

    Gravity is that of `gravity_of`. The subject is at the point nearest to all optical axes; a weak pull to 3 m in
    front of each camera decides where the axes are parallel. If that point is behind the cameras, the subject is 3 m in
    front of the first one. The floor is 1.6 m below the first camera, or 0.2 m below the lowest camera if that is
    lower. The subject faces the first camera. Units of length are assumed to be metres.
    """
    eye_T3 = trajectory.pose_T34[:, :, 3]
    right_T3, down_T3, forward_T3 = (trajectory.pose_T34[:, :, i] for i in range(3))
    gravity = gravity_of(trajectory.pose_T34)

    # Least squares: I - f fᵀ takes the part of a difference that is perpendicular to the optical axis f.
    across_T33 = np.eye(3) - forward_T3[:, :, None] * forward_T3[:, None]
    weak = 0.02
    ahead_T3 = eye_T3 + _USUAL_DISTANCE * forward_T3
    target = np.linalg.solve(
        across_T33.sum(0) + weak * len(eye_T3) * np.eye(3),
        (across_T33 @ eye_T3[..., None]).sum(0)[:, 0] + weak * ahead_T3.sum(0),
    )
    if np.median(((target - eye_T3) * forward_T3).sum(-1)) < 0.3:
        target = ahead_T3[0]

    floor = max(eye_T3[0] @ gravity + _EYE_HEIGHT, (eye_T3 @ gravity).max() + 0.2)
    origin = target + (floor - target @ gravity) * gravity
    facing = eye_T3[0] - origin
    facing = facing - (facing @ gravity) * gravity
    if np.linalg.norm(facing) < 1e-3:  # the first camera is straight above: its image's lower edge is the front
        facing = down_T3[0] - (down_T3[0] @ gravity) * gravity + 1e-6 * right_T3[0]
    facing = facing / np.linalg.norm(facing)
    return se3.make(np.stack([np.cross(gravity, facing), gravity, facing], axis=1), origin)


def stage_poses(trajectory: Trajectory) -> np.ndarray:
    """Returns the poses [T, 3, 4] in the stage's frame, metres; without `stage_34` the stage is `implied_stage`."""
    stage_34 = implied_stage(trajectory) if trajectory.stage_34 is None else trajectory.stage_34
    return se3.compose(se3.inverse(stage_34), trajectory.pose_T34)


def described_scene(trajectory: Trajectory) -> Scene:
    """Returns the stage that a trajectory's captions describe, for as long as the trajectory is there.

    A film of fewer frames than its screenplay keeps the screenplay's time: things move as far as they would.
    """
    captions = [trajectory.global_caption, *trajectory.captions]
    return scene_from_screenplay(captions, trajectory.stage_seconds_T[-1] + 1 / trajectory.fps)


def frame_at(
    index: int, trajectory: Trajectory, scene: Scene, width: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    """One frame of `preview_frames`, [height, width, 3] uint8, and its depth, [height, width] float32.

    Depth is along the optical axis, in metres, and `SKY` where it is farther.
    """
    scene, pose_T34, lens_T4 = _on_stage(trajectory, scene, width, height)
    time_T = trajectory.stage_seconds_T[index : index + 1]
    frames = render(primitives(scene, time_T), pose_T34[index : index + 1], lens_T4[index : index + 1], width, height)
    color_THW3 = focused(frames.color_THW3, frames.depth_THW, trajectory, [index])
    return color_THW3[0], np.minimum(frames.depth_THW[0], SKY)


def _on_stage(trajectory: Trajectory, scene: Scene, width: int, height: int) -> tuple[Scene, np.ndarray, np.ndarray]:
    """The scene as the cameras see it, their poses on the stage, and their lenses for frames of width x height."""
    pose_T34 = stage_poses(trajectory)
    zoom = np.array([width / trajectory.width, height / trajectory.height])
    return scene.clear_views(pose_T34[:, :, 3]), pose_T34, trajectory.intrinsics_T4 * np.tile(zoom, 2)


def shows_subject(instance_THW, scene: Scene) -> np.ndarray:
    """Returns which pixels of rendered frames show one of the scene's subjects, from their instance numbers."""
    number_THW = np.asarray(instance_THW) - SUBJECT
    return (number_THW >= 0) & (number_THW < len(scene.subjects))


def subject_masks(trajectory: Trajectory, scene: Scene, index_T: np.ndarray, width: int, height: int) -> np.ndarray:
    """Returns where frames of `preview_frames` show a subject, [T, height, width] bool, for frames `index_T`."""
    scene, pose_T34, lens_T4 = _on_stage(trajectory, scene, width, height)
    masks = []
    for start in range(0, len(index_T), BATCH):
        part = index_T[np.minimum(np.arange(start, start + BATCH), len(index_T) - 1)]
        prims = primitives(scene, trajectory.stage_seconds_T[part])
        frames = render(prims, pose_T34[part], lens_T4[part], width, height)
        masks.append(shows_subject(frames.instance_THW, scene)[: len(index_T) - start])
    return np.concatenate(masks)


def preview_frames(trajectory: Trajectory, scene: Scene, width: int, height: int) -> Iterator[np.ndarray]:
    """Renders the stage through the trajectory's cameras, without burned-in text.

    Props in which a camera stands, or which are between a camera and the subject, are taken away. Time on the stage is
    `Trajectory.stage_seconds_T`. A trajectory with a focus has depth of field.

    Args:
        trajectory: the cameras.
        scene: the stage.
        width, height: size of the frames in pixels.

    Yields:
        each frame, [height, width, 3] uint8.
    """
    scene, pose_T34, lens_T4 = _on_stage(trajectory, scene, width, height)
    time_T = trajectory.stage_seconds_T

    pending = before = None
    for start in range(0, len(trajectory), BATCH):
        # The last batch is filled with the last frame, so all batches use one compiled program.
        index = np.minimum(np.arange(start, start + BATCH), len(trajectory) - 1)
        frames = render(primitives(scene, time_T[index]), pose_T34[index], lens_T4[index], width, height)
        if pending is not None:  # the next frames are computed while these are used
            yield from focused(*pending, trajectory, before)
        pending, before = (frames.color_THW3, frames.depth_THW), index
    yield from focused(*pending, trajectory, before)[: len(trajectory) - start]
