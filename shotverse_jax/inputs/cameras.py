"""The cameras of a film as the camera encoder of the controller reads them, in the world that its config names.

`config.camera_frame` "stage" means the frame of the stage in metres, so that a pose alone says what is in view. "scene"
means ShotVerse's own (§3.1): the first camera is the world, and the largest distance from it is the unit. This file is
the only one that reads the field; training and inference both make their rows here.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.config import ControllerConfig
from shotverse_jax.stage.preview import stage_poses


def camera_rows(config: ControllerConfig, pose_T34: np.ndarray) -> np.ndarray:
    """Returns [T, 12] float32: 3x4 camera-to-world matrices, row by row, in the world of `config.camera_frame`.

    pose_T34: poses of the latent frames (pixel frames 0, 4, 8, …) of all shots, OpenCV axes. With "stage" they must be
    in the stage's frame and metres already; with "scene" they may be in any world.
    """
    pose_T34 = np.asarray(pose_T34, np.float64)
    if config.camera_frame == "scene":
        pose_T34 = se3.compose(se3.inverse(pose_T34[0]), pose_T34)
        # 1e-5, as GenDoP adds it, keeps a camera that never moves from a division by zero.
        pose_T34[..., 3] /= np.linalg.norm(pose_T34[..., 3], axis=-1).max() + 1e-5
    return pose_T34.reshape(-1, 12).astype(np.float32)


def trajectory_rows(config: ControllerConfig, trajectory: Trajectory, stride: int) -> np.ndarray:
    """Returns the rows of a film that is to be made, [T, 12] float32, one for every `stride` frames from frame 0 on.

    A trajectory that does not say where the stage is gets the stage that its cameras imply (`implied_stage`): a user's
    camera path can always be filmed.
    """
    pose_T34 = stage_poses(trajectory) if config.camera_frame == "stage" else trajectory.pose_T34
    return camera_rows(config, pose_T34[::stride])


def record_rows(config: ControllerConfig, record: Mapping[str, Any]) -> np.ndarray:
    """Returns the rows of a film in a data set, [T, 12] float32, from its record's `pose_T34`, `name` and `world`.

    The stage is never guessed here: a wrong guess would teach wrong cameras. Records without `world` are the stage's.

    Raises:
        ValueError: the controller reads poses on the stage, and the record's camera path has no stage.
    """
    if config.camera_frame == "stage" and record.get("world", "stage") != "stage":
        raise ValueError(
            f"{record.get('name', 'a film')}: this controller reads where the camera is on the stage, and the path has "
            'no stage; train with model.camera_frame="scene"'
        )
    return camera_rows(config, record["pose_T34"])
