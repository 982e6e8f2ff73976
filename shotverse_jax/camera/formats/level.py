"""How level the cameras of a path are, for each axis of the world that may point up."""

import numpy as np

from shotverse_jax.camera.formats.options import UP
from shotverse_jax.camera.trajectory import Trajectory

LEVEL_ROLL, LEVEL_ELEVATION = 10.0, 50.0
"""Mean roll and elevation, in degrees, below which cameras count as level: few films are shot from above."""


def tilt(trajectory: Trajectory, up: str) -> tuple[float, float]:
    """Returns (roll, elevation): the mean of both as absolute degrees, if the axis `up` of the world points up.

    Roll is the angle of the picture's horizon, above 90 for a camera upside down; elevation is that of the view.
    """
    down_3 = -UP[up].T @ np.array([0.0, -1.0, 0.0])
    right_T, under_T, ahead_T = (trajectory.pose_T34[:, :, k] @ down_3 for k in range(3))
    roll_T = np.degrees(np.arctan2(np.abs(right_T), under_T))
    # Looking straight up or down there is no horizon, so the roll is as good as any.
    roll_T = np.where(np.hypot(right_T, under_T) < 0.1, 0.0, roll_T)
    return float(roll_T.mean()), float(np.degrees(np.arcsin(np.clip(np.abs(ahead_T), 0, 1))).mean())


def is_level(trajectory: Trajectory, up: str) -> bool:
    """Returns whether the cameras are level, if the axis `up` of the world points up."""
    roll, elevation = tilt(trajectory, up)
    return roll < LEVEL_ROLL and elevation < LEVEL_ELEVATION


def advice(trajectory: Trajectory) -> list[str]:
    """Returns a sentence if cameras that are not level in a world with y down would be with another axis up."""
    if trajectory.stage_34 is not None or is_level(trajectory, "-y"):
        return []
    level = [up for up in ("z", "y", "-z") if is_level(trajectory, up)]
    if len(level) != 1:
        return []
    return [
        f"the cameras are level if {level[0]} is up, and as read y is down; if so, the option up={level[0]} turns the "
        "world"
    ]
