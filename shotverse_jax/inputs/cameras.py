"""Camera paths as the camera encoder of the controller reads them."""

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.config import ControllerConfig


def camera_rows(config: ControllerConfig, pose_T34: np.ndarray) -> np.ndarray:
    """[T, 12] float32 for the camera encoder: 3x4 camera-to-world matrices, row by row, in `config.camera_frame`.

    pose_T34: poses of the latent frames (pixel frames 0, 4, 8, …) of all shots, OpenCV axes; of "stage" in the stage's
    frame and metres, of "scene" in any world (ShotVerse §3.1: the first camera is made the world, and the largest
    distance from it the unit).
    """
    pose_T34 = np.asarray(pose_T34, np.float64)
    if config.camera_frame == "scene":
        pose_T34 = se3.compose(se3.inverse(pose_T34[0]), pose_T34)
        pose_T34[..., 3] /= np.linalg.norm(pose_T34[..., 3], axis=-1).max() + 1e-5
    return pose_T34.reshape(-1, 12).astype(np.float32)
