"""Where a film of the stage was filmed from: poses read from its pixels, and how far they are from those asked for."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.config import Execution, PoseNetConfig
from shotverse_jax.models.pose_net import PoseNet
from shotverse_jax.stage.preview import stage_poses
from shotverse_jax.weights import load

_BATCH = 66


@dataclasses.dataclass(frozen=True)
class StageCamera:
    """The pose estimator, ready to use: frames of the stage → poses in its frame."""

    config: PoseNetConfig
    params: dict
    execution: Execution = Execution()

    @classmethod
    def load(cls, name_or_folder: str | Path = "pose_small") -> "StageCamera":
        """By the name of a shipped estimator or by folder; raises ValueError when it is not there or does not fit."""
        return cls(*load("pose_net", name_or_folder)[:2])

    def __call__(self, video_THWC: np.ndarray) -> np.ndarray:
        """[T, H, W, 3] uint8 → [T, 3, 4] camera-to-world, OpenCV axes, metres, in the stage's frame; each frame alone.

        Frames larger or smaller than the network's are resized (linear, antialiased).

        Raises:
            ValueError: frames of other proportions than the network's, whose lens would not be the one it knows.
        """
        height, width = self.config.height, self.config.width
        shape = video_THWC.shape
        if len(shape) != 4 or shape[3] != 3 or shape[1] * width != shape[2] * height:
            raise ValueError(f"the pose estimator reads frames of the proportions {height} x {width}, got {shape[1:]}")
        network = PoseNet(self.config, self.execution)
        parts = []
        for start in range(0, len(video_THWC), _BATCH):
            part = video_THWC[start : start + _BATCH]
            fill = [(0, _BATCH - len(part)), *[(0, 0)] * 3]  # one compiled program for films of any length
            parts.append(np.asarray(_poses(network, self.params, np.pad(part, fill)))[: len(part)])
        return np.concatenate(parts).astype(np.float64)


def _estimate(network: PoseNet, params: dict, frames_BHWC: jax.Array) -> jax.Array:
    size = network.config.height, network.config.width
    frames_BHWC = frames_BHWC.astype(jnp.float32)
    if frames_BHWC.shape[1:3] != size:
        frames_BHWC = jax.image.resize(frames_BHWC, (len(frames_BHWC), *size, 3), "linear")
    return network.apply({"params": params}, frames_BHWC / 127.5 - 1)[0]


_poses = jax.jit(_estimate, static_argnums=0)


def camera_errors(poses: Sequence[np.ndarray], trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """Errors of poses found in films, over all frames of all films. `poses`: [T, 3, 4] each, in the stage's frame.

    Returns:
        rot_deg_mean, rot_deg_median: geodesic angle to the camera asked for, degrees, in the stage's frame.
        rot_in_shot_deg_mean, rot_in_shot_deg_median: the same of rotations relative to the first frame of their shot,
            over the other frames.
        position_m_mean, position_m_median: distance of the cameras, metres.

    Raises:
        ValueError: no films, a trajectory without a stage or of another length.
    """
    absolute, within, distance = [], [], []
    for pose_T34, trajectory in zip(poses, trajectories, strict=True):
        true_T34 = known_poses(trajectory)
        if pose_T34.shape != true_T34.shape:
            raise ValueError(f"{len(pose_T34)} poses were found for a trajectory of {len(true_T34)}")
        absolute.append(_angle(pose_T34, true_T34))
        distance.append(np.linalg.norm(pose_T34[:, :, 3] - true_T34[:, :, 3], axis=-1))
        for start, end in trajectory.spans:
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
    """`stage_poses` of a trajectory whose stage is known. Raises ValueError when it is not."""
    if trajectory.stage_34 is None:
        raise ValueError("the trajectory has no stage: where its cameras stand on the stage is unknown")
    return stage_poses(trajectory)


def _angle(a_N34: np.ndarray, b_N34: np.ndarray) -> np.ndarray:
    return np.degrees(se3.rotation_angle(se3.relative(a_N34, b_N34)[..., :3]))
