"""COLMAP finds the cameras of a small room, and says where it does not."""

import sys

import numpy as np
import pytest

import rooms
from shotverse_jax.calibration import colmap, features
from shotverse_jax.calibration.calibrate import calibrate
from shotverse_jax.calibration.joining import triangulated
from shotverse_jax.calibration.known import Known
from shotverse_jax.calibration.reconstruction import Footage
from shotverse_jax.camera import se3


def rotation_errors(made_T34, true_T34):
    """Degrees after the best common turn."""
    turn_33 = se3.project_to_so3(np.einsum("nij,nkj->ik", true_T34[:, :, :3], made_T34[:, :, :3]))
    return np.degrees(se3.rotation_angle((turn_33 @ made_T34[:, :, :3]).swapaxes(1, 2) @ true_T34[:, :, :3]))


def test_a_moving_and_a_panning_shot_share_a_world():
    pytest.importorskip("pycolmap")
    footage, pose_T34, depth_THW = rooms.footage(("truck", "pan"), 5, 240, 144)
    # A quarter of every picture is not static, and shows what the camera does not.
    footage.frame_THWC[:, :72, :120] = footage.frame_THWC[0, :72, :120]
    static_THW = np.ones(footage.frame_THWC.shape[:3], bool)
    static_THW[:, :72, :120] = False
    footage = Footage(footage.frame_THWC, footage.shot_T, footage.lens_T4, static_THW)
    with colmap.opened(footage) as provider:
        made = calibrate(footage, provider)
        again = provider.reconstruct(footage.shots[0])
    assert rotation_errors(made.pose_T34, pose_T34).max() < 0.5
    assert made.world_K.tolist() == [0, 0] and made.found_T.all() and all(quality.passed for quality in made.quality)
    assert made.quality[1].scale_method == "none"  # a pan has no scale
    assert made.notes == ("shot 2: the camera only turns, so there are no depths",)
    unit = np.linalg.norm(pose_T34[4, :, 3] - pose_T34[0, :, 3]) / np.linalg.norm(
        made.pose_T34[4, :, 3] - made.pose_T34[0, :, 3]
    )
    way = unit * se3.relative(made.pose_T34[0], made.pose_T34[5])[:, 3]
    np.testing.assert_allclose(way, se3.relative(pose_T34[0], pose_T34[5])[:, 3], atol=0.08)
    pixel_M2 = made.points.pixel_M2.astype(int)
    assert static_THW[made.points.frame_M, pixel_M2[:, 1], pixel_M2[:, 0]].all()
    true_M = depth_THW[made.points.frame_M, pixel_M2[:, 1], pixel_M2[:, 0]]
    assert np.median(np.abs(unit * made.points.depth_M / true_M - 1)) < 0.02
    with colmap.opened(footage) as provider:  # a second run is the first one
        np.testing.assert_array_equal(provider.reconstruct(footage.shots[0]).pose_N34, again.pose_N34)


def test_an_unknown_lens_is_estimated(monkeypatch):
    pytest.importorskip("pycolmap")
    monkeypatch.setattr(
        rooms, "lens", lambda width, height: np.array([1.3 * width, 1.3 * width, width / 2, height / 2])
    )
    footage, pose_T34, _ = rooms.footage(("truck", "pan"), 5, 240, 144)
    footage = Footage(footage.frame_THWC, footage.shot_T)
    with colmap.opened(footage) as provider:
        provider.features.match(footage.shots[0])
        provider.features.calibrate(footage.shots[0])
        assert provider.features.free(footage.shots[1])  # what is not matched yet is not known yet
        made = provider.reconstruct(footage.shots[1])
    assert made.lens_N4[:, 0] == pytest.approx(np.full(5, 1.3 * 240), rel=0.02)
    assert rotation_errors(made.pose_N34, pose_T34[5:]).max() < 0.5


def test_points_of_other_features_are_where_the_first_ones_are():
    pytest.importorskip("pycolmap")
    footage, pose_T34, depth_THW = rooms.footage(("truck", "pan"), 5, 240, 144)
    known = Known(pose_T34, footage.lens_T4, footage.size)
    with colmap.opened(footage) as provider:
        frames = footage.shots[0]
        provider.features.match(frames)
        points = triangulated(provider.features, known.reconstruct(frames), frames)
    column_M, row_M = points.pixel_M2.astype(int).T
    error_M = points.depth_M / depth_THW[points.frame_M, row_M, column_M] - 1
    assert len(points) > 200 and np.median(np.abs(error_M)) < 0.02 and np.mean(np.abs(error_M) > 0.2) < 0.05


def test_a_wrong_lens_is_rejected_by_name():
    pytest.importorskip("pycolmap")
    footage, *_ = rooms.footage(("arc",), 6, 240, 144)
    off = {}
    for factor in (1.0, 0.7):
        lens_T4 = footage.lens_T4 * [factor, factor, 1, 1]
        with colmap.opened(Footage(footage.frame_THWC, footage.shot_T, lens_T4)) as provider:
            made = calibrate(Footage(footage.frame_THWC, footage.shot_T, lens_T4), provider)
        off[factor] = made.quality[0].lens_off
        assert ("lens" in made.quality[0].failed) == (factor != 1)
    assert not off[1.0] > 0.05 and off[0.7] == pytest.approx(1 / 0.7 - 1, abs=0.1)


def test_walls_that_repeat_are_seen():
    pytest.importorskip("pycolmap")
    footage, pose_T34, _ = rooms.footage(("truck",), 5, repeats=True)
    with colmap.opened(footage) as provider:
        made = calibrate(footage, provider)
    assert rotation_errors(made.pose_T34, pose_T34).max() > 2
    assert "matches" in made.quality[0].failed and "(matches)" in made.notes[0]


def test_a_blank_shot_ends_in_a_sentence():
    pytest.importorskip("pycolmap")
    footage = Footage(np.full((3, 48, 64, 3), 128, np.uint8), np.zeros(3, int), rooms.lens(64, 48))
    with colmap.opened(footage) as provider:
        made = calibrate(footage, provider)
    assert not made.found_T.any()
    assert made.notes == ("shot 1 has too many frames whose camera was not found (registered)",)


def test_pairs_of_frames():
    shot_T = np.repeat([0, 1], 60)
    few = features.wanted_pairs(np.arange(50, 70), shot_T, features.Options())
    assert len(few) == len(set(few)) == 20 * 19 // 2
    many = features.wanted_pairs(np.arange(120), shot_T, features.Options())
    assert len(many) == len(set(many)) and all(shot_T[a] == shot_T[b] for a, b in many)
    assert {b - a for a, b in many} == {1, 2, 3, 4, 8, 16, 32}


def test_without_the_library_there_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    footage = Footage(np.zeros((2, 8, 8, 3), np.uint8), np.zeros(2, int))
    with pytest.raises(ValueError, match=r"shotverse_jax\[calibration\]"), colmap.opened(footage):
        pass
