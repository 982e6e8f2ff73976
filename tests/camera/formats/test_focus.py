"""Focus distance and f-number in camera files: our own, what other programs see, and what they write."""

import dataclasses

import numpy as np
import pytest

from camera_paths import edited
from other_programs import cameras_in_blender
from shotverse_jax.camera.formats import FORMATS, read_trajectory, write_trajectory
from shotverse_jax.camera.formats.explain import explain

HOLD = [name for name, form in FORMATS.items() if "focus" in form.keeps]


@pytest.fixture
def racked(film):
    """The film with a focus that moves in the first shot, and a pinhole in the second."""
    return dataclasses.replace(film, focus_T2=[[4, 1.4], [3.5, 2], [1.25, 2.8], [0, 0], [0, 0]])


@pytest.mark.parametrize("fmt", HOLD)
def test_a_focus_is_read_back_and_a_film_without_one_has_none(tmp_path, film, racked, fmt):
    path = tmp_path / f"film{FORMATS[fmt].extension}"
    notes = write_trajectory(racked, path, fmt)
    assert not any("focus" in note for note in notes)
    np.testing.assert_allclose(read_trajectory(path, fmt).focus_T2, racked.focus_T2, rtol=1e-6)
    write_trajectory(film, path, fmt)
    assert read_trajectory(path, fmt).focus_T2 is None
    assert b"ocus" not in path.read_bytes().replace(b"focusDistance", b"")


def test_other_formats_say_that_they_hold_no_focus(tmp_path, racked):
    assert set(HOLD) == {"shotverse", "csv", "usd", "gltf", "blender"}
    assert any("focus" in note for note in write_trajectory(racked, tmp_path / "film.tum"))


def test_blender_gets_depth_of_field_in_the_shot_that_is_focused(tmp_path, racked, monkeypatch):
    write_trajectory(racked, tmp_path / "film.py")
    first, second = cameras_in_blender(tmp_path / "film.py", monkeypatch)["objects"].values()
    keys = {frame: (key["focus_distance"], key["aperture_fstop"]) for frame, key in first.data.dof.keys.items()}
    assert keys == {1: (4, 1.4), 2: (3.5, 2), 3: (1.25, 2.8)}
    assert first.data.dof.use_dof and not second.data.dof.use_dof and not second.data.dof.keys


def test_usd_has_focus_distance_and_f_stop_over_time(tmp_path, racked):
    Usd = pytest.importorskip("pxr.Usd")
    write_trajectory(racked, tmp_path / "film.usda")
    stage = Usd.Stage.Open(str(tmp_path / "film.usda"))
    prim = stage.GetPrimAtPath("/Film/shot_01")
    assert [prim.GetAttribute("focusDistance").Get(t) for t in (1, 2, 3)] == [4, 3.5, 1.25]
    assert [prim.GetAttribute("fStop").Get(t) for t in (1, 2, 3)] == pytest.approx([1.4, 2, 2.8])


def test_a_usd_camera_in_centimetres_with_another_film_back(tmp_path):
    pytest.importorskip("pxr.Usd")
    path = tmp_path / "other.usda"
    path.write_text(
        """#usda 1.0
( metersPerUnit = 0.01
  upAxis = "Y" )
def Camera "c" {
    float focalLength = 50
    float horizontalAperture = 24
    float verticalAperture = 16
    float focusDistance = 250
    float fStop.timeSamples = { 0: 2, 10: 4 }
}"""
    )
    read = read_trajectory(path)
    assert len(read) == 11
    np.testing.assert_allclose(read.focus_T2[:, 0], 2.5)
    # 50 mm at f/2 are an opening of 25 mm, which a focal length of 75 mm has at f/3.
    np.testing.assert_allclose(read.focus_T2[[0, -1], 1], [3, 6])
    np.testing.assert_allclose(2000 * read.lens_radius_T[[0, -1]], [25, 12.5])
    assert ("focus", "at 2.5 units, f-number 3 to 6") in explain(path).lines
    half = read_trajectory(edited(path, "0: 2,", "0: 0,"))
    assert half.focus_T2 is None and "blurs in some frames and not in others" in "".join(half.notes)
    far = read_trajectory(edited(path, "focusDistance = 250", "focusDistance = -1"))
    assert far.focus_T2 is None


def test_lost_poses_are_filled_in_with_their_focus(tmp_path, racked):
    path = tmp_path / "a.csv"
    write_trajectory(racked, path)
    lines = path.read_text().splitlines()
    cells = lines[2].split(",")
    lines[2] = ",".join([*cells[:3], *["nan"] * 7, *cells[10:]])
    path.write_text("\n".join(lines))
    assert read_trajectory(path, lost="skip").focus_T2[:, 0].tolist() == [4, 1.25, 0, 0]
    np.testing.assert_allclose(read_trajectory(path, lost="interpolate").focus_T2[1], [2.625, 2.1])
