"""TUM files."""

import numpy as np
import pytest
from hypothesis import given

from camera_paths import QUICK, assert_same, round_trip, trajectories
from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import read_trajectory, write_trajectory


@QUICK
@given(trajectories())
def test_tum_keeps_poses_and_time(tmp_path, trajectory):
    assert_same(round_trip(trajectory, tmp_path, "tum"), trajectory, "time_T" if len(trajectory) > 1 else "")


def test_evo_reads_tum_and_kitti_alike(tmp_path, film):
    interface = pytest.importorskip("evo.tools.file_interface")
    write_trajectory(film, tmp_path / "a.tum")
    write_trajectory(film, tmp_path / "a.kitti")
    want = se3.to_44(film.pose_T34)
    tum = interface.read_tum_trajectory_file(str(tmp_path / "a.tum"))
    np.testing.assert_allclose(np.array(tum.poses_se3), want, atol=1e-9)
    np.testing.assert_allclose(tum.timestamps, np.arange(5) / 16)
    np.testing.assert_allclose(
        np.array(interface.read_kitti_poses_file(str(tmp_path / "a.kitti")).poses_se3), want, atol=1e-9
    )


def test_tum_file(reference):
    tum = read_trajectory(reference / "data/trajectories/tum/freiburg1_xyz-groundtruth.txt")
    assert len(tum) == 3000 and 95 < tum.fps < 105 and tum.time_T[0] == pytest.approx(1305031098.6659)
