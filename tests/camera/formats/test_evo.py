"""Lists of poses, opened by evo, which evaluates them."""

import numpy as np
import pytest

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import write_trajectory


@pytest.mark.parametrize("fmt", ["tum", "kitti"])
def test_lists_of_poses_are_opened_by_evo(tmp_path, film, fmt):
    evo = pytest.importorskip("evo.tools.file_interface")
    write_trajectory(film, tmp_path / "a.txt", fmt)
    if fmt == "tum":
        path = evo.read_tum_trajectory_file(str(tmp_path / "a.txt"))
        np.testing.assert_allclose(path.timestamps, np.arange(5) / 16)
    else:
        path = evo.read_kitti_poses_file(str(tmp_path / "a.txt"))
    np.testing.assert_allclose(np.array(path.poses_se3), se3.to_44(film.pose_T34), atol=1e-6)
