"""The path of a reconstruction made clean and even, as GenDoP made DataDoP of MonST3R's poses.

Jumps are cut out, positions are smoothed and 120 poses are taken (GenDoP `dataset/scripts/processing/cleaning.py`,
`dataset/scripts/Dataset_DataDoP.py`). Three properties of the original decide DataDoP's paths and are therefore the
default: the last pose of a stretch is lost, only the first stretch is used, and the 120 poses end before the last one.
"""

import dataclasses

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.motion_tags import FRAMES
from shotverse_jax.camera.motion_words import LEAST_ZOOM
from shotverse_jax.camera.trajectory import Trajectory

SPEED, QUANTILE = 18.0, 0.95
"""A step is a jump where it is this many times as long as the step at this quantile of the path."""
SHORTEST = 5
"""A stretch between jumps is used where its last index minus its first is larger."""
PROCESS_NOISE, MEASUREMENT_NOISE = 0.5, 1.0
"""Standard deviations of the Kalman filter; their ratio alone matters, so that the unit of length does not."""


@dataclasses.dataclass(frozen=True)
class Cleaned:
    """A clean path.

    Attributes:
        trajectory: the path, of 120 poses.
        kept: (first, end exclusive) of the poses of the source that it was made of.
        notes: sentences about what was left out.
    """

    trajectory: Trajectory
    kept: tuple[int, int]
    notes: tuple[str, ...]


def stretches(position_T3: np.ndarray) -> list[tuple[int, int]]:
    """Returns (first, end exclusive) of the stretches of a path [T, 3] between its jumps, as the original cuts them."""
    if len(position_T3) < 2:
        return []
    speed_T = np.linalg.norm(np.diff(position_T3, axis=0), axis=1)
    speed_T = np.concatenate([speed_T[:1], speed_T])
    kept = np.flatnonzero(speed_T < SPEED * np.quantile(speed_T, QUANTILE))
    if not len(kept):
        return []
    breaks = np.flatnonzero(np.diff(kept) > 1) + 1
    # The last index of a run is taken for an end that is exclusive: the original loses one pose so.
    return [(int(run[0]), int(run[-1])) for run in np.split(kept, breaks) if run[-1] - run[0] > SHORTEST]


def smooth(position_T3: np.ndarray, process: float = PROCESS_NOISE, measurement: float = MEASUREMENT_NOISE):
    """Returns positions [T, 3] smoothed by a Kalman filter of constant velocity and the Rauch-Tung-Striebel smoother.

    Every axis has the state (position, velocity); a frame lasts one unit of time; it starts at the first position with
    velocity 0, which is taken for certain.

    process, measurement: standard deviations of the noise of the velocity and of the positions.
    """
    position_T3 = np.asarray(position_T3, np.float64)
    step, seen = np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([1.0, 0.0])
    noise = process**2 * np.array([[1 / 3, 1 / 2], [1 / 2, 1.0]])
    # The gains do not depend on the positions, so the three axes are filtered together: states are [2, 3].
    state_23, spread = np.stack([position_T3[0], np.zeros(3)]), np.diag([measurement**2, 0.0])
    states, spreads, guesses, guessed = [state_23], [spread], [], []
    for at_3 in position_T3[1:]:
        guess_23, guess = step @ state_23, step @ spread @ step.T + noise
        gain = guess @ seen / (seen @ guess @ seen + measurement**2)
        state_23 = guess_23 + np.outer(gain, at_3 - guess_23[0])
        spread = guess - np.outer(gain, seen @ guess)
        for values, value in ((states, state_23), (spreads, spread), (guesses, guess_23), (guessed, guess)):
            values.append(value)
    for t in range(len(states) - 2, -1, -1):
        back = spreads[t] @ step.T @ np.linalg.inv(guessed[t])
        states[t] = states[t] + back @ (states[t + 1] - guesses[t])
    return np.stack(states)[:, 0]


def even(pose_T34: np.ndarray, frames: int = FRAMES, whole: bool = False) -> np.ndarray:
    """Returns `frames` poses of a path [T, 3, 4], evenly spaced.

    whole: whether the last one is the path's last; False (default) takes the places i (T - 1) / frames of the original,
        which never reaches it.
    """
    last = len(pose_T34) - 1
    places = np.linspace(0.0, last, frames) if whole else np.arange(frames) / frames * last
    return se3.resample(pose_T34, places)


def clean(trajectory: Trajectory, whole: bool = False) -> Cleaned:
    """Returns the path without jumps, with smooth positions and 120 poses; rotations are not smoothed.

    Args:
        trajectory: the path of one shot.
        whole: whether the longest stretch is taken with its last pose, and the 120 poses reach its end; False (default)
            does as the original did.

    Raises:
        ValueError: the path has several shots, or no stretch of more than `SHORTEST` steps without a jump.
    """
    if trajectory.num_shots != 1:
        raise ValueError(f"a path of one shot is cleaned, this one has {trajectory.num_shots}; give its shots alone")
    found = stretches(trajectory.pose_T34[:, :, 3])
    if not found:
        raise ValueError(f"no stretch of its {len(trajectory)} poses is longer than {SHORTEST} steps without a jump")
    start, end = max(found, key=lambda span: span[1] - span[0]) if whole else found[0]
    end += whole
    notes = ()
    if (lost := len(trajectory) - (end - start) - (not whole)) > 0:
        notes = (f"{lost} of {len(trajectory)} poses were left out at jumps; poses {start} to {end - 1} were kept",)
    if trajectory.zoom > LEAST_ZOOM:
        notes += (f"its zoom of {trajectory.zoom:.3g} was left out: a clean path has the lens of the first pose",)
    pose_T34 = trajectory.pose_T34[start:end]
    pose_T34 = even(se3.make(pose_T34[:, :, :3], smooth(pose_T34[:, :, 3])), whole=whole)
    shot_T = np.zeros(FRAMES, np.int32)
    changed = {
        "pose_T34": pose_T34,
        "intrinsics_T4": trajectory.intrinsics_T4[0],
        "shot_T": shot_T,
        "time_T": None,
        "focus_T2": None,
    }
    return Cleaned(dataclasses.replace(trajectory, **changed, stage_time_T=None), (start, end), notes)
