"""What the cameras do between each two frames of a clip, as numbers: what the view probe of captioners learns to read.

Axes: T frames of a shot; N frames that are shown; F pairs of them; Y values; in `grammar.truth.View`, N joints.
"""

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.grammar.truth import best_view
from shotverse_jax.stage.scene import Scene

TURN, MOVE = 0.03, 0.1
"""The units of a pair's motion, radians and metres: about what a shot of 16 frames turns and moves in one."""
VALUES = 10
"""3 of the turn, 3 of the move, then u, v and log height of the subject and whether it is in the picture."""
MOST = 4.0
"""Values are cut off here, so that a cut or a subject before the lens does not outweigh all others."""
MIRROR = np.array([1, -1, -1, -1, 1, 1, -1, 1, 1, 1], np.float32)
"""What the values of a mirrored picture are multiplied with."""


def view_targets(shot: Trajectory, scene: Scene, at_N: np.ndarray) -> np.ndarray:
    """What the probe shall read of a shot: [F, 10] float32.

    Args:
        shot: the cameras on the stage, with the stage's time (`grammar.truth.shot_truth`).
        scene: the stage.
        at_N: numbers of the frames that are shown, two for each pair; an odd one at the end is paired with itself.
    """
    at_N = np.append(at_N, at_N[-1:]) if len(at_N) % 2 else at_N
    first_F, second_F = at_N[::2], at_N[1::2]
    step_F34 = se3.relative(shot.pose_T34[first_F], shot.pose_T34[second_F])
    turn_F3 = se3.so3_log(step_F34[:, :, :3])
    seen_F4 = np.zeros((len(first_F), 4))
    view = best_view(
        shot.pose_T34, shot.intrinsics_T4 / np.tile([shot.width, shot.height], 2), shot.stage_time_T, scene
    )
    if view is not None:
        seen_T, count_T = view.inside_TN.any(1), np.maximum(view.inside_TN.sum(1), 1)
        u_T, v_T = ((x_TN * view.inside_TN).sum(1) / count_T for x_TN in (view.u_TN, view.v_TN))
        rows_T4 = np.stack([4 * u_T - 2, 4 * v_T - 2, np.log(view.height_T), np.ones_like(u_T)], axis=1)
        seen_F4 = np.where(seen_T[:, None], rows_T4, 0)[first_F]
    return (
        np.concatenate([turn_F3 / TURN, step_F34[:, :, 3] / MOVE, seen_F4], axis=1).clip(-MOST, MOST).astype(np.float32)
    )
