"""Shots of a film in one world or in several, and the gates that they pass or not."""

import dataclasses

import numpy as np
import pytest

import rooms
from shotverse_jax.calibration import calibrate as calibration
from shotverse_jax.calibration.calibrate import calibrate, connected, filled, key_frames
from shotverse_jax.calibration.known import Known
from shotverse_jax.calibration.quality import GATES, Quality
from shotverse_jax.calibration.reconstruction import Agreement, Footage
from shotverse_jax.camera import se3


class Loose(Known):
    """Cameras that are in one world only where their pictures say so."""

    def reconstruct(self, frames):
        return dataclasses.replace(super().reconstruct(frames), joint=False)


@pytest.fixture(scope="module")
def film():
    """Two shots that see the same wall, and one that sees the opposite one."""
    kinds, count = ("truck", "arc", "pan"), 4
    pose_T34 = np.concatenate([rooms.path(kind, count) for kind in kinds])
    around = se3.make(se3.so3_exp(np.array([0.0, np.pi, 0.0])), np.zeros(3))
    pose_T34[8:] = se3.compose(around, pose_T34[8:])
    color_THWC, depth_THW = rooms.pictures(pose_T34, 64, 40)
    footage = Footage(color_THWC, np.repeat(np.arange(3), count), rooms.lens(64, 40))
    return footage, pose_T34, depth_THW


def known(film, kind=Known, **changes):
    footage, pose_T34, depth_THW = film
    return kind(pose_T34, footage.lens_T4, (64, 40), depth_THW, **changes)


def test_shots_that_see_nothing_in_common_are_named(film):
    footage, pose_T34, _ = film
    made = calibrate(footage, known(film, Loose))
    assert made.world_K.tolist() == [0, 0, 1]
    assert len(made.notes) == 1 and "disconnected: shot 3" in made.notes[0]
    np.testing.assert_allclose(made.pose_T34[:8], pose_T34[:8], atol=1e-6)
    np.testing.assert_allclose(made.pose_T34[8:], pose_T34[8:], atol=1e-6)
    assert calibrate(footage, known(film)).world_K.tolist() == [0, 0, 0]  # cameras that are known are in one world


class Matched(Loose):
    """Its pictures have matches, which the cameras of the third shot do not explain."""

    def agreement(self, made):
        if len(made.frame_N) < 12:
            return Agreement.none()
        return Agreement(np.array([0, 0]), np.array([4, 8]), np.array([90, 90]), np.array([0.9, 0.2]))


def test_matches_with_another_world_do_not_count(film):
    made = calibrate(film[0], known(film, Matched))
    assert made.world_K.tolist() == [0, 0, 1] and all(quality.passed for quality in made.quality)
    assert made.quality[0].explained_across == pytest.approx(0.9) and np.isnan(made.quality[2].explained_across)


def test_frames_without_a_camera_are_put_between_the_others(film):
    footage, pose_T34, _ = film
    found_T = np.ones(12, bool)
    found_T[1] = False
    made = calibrate(footage, known(film, found_T=found_T))
    assert made.found_T.tolist() == found_T.tolist()
    np.testing.assert_allclose(made.pose_T34[1], se3.interpolate(pose_T34[0], pose_T34[2], np.array(0.5)), atol=1e-6)
    assert made.quality[0].failed == ("registered",) and "shot 1 has too many frames" in made.notes[0]
    np.testing.assert_allclose(filled(se3.identity((3,)), np.zeros(3, bool)), se3.identity((3,)))


def test_a_zoom_is_no_dolly(film):
    footage, pose_T34, _ = film
    lens_T4 = footage.lens_T4.copy()
    lens_T4[:4, :2] *= np.linspace(1, 1.2, 4)[:, None]
    lens_T4[4:8, :2] *= np.linspace(1, 1.04, 4)[:, None]
    made = calibrate(footage, dataclasses.replace(known(film), lens_T4=lens_T4))
    assert [quality.zoom for quality in made.quality] == pytest.approx([0.2, 0.04, 0.0])
    assert [note for note in made.notes if "zoom" in note] == ["shot 1 zooms: its focal length changes by 20%"]
    np.testing.assert_allclose(made.pose_T34, pose_T34, atol=1e-6)


def test_a_film_of_one_shot_needs_no_common_world(film):
    footage, pose_T34, depth_THW = film
    alone = Footage(footage.frame_THWC[:4], footage.shot_T[:4], footage.lens_T4[:4])
    made = calibrate(alone, Known(pose_T34[:4], alone.lens_T4, (64, 40), depth_THW[:4]))
    np.testing.assert_allclose(made.pose_T34, pose_T34[:4], atol=1e-12)
    assert made.quality[0].passed and made.world_K.tolist() == [0]


GOOD = Quality(1.0, 0.1, 0.2, 0.01, 0.02, 0.9, 0.8, 0.98, 0.9, 0.0, "depth ratio")
BAD = {
    "registered": ("registered", 0.7),
    "rotation": ("rotation_deg", 3.5),
    "centre": ("center", 0.06),
    "depth ratio": ("ratio_iqr", 0.2),
    "static": ("static", 0.2),
    "confidence": ("confidence", 0.2),
    "matches": ("explained", 0.8),
    "matches across": ("explained_across", 0.5),
    "lens": ("lens_off", 0.2),
}


@pytest.mark.parametrize("name", GATES)
def test_every_gate_sees_its_own_number_alone(name):
    field, value = BAD[name]
    bad = dataclasses.replace(GOOD, **{field: value})
    assert [other for other, gate in GATES.items() if not gate.passes(bad)] == [name]
    unknown = dataclasses.replace(GOOD, **{field: float("nan")})
    assert all(gate.passes(unknown) for gate in GATES.values())


def test_groups_of_shots():
    link_KK = np.eye(5)
    link_KK[0, 3] = link_KK[3, 0] = link_KK[3, 4] = link_KK[4, 3] = 2.0
    link_KK[1, 2] = link_KK[2, 1] = 0.9
    group_K = connected(link_KK, joint=False)
    assert group_K[0] == group_K[3] == group_K[4] and len({group_K[0], group_K[1], group_K[2]}) == 3
    assert len(set(connected(link_KK, joint=True))) == 1


def test_matches_connect_shots_that_cameras_explain():
    keys = [np.array([0, 1]), np.array([2, 3]), np.array([4, 5])]
    across = Agreement(np.array([0, 1, 0]), np.array([2, 3, 4]), np.array([90, 90, 300]), np.array([0.9, 0.95, 0.3]))
    link_KK = calibration.overlaps(None, keys, across)
    assert link_KK[0, 1] == pytest.approx(85.5 / calibration.LINK) and link_KK[0, 2] == link_KK[1, 2] == 0


def test_key_frames():
    shots = [np.arange(83), np.arange(83, 86), np.arange(86, 87)]
    assert [len(keys) for keys in key_frames(shots)] == [8, 3, 1]
    assert key_frames(shots)[0][[0, -1]].tolist() == [0, 82]
    many = [np.arange(k * 20, k * 20 + 20) for k in range(30)]
    assert sum(map(len, key_frames(many))) <= calibration.MOST_KEYS
