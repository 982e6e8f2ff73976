"""Camera channels."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import read_trajectory, write_trajectory
from shotverse_jax.camera.trajectory import Trajectory


def test_chan_angles_are_continuous_and_zxy(tmp_path):
    spin = np.linspace(0, 4 * np.pi, 50)
    tilt = np.linspace(-1.2, np.pi / 2, 50)
    roll = se3.so3_exp(np.array([0, 0, 0.7]))  # with it, straight up (where the tilt ends) keeps rz = -40 degrees
    for axis in (se3.so3_exp(np.outer(spin, [0, 1.0, 0])), se3.so3_exp(np.outer(tilt, [1.0, 0, 0])) @ roll):
        trajectory = Trajectory(se3.make(axis, np.zeros((50, 3))), [700, 700, 416, 240], 832, 480, np.zeros(50, int))
        write_trajectory(trajectory, tmp_path / "a.chan")
        rows = np.loadtxt(tmp_path / "a.chan")
        assert rows[:, 0].tolist() == list(range(1, 51))
        assert np.abs(np.diff(rows[:, 4:7], axis=0)).max() < 20
        back = Rotation.from_euler("YXZ", rows[:, [5, 4, 6]], degrees=True).as_matrix()
        want = np.diag([1, -1, -1]) @ axis @ np.diag([1, -1, -1])
        np.testing.assert_allclose(back, want, atol=1e-9)
        np.testing.assert_allclose(rows[:, 7], np.degrees(2 * np.arctan(240 / 700)))


def test_what_is_written_is_read(tmp_path):
    rng = np.random.default_rng(0)
    pose = se3.make(se3.so3_exp(rng.normal(size=(9, 3))), rng.normal(size=(9, 3)))
    zoom = np.stack([np.linspace(500, 900, 9)] * 2 + [np.full(9, 416), np.full(9, 240)], axis=1)
    write_trajectory(Trajectory(pose, zoom, 832, 480, np.zeros(9, int)), tmp_path / "a.chan")
    read = read_trajectory(tmp_path / "a.chan")
    np.testing.assert_allclose(read.pose_T34, pose, atol=1e-9)
    np.testing.assert_allclose(read.intrinsics_T4, zoom, rtol=1e-9)


def test_files_of_other_programs(tmp_path):
    """Without a field of view, with a gap in the frames; and what makes no path."""
    (tmp_path / "a.chan").write_text("# frame tx ty tz rx ry rz\n1001 0 1.5 0 0 0 0\n1003\t0 1.5 -2 0 90 0\n")
    read = read_trajectory(tmp_path / "a.chan", fps=24)
    np.testing.assert_allclose(read.pose_T34[:, :, 3], [[0, -1.5, 0], [0, -1.5, 2]], atol=1e-12)
    np.testing.assert_allclose(read.pose_T34[1, :, 2], [-1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(read.seconds_T, [0, 2 / 24])
    for text, message in (
        ("1 0 0 0 0 0", "expected 8 numbers"),
        ("2 0 0 0 0 0 0\n1 0 0 0 0 0 0", "count upwards"),
        ("1 0 0 0 0 0 0 180", "between 0 and 180"),
    ):
        (tmp_path / "a.chan").write_text(text)
        with pytest.raises(ValueError, match=message):
            read_trajectory(tmp_path / "a.chan")
