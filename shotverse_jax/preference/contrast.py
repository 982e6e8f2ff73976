"""Worse plans made of better ones, without a preview: the same path backwards, or with too much or too little motion.

AESOP's reversal and intensity pairs: they differ from the plan that they are made of in one thing alone, which a
captioner hardly sees.

Array axes: T poses of a shot.
"""

import dataclasses

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.trajectory import Trajectory

WINDOW = 0.25
"""Share of a shot over which a path is averaged to tell its motion from its shake."""


def reversed_motion(pose_T34: np.ndarray) -> np.ndarray:
    """Returns a path [T, 3, 4] that begins at the same pose and does the opposite of everything.

    Positions are mirrored at the first one, 2 p(0) - p(t); what was turned left is turned right by as much.
    """
    first_34 = pose_T34[0]
    turn_T33 = np.swapaxes(first_34[:, :3].T @ pose_T34[:, :, :3], 1, 2)
    return se3.make(first_34[:, :3] @ turn_T33, 2 * first_34[:, 3] - pose_T34[:, :, 3])


def scaled_motion(pose_T34: np.ndarray, amount: float) -> np.ndarray:
    """Returns a path [T, 3, 4] that begins at the same pose with `amount` times the motion.

    p(0) + a (s(t) - s(0)) + min(a, 1) (r(t) - r(0)), with the smooth path s and the rest r, so that more motion is not
    more shake (AESOP). Turns from the first pose are a times as large; they have no part that is left as it is.
    """
    place_T3 = pose_T34[:, :, 3]
    smooth_T3 = _smooth(place_T3)
    rest_T3 = place_T3 - smooth_T3
    moved_T3 = place_T3[0] + amount * (smooth_T3 - smooth_T3[0]) + min(amount, 1.0) * (rest_T3 - rest_T3[0])
    first_33 = pose_T34[0, :, :3]
    # The logarithm of a turn is at most half a turn, so the turns from pose to pose are scaled, and not their sum.
    step_T3 = se3.so3_log(np.swapaxes(pose_T34[:-1, :, :3], 1, 2) @ pose_T34[1:, :, :3])
    turned = [first_33]
    for step_33 in se3.so3_exp(amount * step_T3):
        turned.append(turned[-1] @ step_33)
    return se3.make(np.stack(turned), moved_T3)


def _smooth(place_T3: np.ndarray) -> np.ndarray:
    """A moving average with the ends repeated."""
    reach = int(WINDOW * len(place_T3) / 2)
    padded = np.pad(place_T3, ((reach, reach), (0, 0)), mode="edge")
    return np.stack([padded[i : i + 2 * reach + 1].mean(0) for i in range(len(place_T3))])


def with_shot(trajectory: Trajectory, shot: int, pose_T34: np.ndarray) -> Trajectory:
    """Returns the trajectory with another path in one shot; the poses are in the same world."""
    start, end = trajectory.spans[shot]
    poses = trajectory.pose_T34.copy()
    poses[start:end] = pose_T34
    return dataclasses.replace(trajectory, pose_T34=poses)
