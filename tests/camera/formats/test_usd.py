"""USD files."""

import dataclasses
import sys

import numpy as np
import pytest

from shotverse_jax.camera.formats import write_trajectory


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
    assert second.GetPrim().GetCustomDataByKey("caption") == film.captions[1]
    assert second.GetFocalLengthAttr().GetTimeSamples() == [4, 5]
    assert second.GetOrderedXformOps()[0].GetTimeSamples() == [4, 5]


def test_usd_without_the_package_says_what_to_install(tmp_path, film, monkeypatch):
    monkeypatch.setitem(sys.modules, "pxr", None)
    with pytest.raises(ValueError, match=r"pip install 'shotverse_jax\[usd\]'"):
        write_trajectory(film, tmp_path / "film.usda")
    assert not list(tmp_path.iterdir())
