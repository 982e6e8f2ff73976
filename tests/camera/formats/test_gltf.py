"""glTF files."""

import numpy as np
import pytest

from other_programs import load_glb
from shotverse_jax.camera.formats import write_trajectory


def test_gltf_lens_and_cuts(tmp_path, film):
    write_trajectory(film, tmp_path / "film.glb")
    doc, read = load_glb(tmp_path / "film.glb")
    for camera, (fx, fy) in zip(doc["cameras"], film.intrinsics_T4[[0, 3], :2], strict=True):
        lens = camera["perspective"]
        assert lens["yfov"] == pytest.approx(2 * np.arctan(240 / fy))
        assert np.tan(lens["yfov"] / 2) * lens["aspectRatio"] == pytest.approx(416 / fx)
    animation = doc["animations"][0]
    clocks = [read(animation["samplers"][channel["sampler"]]["input"])[:, 0] for channel in animation["channels"]]
    assert [len(clock) for clock in clocks] == [3, 3, 2, 2] and clocks[2][0] == 3 / 16
    for channel in animation["channels"]:
        if channel["target"]["path"] == "rotation":
            norm = np.linalg.norm(read(animation["samplers"][channel["sampler"]]["output"]), axis=1)
            np.testing.assert_allclose(norm, 1, atol=1e-6)
    assert [node["extras"]["caption"] for node in doc["nodes"]] == list(film.captions)
