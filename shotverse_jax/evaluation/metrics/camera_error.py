"""How far the cameras of films of the stage are from those that were asked for."""

from collections.abc import Sequence

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.stage.preview import stage_poses


def camera_errors(poses: Sequence[np.ndarray], trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """Returns the errors of estimated cameras over all frames of all films.

    Args:
        poses: one [T, 3, 4] array of estimated poses per film, in the stage's frame.
        trajectories: the cameras that were asked for.

    Returns:
        rot_deg_mean, rot_deg_median: angle in degrees between the estimated and the asked rotation.
        rot_in_shot_deg_mean, rot_in_shot_deg_median: angle in degrees between the two rotations relative to the first
            frame of their shot, over the other frames; nan without other frames.
        position_m_mean, position_m_median: distance in metres between the two cameras.

    Raises:
        ValueError: there are no films, or a trajectory has no stage or another length than its poses.
    """
    absolute, within, distance = [], [], []
    for pose_T34, trajectory in zip(poses, trajectories, strict=True):
        true_T34 = known_poses(trajectory)
        if pose_T34.shape != true_T34.shape:
            raise ValueError(f"{len(pose_T34)} poses were found for a trajectory of {len(true_T34)}")
        absolute.append(_angle(pose_T34, true_T34))
        distance.append(np.linalg.norm(pose_T34[:, :, 3] - true_T34[:, :, 3], axis=-1))
        for start, end in trajectory.spans:
            # The first frame is left out: relative to itself its error is always 0 and would only lower the mean.
            shots = [se3.relative(path[start], path[start + 1 : end]) for path in (pose_T34, true_T34)]
            within.append(_angle(*shots))
    if not absolute:
        raise ValueError("there are no films to score")
    named = {"rot_deg": absolute, "rot_in_shot_deg": within, "position_m": distance}
    out = {}
    for name, parts in named.items():
        values = np.concatenate(parts)
        out[f"{name}_mean"] = float(values.mean()) if len(values) else float("nan")
        out[f"{name}_median"] = float(np.median(values)) if len(values) else float("nan")
    return out


def known_poses(trajectory: Trajectory) -> np.ndarray:
    """Returns the poses [T, 3, 4] of a trajectory in the stage's frame, metres.

    Raises:
        ValueError: the trajectory does not know its stage.
    """
    if trajectory.stage_34 is None:
        raise ValueError("the trajectory has no stage: where its cameras stand on the stage is unknown")
    return stage_poses(trajectory)


def _angle(a_N34: np.ndarray, b_N34: np.ndarray) -> np.ndarray:
    """Angles [N] in degrees between the rotations of two lists of poses."""
    return np.degrees(se3.rotation_angle(se3.relative(a_N34, b_N34)[..., :3]))
