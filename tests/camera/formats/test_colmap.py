"""COLMAP models."""

import numpy as np
import pytest
from hypothesis import given
from scipy.spatial.transform import Rotation

from camera_paths import QUICK, assert_same, round_trip, trajectories
from shotverse_jax.camera.formats import read_trajectory, write_trajectory


@QUICK
@given(trajectories())
def test_colmap_keeps_poses_lens_and_cuts(tmp_path, trajectory):
    assert_same(round_trip(trajectory, tmp_path, "colmap"), trajectory, "intrinsics_T4 width height shot_T")


def test_colmap_folder_keeps_foreign_files(tmp_path, film):
    write_trajectory(film, tmp_path / "deep" / "model", "colmap")
    (tmp_path / "deep/model/notes.txt").write_text("mine")
    write_trajectory(film.shot(0), tmp_path / "deep" / "model", "colmap")
    assert (tmp_path / "deep/model/notes.txt").read_text() == "mine"
    assert len(read_trajectory(tmp_path / "deep" / "model")) == 3


def test_colmap_reads_models_of_other_programs(tmp_path):
    (tmp_path / "cameras.txt").write_text("# x\n7 SIMPLE_RADIAL 640 480 500 320 240 0.1\n")
    (tmp_path / "images.txt").write_text(
        "# comment\n2 1 0 0 0 0 0 -1 7 b name.jpg\n\n1 0.5 0.5 0.5 0.5 1 2 3 7 a.jpg\n10.5 20.5 -1 3 4 17\n"
    )
    got = read_trajectory(tmp_path)
    np.testing.assert_allclose(got.intrinsics_T4, [[500, 500, 320, 240]] * 2)
    np.testing.assert_allclose(got.pose_T34[0, :, :3].T, Rotation.from_quat([0.5, 0.5, 0.5, 0.5]).as_matrix())
    np.testing.assert_allclose(got.pose_T34[1], np.eye(3, 4) + [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]])
    (tmp_path / "images.txt").write_text("1 1 0 0 0 0 0 0 8 a.jpg\n")
    with pytest.raises(ValueError, match="names camera 8"):
        read_trajectory(tmp_path)
