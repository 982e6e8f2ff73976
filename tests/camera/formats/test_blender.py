"""Scripts for Blender, their numbers read back, and films that went through Blender."""

import ast
import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from other_programs import cameras_in_blender
from shotverse_jax.camera.formats import read_trajectory, write_trajectory


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


def test_a_script_is_read_back_and_never_run(tmp_path, film):
    lens = film.intrinsics_T4 * [1, 0.5, 1, 1] + [0, 0, 8, 6]
    wide = dataclasses.replace(film, intrinsics_T4=lens, fps=23.976)
    assert write_trajectory(wide, tmp_path / "film.py") == ()
    path = tmp_path / "film.py"
    path.write_text(path.read_text(encoding="utf-8") + "\nraise SystemExit('it was run')\n", encoding="utf-8")
    read = read_trajectory(path)
    np.testing.assert_allclose(read.pose_T34, film.pose_T34, atol=1e-10)
    np.testing.assert_allclose(read.stage_34, film.stage_34, atol=1e-12)
    np.testing.assert_allclose(read.intrinsics_T4, lens, rtol=1e-10)
    assert (read.captions, read.global_caption, read.fps) == (film.captions, "scene", 23.976)
    assert read.shot_T.tolist() == film.shot_T.tolist()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("FPS = 16.0", "FPS = float(16)", "no FPS of plain numbers"),
        ("SHOTS = [", "SHOTS = list() + [", "no SHOTS of plain numbers"),
        ("(1, ", "('1', ", "the keys of shot_01 should be"),
        ("(2, ", "(1, ", "frames that do not rise"),
        ("WIDTH, HEIGHT = 832, 480", "WIDTH, HEIGHT = 832, -1", "should be positive"),
        ("SHOTS", "SHOTS SHOTS", "not a Python script"),
    ],
)
def test_scripts_that_are_others(tmp_path, film, old, new, message):
    write_trajectory(film, tmp_path / "film.py")
    text = (tmp_path / "film.py").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "film.py").write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_trajectory(tmp_path / "film.py")


def test_a_blend_needs_blender(tmp_path, film, monkeypatch):
    monkeypatch.setitem(sys.modules, "bpy", None)
    (tmp_path / "film.blend").write_bytes(b"BLENDER")
    with pytest.raises(ValueError, match="needs Blender's own module"):
        read_trajectory(tmp_path / "film.blend")
    with pytest.raises(ValueError, match="a script that builds the cameras"):
        write_trajectory(film, tmp_path / "other.blend")


TRIP = """
import sys
from pathlib import Path

import bpy
import numpy as np

from shotverse_jax.camera.formats import read_trajectory

folder = Path(sys.argv[1])
film = read_trajectory(folder / "film.py")
bpy.ops.wm.read_factory_settings(use_empty=True)
exec(compile((folder / "film.py").read_text(), "film.py", "exec"), {})
bpy.ops.wm.save_as_mainfile(filepath=str(folder / "film.blend"))
bpy.ops.wm.usd_export(filepath=str(folder / "film.usda"), export_animation=True)
bpy.ops.export_scene.gltf(filepath=str(folder / "film.glb"), export_cameras=True, export_extras=True)
for suffix in ("blend", "usda", "glb"):
    read = read_trajectory(folder / f"film.{suffix}")
    ours, theirs = film.from_first_camera(), read.from_first_camera()
    np.testing.assert_allclose(theirs.pose_T34, ours.pose_T34, atol=2e-6)
    assert read.shot_T.tolist() == film.shot_T.tolist() and read.fps == film.fps, suffix
    if suffix == "blend":
        np.testing.assert_allclose(read.intrinsics_T4, film.intrinsics_T4, rtol=1e-5)
        assert read.captions == film.captions and read.global_caption == film.global_caption
print("done")
"""


def test_a_film_goes_through_blender(tmp_path, film):
    """In a process of its own, where Blender's module is installed: as .blend, and as USD and glTF that it exports."""
    write_trajectory(film, tmp_path / "film.py")
    if subprocess.run([sys.executable, "-c", "import bpy"], capture_output=True).returncode:
        pytest.skip("Blender's module bpy is not installed")
    run = subprocess.run([sys.executable, "-c", TRIP, tmp_path], capture_output=True, text=True, timeout=300)
    assert run.stdout.rstrip().endswith("done"), run.stderr[-2000:]
