"""MonST3R's and DataDoP's files."""

import numpy as np
import pytest
from hypothesis import given

from camera_paths import QUICK, assert_same, round_trip, trajectories
from shotverse_jax.camera.formats import read_trajectory

FIRST = ["0.0 0 0 0 1.0 0 0 0", "1.0 0 0 0.5 0.99619 0 0.08716 0", "2.0 0 0 1 0.98481 0 0.17365 0"]
LAST = ["0.0 0 0 0 0 0 0 1.0", "1.0 0 0 0.5 0 0.08716 0 0.99619", "2.0 0 0 1 0 0.17365 0 0.98481"]


@pytest.mark.parametrize(
    ("name", "lines"), [("pred_traj.txt", FIRST), ("scene_0007_traj.txt", FIRST), ("x_traj.txt", LAST), ("x.txt", LAST)]
)
def test_the_real_part_is_where_the_file_has_it(tmp_path, name, lines):
    """A camera that goes forward and turns right; other programs name files so that have the real part last."""
    (tmp_path / name).write_text("\n".join(lines))
    got = read_trajectory(tmp_path / name)
    np.testing.assert_allclose(
        got.pose_T34[:, :, 2], [[0, 0, 1], [0.17365, 0, 0.98481], [0.34202, 0, 0.93969]], atol=1e-4
    )
    np.testing.assert_allclose(got.pose_T34[:, 2, 3], [0, 0.5, 1])
    assert not got.notes or not any("upside down" in note for note in got.notes)


def test_frames_are_counted(tmp_path):
    (tmp_path / "pred_traj.txt").write_text("\n".join(FIRST))
    assert read_trajectory(tmp_path / "pred_traj.txt", fps=12).fps == 12


@QUICK
@given(trajectories())
def test_monst3r_keeps_poses(tmp_path, trajectory):
    assert_same(round_trip(trajectory.evenly(), tmp_path, "monst3r"), trajectory.evenly(), "")
