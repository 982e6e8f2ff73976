"""Scripts for Blender."""

import ast
import dataclasses

import pytest

from other_programs import cameras_in_blender
from shotverse_jax.camera.formats import write_trajectory


def test_blender_scene(tmp_path, film, monkeypatch):
    lens = film.intrinsics_T4 * [1, 0.5, 1, 1] + [0, 0, 8, 6]
    write_trajectory(dataclasses.replace(film, intrinsics_T4=lens), tmp_path / "film.py")
    seen = cameras_in_blender(tmp_path / "film.py", monkeypatch)
    assert [(m.name, m.frame, m.camera.name) for m in seen["markers"]] == [
        ("shot_01", 1, "shot_01"),
        ("shot_02", 4, "shot_02"),
    ]
    first, second = seen["objects"].values()
    assert first["caption"] == film.captions[0] and second["caption"] == film.captions[1]
    assert first.data.lens == pytest.approx(700 * 36 / 832) and not first.data.keys
    assert {frame: key["lens"] for frame, key in second.data.keys.items()} == pytest.approx(
        {4: 700 * 36 / 832, 5: 800 * 36 / 832}
    )
    assert first.data.shift_x == pytest.approx(-8 / 832)  # principal point right of the centre
    assert first.data.shift_y == pytest.approx(6 / 832 * 2)  # and below it; pixels twice as high as wide
    scene = seen["scene"]
    assert (scene.frame_start, scene.frame_end, scene.render.fps, scene.render.fps_base) == (1, 5, 16, 1)
    assert scene.render.pixel_aspect_y / scene.render.pixel_aspect_x == pytest.approx(2)
    tree = ast.parse((tmp_path / "film.py").read_text(encoding="utf-8"))
    shots = next(n for n in tree.body if ast.unparse(n).startswith("SHOTS ="))
    assert [len(shot[2]) for shot in ast.literal_eval(shots.value)] == [3, 2]
