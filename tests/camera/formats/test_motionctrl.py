"""MotionCtrl files."""

import numpy as np
import pytest
from hypothesis import given

from camera_paths import QUICK, assert_same, round_trip, trajectories
from shotverse_jax.camera.formats import read_trajectory


@QUICK
@given(trajectories())
def test_motionctrl_keeps_poses_relative_to_the_first(tmp_path, trajectory):
    assert_same(round_trip(trajectory, tmp_path, "motionctrl"), trajectory.from_first_camera(), "")
    assert_same(round_trip(trajectory, tmp_path, "motionctrl", {"relative": False}), trajectory, "")


@pytest.mark.parametrize(
    ("name", "axis", "sign"),
    [("I", 2, 1), ("O", 2, -1), ("L", 0, -1), ("R", 0, 1), ("U", 1, -1), ("D", 1, 1)],
)
def test_motionctrl_letters(reference, name, axis, sign):
    """In, out, left, right, up, down as steps of the camera in OpenCV axes (w2c "zoom in" has a falling t_z)."""
    path = reference / f"data/trajectories/motionctrl/dataset_camera_poses_basic/test_camera_{name}.json"
    step = np.diff(read_trajectory(path).pose_T34[:, :, 3], axis=0)
    assert (np.sign(np.round(step, 9)) == sign * np.eye(3)[axis]).all()
