"""USD files."""

import dataclasses
import sys

import numpy as np
import pytest

from shotverse_jax.camera.formats import read_trajectory, write_trajectory


@pytest.mark.parametrize("suffix", [".usda", ".usdc", ".usd"])
def test_usd_lens_time_and_axes(tmp_path, film, suffix):
    pxr = pytest.importorskip("pxr.UsdGeom")
    usd = pytest.importorskip("pxr.Usd")
    shifted = dataclasses.replace(film, intrinsics_T4=film.intrinsics_T4 * (35 / 36 * 832 / 700) + [0, 0, 30, 20])
    write_trajectory(shifted, tmp_path / f"film{suffix}")
    stage = usd.Stage.Open(str(tmp_path / f"film{suffix}"))
    assert pxr.GetStageUpAxis(stage) == "Y" and pxr.GetStageMetersPerUnit(stage) == 1
    assert (stage.GetTimeCodesPerSecond(), stage.GetStartTimeCode(), stage.GetEndTimeCode()) == (16, 1, 5)
    camera = pxr.Camera(stage.GetPrimAtPath("/Film/shot_01"))
    assert camera.GetFocalLengthAttr().Get() == pytest.approx(0.35)
    frustum = camera.GetCamera(1).frustum
    view = np.array(frustum.ComputeViewDirection())
    np.testing.assert_allclose(view, [0, 0, 1], atol=1e-6)  # the subject faces -z in the y-up world
    # The picture window at unit distance must be the pinhole's: the corner (0, 0) is left and up.
    fx, fy, cx, cy = shifted.intrinsics_T4[0]
    window = frustum.GetWindow()
    np.testing.assert_allclose(window.GetMin(), [-cx / fx, -(480 - cy) / fy], rtol=1e-5)
    np.testing.assert_allclose(window.GetMax(), [(832 - cx) / fx, cy / fy], rtol=1e-5)
    second = pxr.Camera(stage.GetPrimAtPath("/Film/shot_02"))
    assert second.GetPrim().GetAttribute("userProperties:caption").Get() == film.captions[1]
    assert second.GetFocalLengthAttr().GetTimeSamples() == [4, 5]
    assert second.GetOrderedXformOps()[0].GetTimeSamples() == [4, 5]


def test_usd_without_the_package_says_what_to_install(tmp_path, film, monkeypatch):
    monkeypatch.setitem(sys.modules, "pxr", None)
    with pytest.raises(ValueError, match=r"pip install 'shotverse_jax\[usd\]'"):
        write_trajectory(film, tmp_path / "film.usda")
    assert not list(tmp_path.iterdir())


def usda(body, head=""):
    """A USD text with a stage's metadata and prims."""
    body = body.replace("{ ", "{\n").replace(" }", "\n}")  # its grammar wants lines
    return f'#usda 1.0\n(\n    upAxis = "Z"\n    metersPerUnit = 0.01\n    timeCodesPerSecond = 25\n{head})\n{body}'


DOLLY = """
def Xform "rig" {
    double3 xformOp:translate.timeSamples = { 10: (0, 0, 0), 14: (400, 0, 0) }
    double3 xformOp:scale = (2, 2, 2)
    uniform token[] xformOpOrder = ["xformOp:translate", "xformOp:scale"]
    def Camera "cam" {
        float focalLength = 50
        float horizontalAperture = 36
        float verticalAperture = 24
        double3 xformOp:translate = (0, 0, 75)
        float xformOp:rotateX = 90
        uniform token[] xformOpOrder = ["xformOp:translate", "xformOp:rotateX"]
    }
    def Camera "flat" { token projection = "orthographic" }
}
"""


def test_a_camera_of_another_program(tmp_path):
    """Centimetres, z up, a scaled rig with keys at two frames: the camera stands 1.5 m high and looks along +y."""
    pytest.importorskip("pxr.Usd")
    (tmp_path / "a.usda").write_text(usda(DOLLY))
    read = read_trajectory(tmp_path / "a.usda")
    # The world is turned from z up to y down: (x, y, z) is (x, -z, y).
    np.testing.assert_allclose(read.pose_T34[:, :, 3], [[x, -1.5, 0] for x in range(5)], atol=1e-9)
    np.testing.assert_allclose(read.pose_T34[:, :, 2], [[0, 0, 1]] * 5, atol=1e-9)
    np.testing.assert_allclose(read.pose_T34[:, :, 1], [[0, 1, 0]] * 5, atol=1e-9)
    assert read.fps == 25 and (read.width, read.height) == (720, 480)
    np.testing.assert_allclose(read.intrinsics_T4, [[1000, 1000, 360, 240]] * 5, rtol=1e-6)
    assert any("flat is orthographic" in note for note in read.notes)
    assert any("scale of 2" in note for note in read.notes)


def test_a_zoom_of_another_program_and_the_size_of_its_render(tmp_path):
    pytest.importorskip("pxr.Usd")
    body = """
def Camera "cam" { float focalLength.timeSamples = { 0: 35, 2: 70 } }
def Camera "other" { double3 xformOp:translate.timeSamples = { 0: (0, 0, 0), 2: (1, 0, 0) }
    uniform token[] xformOpOrder = ["xformOp:translate"] }
def Scope "Render" { def RenderSettings "settings" { int2 resolution = (1920, 1080) } }
"""
    (tmp_path / "a.usda").write_text(usda(body))
    read = read_trajectory(tmp_path / "a.usda")
    assert (read.width, read.height) == (1920, 1080)
    np.testing.assert_allclose(read.intrinsics_T4[:, 0] / read.intrinsics_T4[0, 0], [1, 1.5, 2])
    assert any("cam, other was read: cam" in note for note in read.notes)
    assert read_trajectory(tmp_path / "a.usda", camera="/other").pose_T34[2, 0, 3] == pytest.approx(0.01)


def test_samples_that_are_far_apart_are_read_as_they_are(tmp_path):
    pytest.importorskip("pxr.Usd")
    (tmp_path / "a.usda").write_text(usda(DOLLY.replace("14:", "1e9:")))
    read = read_trajectory(tmp_path / "a.usda", fps=25)
    assert len(read) == 2 and any("far apart" in note for note in read.notes)


def test_damaged_files_and_files_without_cameras(tmp_path):
    pytest.importorskip("pxr.Usd")
    for text, message in (
        ("#usda 1.0\nnothing", "not a USD file"),
        (usda('def Xform "rig" {}'), "no camera with a perspective lens"),
        (usda('def Camera "cam" { float focalLength = 0 }'), "a focal length or a film back of 0"),
    ):
        (tmp_path / "a.usda").write_text(text)
        with pytest.raises(ValueError, match=rf"a\.usda: .*{message}"):
            read_trajectory(tmp_path / "a.usda")


def test_what_usd_has_no_place_for_comes_back(tmp_path, film):
    pytest.importorskip("pxr.Usd")
    wide = dataclasses.replace(film, intrinsics_T4=film.intrinsics_T4 * [1, 0.8, 1, 1] + [0, 0, 30, 20])
    assert write_trajectory(wide, tmp_path / "a.usdc") == ()
    read = read_trajectory(tmp_path / "a.usdc")
    np.testing.assert_allclose(read.pose_T34, film.pose_T34, atol=1e-12)
    np.testing.assert_allclose(read.stage_34, film.stage_34, atol=1e-12)
    np.testing.assert_allclose(read.intrinsics_T4, wide.intrinsics_T4, rtol=1e-6)
    assert (read.captions, read.global_caption, read.fps, read.time_T) == (film.captions, "scene", 16, None)
    assert (read.width, read.height, read.shot_T.tolist()) == (832, 480, [0, 0, 0, 1, 1])
