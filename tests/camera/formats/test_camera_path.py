"""Camera paths of nerfstudio."""

import json

import numpy as np
import pytest

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import write_trajectory


def test_camera_path_as_nerfstudio_reads_it(tmp_path, film):
    write_trajectory(film, tmp_path / "camera_path.json")
    doc = json.loads((tmp_path / "camera_path.json").read_text())
    assert (doc["render_width"], doc["render_height"], doc["seconds"]) == (832, 480, 5 / 16)
    for t, camera in enumerate(doc["camera_path"]):
        matrix = np.array(camera["camera_to_world"]).reshape(4, 4)
        np.testing.assert_allclose(matrix[:3], se3.flip_yz(film.pose_T34[t]))
        focal = doc["render_height"] / 2 / np.tan(np.radians(camera["fov"]) / 2)
        assert focal == pytest.approx(film.intrinsics_T4[t, 1])
