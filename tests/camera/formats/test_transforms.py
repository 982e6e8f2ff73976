"""trajectory.json and transforms.json."""

import dataclasses

import numpy as np
from hypothesis import given

from camera_paths import QUICK, assert_same, round_trip, trajectories
from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import read_trajectory
from shotverse_jax.camera.trajectory import Trajectory


@QUICK
@given(trajectories())
def test_shotverse_keeps_everything(tmp_path, trajectory):
    got = round_trip(trajectory, tmp_path, "shotverse")
    assert_same(got, trajectory, " ".join(f.name for f in dataclasses.fields(Trajectory)), atol=1e-14)
    np.testing.assert_array_equal(got.intrinsics_T4, trajectory.intrinsics_T4)


@QUICK
@given(trajectories())
def test_nerfstudio_keeps_poses_and_lens(tmp_path, trajectory):
    for write in ({}, {"monst3r_im_id": True}):
        got = round_trip(trajectory, tmp_path, "nerfstudio", write)
        assert_same(got, trajectory, "intrinsics_T4 width height", atol=1e-14)
        assert got.num_shots == 1


def test_datadop_example_starts_near_the_identity(reference):
    path = reference / "data/gendop/assets/examples/text_rgbd/case1_transforms_cleaning.json"
    got = read_trajectory(path)
    assert (len(got), got.width, got.height, got.num_shots) == (120, 512, 208, 1)
    np.testing.assert_allclose(got.intrinsics_T4[0], [642.345337, 642.345337, 256, 104])
    assert np.degrees(se3.rotation_angle(got.pose_T34[0, :, :3])) < 6
    np.testing.assert_allclose(got.pose_T34[0, :, 3], [0.023155368864536285, -0.000292155339, 0.225754425], atol=1e-9)
