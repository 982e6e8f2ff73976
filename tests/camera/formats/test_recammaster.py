"""ReCamMaster files."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camera_paths import QUICK, assert_same, motion, round_trip, trajectories
from shotverse_jax.camera.formats import read_trajectory, write_trajectory
from shotverse_jax.camera.trajectory import Trajectory


@QUICK
@given(trajectories(lengths=st.sampled_from([[4], [3, 3], [1, 1, 1]])))
def test_recammaster_keeps_one_camera_per_shot(tmp_path, trajectory):
    got = round_trip(trajectory, tmp_path, "recammaster", camera="all")
    assert_same(got, trajectory, "shot_T")
    first = round_trip(trajectory, tmp_path, "recammaster")
    assert_same(first, trajectory.shot(0), "shot_T")


def test_recammaster_asks_for_one_clock(tmp_path):
    pose = motion("free", 5, np.random.default_rng(0))
    trajectory = Trajectory(pose, [700, 700, 416, 240], 832, 480, [0, 0, 1, 1, 1])
    with pytest.raises(ValueError, match=r"\[2, 3\] frames.*option frames"):
        write_trajectory(trajectory, tmp_path / "camera_extrinsics.json")
    got = round_trip(trajectory, tmp_path, "recammaster", {"frames": 81}, camera="cam02")
    assert len(got) == 81
    np.testing.assert_allclose(got.pose_T34[[0, 40, 80]], pose[2:], atol=1e-9)


def test_recammaster_file(reference):
    path = reference / "data/trajectories/recammaster/camera_extrinsics.json"
    takes = read_trajectory(path, camera="all")
    assert (takes.num_shots, len(takes)) == (10, 810)
    assert takes.captions == tuple(f"cam{k:02d}" for k in range(1, 11))
    np.testing.assert_allclose(np.linalg.det(takes.pose_T34[:, :, :3]), 1, atol=1e-12)
    turn = takes.shot(0).from_first_camera().pose_T34[-1]
    assert turn[0, 2] > 0.1  # cam01 pans right: the view direction gains +x
    np.testing.assert_allclose(turn[:, 3], 0, atol=1e-9)
    np.testing.assert_allclose(takes.pose_T34[0], [[1, 0, 0, 13.8], [0, 1, 0, -2.4], [0, 0, 1, 33.9]], atol=1e-9)
