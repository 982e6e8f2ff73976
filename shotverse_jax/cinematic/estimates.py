"""Which movement a path shows that was estimated from pictures, frame by frame, and so is noisy and has wild frames.

Array axes: T frames; 3 coordinates.
"""

from typing import NamedTuple

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.cinematic.phrases import LEAST_TURN, LEAST_WAY, LEAST_ZOOM

OF_POSES = ("pan-left", "pan-right", "tilt-up", "tilt-down", "dolly-in", "dolly-out", "still")
OF_LENSES = ("zoom-in", "zoom-out")
"""The classes that poses, and focal lengths, can show; tracking shots and rack focus need the subject and the blur."""


class Motion(NamedTuple):
    """What a camera does over a shot, each as a straight line through its frames (the median of all slopes).

    Attributes:
        pan, tilt, roll: degrees to the right, up, and to the right.
        right, down, forward: way in shares of the distance to the subject.
        zoom: natural logarithm of the last focal length over the first; 0 where the lens is not known.
    """

    pan: float
    tilt: float
    roll: float
    right: float
    down: float
    forward: float
    zoom: float

    @property
    def amounts(self) -> dict[str, float]:
        """How far it goes in the direction of each class, in units of the least that counts as one."""
        ways = {
            ("pan-left", "pan-right"): self.pan / LEAST_TURN,
            ("tilt-down", "tilt-up"): self.tilt / LEAST_TURN,
            ("dolly-out", "dolly-in"): self.forward / LEAST_WAY,
            ("zoom-out", "zoom-in"): self.zoom / LEAST_ZOOM,
        }
        return {
            name: sign * amount for names, amount in ways.items() for name, sign in zip(names, (-1, 1), strict=True)
        }

    @property
    def beside(self) -> float:
        """The largest motion that no class has, in the same units: roll, and ways to the side and up or down."""
        return max(abs(self.roll) / LEAST_TURN, abs(self.right) / LEAST_WAY, abs(self.down) / LEAST_WAY)

    @property
    def movement(self) -> str | None:
        """The class of the largest motion; "still" where none counts, None where it is that of no class."""
        name, amount = max(self.amounts.items(), key=lambda item: item[1])
        if max(amount, self.beside) < 1:
            return "still"
        return name if amount >= self.beside else None

    def shows(self, name: str) -> bool:
        """Whether it has the motion of a class, whatever else it does."""
        return self.movement == "still" if name == "still" else self.amounts[name] >= 1


def motion_of(pose_T34: np.ndarray, distance: float, focal_T: np.ndarray | None = None) -> Motion:
    """Returns the motion of an estimated path.

    Args:
        pose_T34: camera-to-world, OpenCV axes.
        distance: to what is filmed, in the units of the path.
        focal_T: focal lengths, NaN where one is not known; None (default) for a lens that is not known.

    Raises:
        ValueError: there are fewer than two frames.
    """
    if len(pose_T34) < 2:
        raise ValueError(f"a motion needs two frames or more, got {len(pose_T34)}")
    # Seen from the frame that is nearest to all others, few turns are large, and it is no wild one.
    angle_TT = se3.rotation_angle(np.swapaxes(pose_T34[:, None, :, :3], -1, -2) @ pose_T34[None, :, :, :3])
    middle_34 = pose_T34[np.median(angle_TT, axis=1).argmin()]
    tilt, pan, roll = np.degrees(_rise(se3.so3_log(middle_34[:, :3].T @ pose_T34[:, :, :3]))).tolist()
    right, down, forward = (_rise(pose_T34[:, :, 3] @ middle_34[:, :3]) / distance).tolist()
    zoom = 0.0
    if focal_T is not None and np.isfinite(focal_T).sum() > 1:
        at = np.flatnonzero(np.isfinite(focal_T))
        zoom = float(_rise(np.log(focal_T[at])[:, None], at)[0] * (len(pose_T34) - 1) / (at[-1] - at[0]))
    return Motion(pan, tilt, roll, right, down, forward, zoom)


def _rise(value_TC: np.ndarray, at_T: np.ndarray | None = None) -> np.ndarray:
    """How much values rise over all frames, by the median of the slopes of all pairs of frames (Theil and Sen): [C]."""
    at_T = np.arange(len(value_TC)) if at_T is None else at_T
    one, other = np.triu_indices(len(value_TC), 1)
    slope_NC = (value_TC[other] - value_TC[one]) / (at_T[other] - at_T[one])[:, None]
    return np.median(slope_NC, axis=0) * (at_T[-1] - at_T[0])
