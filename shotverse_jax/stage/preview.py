"""The stage through the cameras of a trajectory: where the stage is in its world, and the frames seen there."""

from collections.abc import Iterator

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.stage.raycast import primitives, render
from shotverse_jax.stage.scene import Scene

_BATCH = 16  # frames per call of the compiled program; any film length uses the same program
_EYE_HEIGHT = 1.6
_USUAL_DISTANCE = 3.0


def implied_stage(trajectory: Trajectory) -> np.ndarray:
    """A stage [3, 4] in the world of a trajectory that does not say where its floor and subject are.

    Gravity is the direction most square to all cameras' right axes (cameras rarely roll), of the sign of their mean
    down axis, which decides alone where the right axes leave it open. The subject stands at the point nearest to all
    optical axes, drawn weakly to 3 m in front of each camera, so that parallel axes have an answer; if it falls behind
    the cameras it is 3 m in front of the first. The floor is 1.6 m below the first camera, or 0.2 m below the lowest
    camera if that is lower. The subject faces the first camera. Lengths are taken as metres.
    """
    eye_T3 = trajectory.pose_T34[:, :, 3]
    right_T3, down_T3, forward_T3 = (trajectory.pose_T34[:, :, i] for i in range(3))
    spread = right_T3.T @ right_T3 - 0.01 * down_T3.T @ down_T3
    gravity = np.linalg.eigh(spread)[1][:, 0]
    gravity = gravity if gravity @ down_T3.sum(0) >= 0 else -gravity

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
    """[T, 3, 4] poses in the frame of the stage, metres; without `stage_34` that of `implied_stage`."""
    stage_34 = implied_stage(trajectory) if trajectory.stage_34 is None else trajectory.stage_34
    return se3.compose(se3.inverse(stage_34), trajectory.pose_T34)


def preview_frames(trajectory: Trajectory, scene: Scene, width: int, height: int) -> Iterator[np.ndarray]:
    """Each frame [height, width, 3] uint8 of the stage through the trajectory's cameras, without burn-in.

    Props that a camera stands in or looks through on its way to the subject are taken away. The stage's clock is
    `trajectory.time_T` from its first frame on, without it the film's own.
    """
    pose_T34 = stage_poses(trajectory)
    scene = scene.clear_views(pose_T34[:, :, 3])
    zoom = np.array([width / trajectory.width, height / trajectory.height])
    lens_T4 = trajectory.intrinsics_T4 * np.tile(zoom, 2)
    time_T = stage_clock(trajectory)

    pending = None
    for start in range(0, len(trajectory), _BATCH):
        index = np.minimum(np.arange(start, start + _BATCH), len(trajectory) - 1)
        frames = render(primitives(scene, time_T[index]), pose_T34[index], lens_T4[index], width, height)
        if pending is not None:  # the next frames are computed while these are used
            yield from np.asarray(pending)
        pending = frames.color_THW3
    yield from np.asarray(pending)[: len(trajectory) - start]


def stage_clock(trajectory: Trajectory) -> np.ndarray:
    """[T] seconds since the first frame, as they pass on the stage."""
    if trajectory.time_T is None:
        return np.arange(len(trajectory)) / trajectory.fps
    return trajectory.time_T - trajectory.time_T[0]
