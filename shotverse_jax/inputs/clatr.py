"""What CLaTr reads of a trajectory, and trajectories of what it writes (GenDoP evaluate/CLaTr, trajectory_dataset.py).

Axes: N samples, T frames, I items of `CLaTrConfig.frames_per_item` frames, C features.
"""

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.config import CLATR_FRAMES, CLaTrConfig

TEXT_TOWER = "text"
"""Folder of the text tower that a CLaTr was trained with, below that of the network."""


def shot_features(pose_T34: np.ndarray) -> np.ndarray:
    """Returns the features of one shot as the published network reads them.

    Poses are relative to the first one, with OpenGL camera axes, in the trajectory's own unit of length. A shot of
    other than 120 frames is resampled over its whole length.

    Args:
        pose_T34: [T, 3, 4] camera-to-world, OpenCV axes.

    Returns:
        [120, 9] float32: the first two columns of the rotation, then the translation since the frame before.
    """
    pose_T34 = np.asarray(pose_T34, np.float64)
    if len(pose_T34) != CLATR_FRAMES:
        pose_T34 = se3.resample(pose_T34, np.linspace(0.0, len(pose_T34) - 1.0, CLATR_FRAMES))
    # The axes change before the poses become relative, so both sides of a relative pose have OpenGL's axes.
    pose_T34 = se3.flip_yz(pose_T34)
    pose_T34 = se3.relative(pose_T34[0], pose_T34)
    # Frame 0 has its position, which is 0 here. GenDoP switches the standardisation of these numbers off, so there is
    # none.
    step_T3 = np.diff(pose_T34[:, :, 3], axis=0, prepend=0.0)
    return np.concatenate([pose_T34[:, :, 0], pose_T34[:, :, 1], step_T3], axis=1).astype(np.float32)


def to_items(config: CLaTrConfig, features_NTC: np.ndarray) -> np.ndarray:
    """Returns features [N, 120, 9] as the items [N, I, feature_size] that a network reads."""
    scale = np.asarray([1.0] * 6 + [config.step_scale] * 3, np.float32)
    return (features_NTC * scale).reshape(len(features_NTC), -1, config.feature_size)


def from_items(config: CLaTrConfig, items_NIC: np.ndarray) -> np.ndarray:
    """Returns the poses [N, 120, 3, 4] that decoded items stand for: camera-to-world, OpenCV axes, the first at 0.

    The two columns of a rotation are made orthonormal, the first one keeps its direction (GenDoP
    `utils/rotation_utils.py`).
    """
    feature_NT9 = np.asarray(items_NIC, np.float64).reshape(len(items_NIC), -1, 9)
    x = _unit(feature_NT9[..., 0:3])
    z = _unit(np.cross(x, feature_NT9[..., 3:6]))
    rotation = np.stack([x, np.cross(z, x), z], axis=-1)
    centre = np.cumsum(feature_NT9[..., 6:9] / config.step_scale, axis=1)
    # The world has OpenGL's axes too, as the first camera is the world. It becomes OpenCV's with the camera.
    return se3.flip_yz(se3.make(rotation, centre)) * np.asarray([[1.0], [-1.0], [-1.0]])


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-8)
