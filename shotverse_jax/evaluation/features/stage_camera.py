"""Camera poses read from the pixels of films of the stage, by the pose estimator."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from shotverse_jax.config import Execution, PoseNetConfig
from shotverse_jax.models.pose_net import PoseNet
from shotverse_jax.weights import load

_BATCH = 66


@dataclasses.dataclass(frozen=True)
class StageCamera:
    """The pose estimator, ready to use: it maps frames of the stage to poses in the stage's frame.

    Attributes:
        config: the network.
        params: its weights.
        execution: how it is computed; by default in float32 without any partition.
    """

    config: PoseNetConfig
    params: dict
    execution: Execution = Execution()

    @classmethod
    def load(cls, name_or_folder: str | Path = "pose_small") -> "StageCamera":
        """Loads an estimator by the name of a shipped one (default "pose_small") or by its folder.

        Raises:
            ValueError: it does not exist, or its weights do not fit its config.
        """
        return cls(*load("pose_net", name_or_folder)[:2])

    def __call__(self, video_THWC: np.ndarray) -> np.ndarray:
        """Estimates the pose of every frame of a film, each frame on its own.

        Args:
            video_THWC: [T, H, W, 3] uint8. Frames of another size than the network's are resized (linear, antialiased).

        Returns:
            [T, 3, 4] float64 camera-to-world poses, OpenCV axes, in the stage's frame, metres.

        Raises:
            ValueError: the frames have other proportions than the network's. Their lens would differ from the one that
                the network was trained with.
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
