"""ShotDirector's prompt files."""

import json

import numpy as np
import pytest

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import read_trajectory, write_trajectory


def film_of(width=1440, height=1072) -> dict:
    reverse = [[-1.0, 0, 0, 0.5], [0, 1, 0, 0], [0, 0, -1, 3]]  # world-to-camera: looks back from (0.5, 0, 3)
    size = {"width": width, "height": height} if width else {}
    return {
        "prompt": ["She waits.", "He comes in.", "A room. Shot and reverse shot."],
        "extrinsic": [np.eye(3, 4).tolist(), reverse],
        "intrinsic": [[[1100.0, 0, 259], [0, 1090, 196], [0, 0, 1]], [[1400.0, 0, 259], [0, 1390, 196], [0, 0, 1]]],
        **size,
    }


def test_shots_stand_still_where_their_camera_is(tmp_path):
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps({"1": film_of()}))
    got = read_trajectory(path)
    assert got.spans == [(0, 41), (41, 81)]  # 11 and 10 latents
    np.testing.assert_allclose(got.pose_T34[40], np.eye(3, 4))
    np.testing.assert_allclose(got.pose_T34[41:, :, 3], np.tile([0.5, 0, 3], (40, 1)))
    np.testing.assert_allclose(got.pose_T34[41, :, 2], [0, 0, -1])
    np.testing.assert_allclose(got.intrinsics_T4[[0, 80]], [[1100, 1090, 720, 536], [1400, 1390, 720, 536]])
    assert got.captions == ("She waits.", "He comes in.") and got.global_caption.startswith("A room")
    assert any("stand still" in note for note in got.notes)


def test_a_film_is_chosen_by_its_name(tmp_path):
    path = tmp_path / "prompts.json"
    other = film_of(None) | {"prompt": ["a", "b", "c"]}
    path.write_text(json.dumps({"1": film_of(), "night": other}))
    assert any("night" in note for note in read_trajectory(path).notes)
    got = read_trajectory(path, film="night", frames=9)
    assert got.captions == ("a", "b") and got.spans == [(0, 5), (5, 9)] and (got.width, got.height) == (832, 480)
    with pytest.raises(ValueError, match="no film 'day'; the file has 1, night"):
        read_trajectory(path, film="day")
    with pytest.raises(ValueError, match="frames should be 4n.1"):
        read_trajectory(path, frames=10)


def test_the_first_camera_of_each_shot_is_written(tmp_path, film):
    write_trajectory(film, tmp_path / "film.shotdirector.json")
    entry = json.loads((tmp_path / "film.shotdirector.json").read_text())["1"]
    assert entry["prompt"] == [*film.captions, "scene"]
    np.testing.assert_allclose(entry["extrinsic"][0], np.eye(3, 4), atol=1e-12)
    got = read_trajectory(tmp_path / "film.shotdirector.json")
    want = se3.relative(film.pose_T34[:1], film.pose_T34[[0, 3]])
    np.testing.assert_allclose(got.pose_T34[[0, 80]], want, atol=1e-9)
    np.testing.assert_allclose(got.intrinsics_T4[[0, 80]], film.intrinsics_T4[[0, 3]])
