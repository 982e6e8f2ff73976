"""Camera channels."""

import numpy as np
from scipy.spatial.transform import Rotation

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import write_trajectory
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
