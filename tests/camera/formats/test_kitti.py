"""KITTI files."""

import numpy as np
from hypothesis import given

from camera_paths import QUICK, assert_same, round_trip, trajectories
from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import read_trajectory


@QUICK
@given(trajectories())
def test_kitti_keeps_poses(tmp_path, trajectory):
    assert_same(round_trip(trajectory, tmp_path, "kitti"), trajectory, "")


def test_text_noise_is_rounded_to_rotations(tmp_path):
    turn = se3.so3_exp(np.array([0.3, -0.8, 0.1]))
    path = tmp_path / "a.kitti"
    path.write_text(" ".join(f"{x:.4f}" for x in np.c_[turn, [1, 2, 3]].ravel()))
    got = read_trajectory(path).pose_T34[0]
    np.testing.assert_allclose(got[:, :3] @ got[:, :3].T, np.eye(3), atol=1e-14)
    np.testing.assert_allclose(got[:, :3], turn, atol=1e-4)
