"""RealEstate10K files."""

import numpy as np
from hypothesis import given

from camera_paths import QUICK, assert_same, round_trip, trajectories
from shotverse_jax.camera.formats import read_trajectory


@QUICK
@given(trajectories())
def test_realestate10k_keeps_poses_lens_and_time(tmp_path, trajectory):
    got = round_trip(trajectory, tmp_path, "realestate10k", width=832, height=480)
    assert_same(got, trajectory, "intrinsics_T4 width height")
    seconds = np.arange(len(got)) / got.fps if got.time_T is None else got.time_T
    truth = np.arange(len(got)) / trajectory.fps if trajectory.time_T is None else trajectory.time_T
    np.testing.assert_allclose(seconds, truth, rtol=0, atol=1.1e-5)


def test_cameractrl_files(reference):
    clips = sorted((reference / "data/trajectories/cameractrl/pose_files").glob("*.txt"))
    assert len(clips) == 10
    for path in clips:
        clip = read_trajectory(path)
        assert len(clip) == 16
        np.testing.assert_allclose(clip.intrinsics_T4[:, 0], clip.intrinsics_T4[:, 1], rtol=1e-6)  # square pixels
