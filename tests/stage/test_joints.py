"""Key joints lie in the bodies that are drawn, and visibility counts what hides a body."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from shotverse_jax.camera import framing
from shotverse_jax.grammar.moves import AIM, Framing, Mark, Segment, shot_poses
from shotverse_jax.stage.bodies import subject_joints
from shotverse_jax.stage.raycast import SUBJECT, primitives, render
from shotverse_jax.stage.scene import KINDS, Prop, Scene, Subject
from shotverse_jax.stage.visibility import visibility

WIDTH, HEIGHT = 64, 36
LENS = np.array([62.0, 62.0, WIDTH / 2, HEIGHT / 2])


def _view(subject: Subject, side: str, size: str = "wide", frames: int = 6) -> np.ndarray:
    """Cameras [T, 3, 4] that frame a subject where it stands at t = 0."""
    mark = Mark(subject.position(0.0), subject.height, -subject.yaw, np.zeros(3))
    return shot_poses(Framing(size, "eye", side), (Segment(()),), mark, frames)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", ("front left", "back"))
def test_joints_are_in_the_pixels_of_their_subject(kind, side):
    actions = [a for a in KINDS[kind].actions if a != "sit"] if side == "back" else KINDS[kind].actions
    time_T = np.arange(6) / 8
    for action in actions:
        speed = 0.5 if action == "walk" else 0.0
        subject = Subject(kind, "red", action, x=0.4, z=-0.7, yaw=0.6, speed=speed)
        joint_TJ3 = subject_joints(subject, time_T)
        pose_T34 = _view(subject, side, "extreme wide" if kind in ("car", "horse") else "wide")
        frames = render(primitives(Scene((subject,)), time_T), pose_T34, np.tile(LENS, (6, 1)), WIDTH, HEIGHT)
        seen = framing.project(jnp.asarray(pose_T34), framing.lens_of(LENS, WIDTH, HEIGHT), jnp.asarray(joint_TJ3))
        assert seen.visible_TJ.all()
        column, row = np.floor(np.asarray(seen.uv_TJ2) * [WIDTH, HEIGHT]).astype(int).transpose(2, 0, 1)
        mask_THW = np.asarray(frames.instance_THW) == SUBJECT
        # A thin limb may fall between the centres of pixels, so one pixel more on each side counts.
        grown = np.pad(mask_THW, ((0, 0), (1, 1), (1, 1)))
        near = np.stack([grown[:, i : i + HEIGHT, j : j + WIDTH] for i in range(3) for j in range(3)]).any(0)
        assert near[np.arange(6)[:, None], row, column].all(), (action, framing.JOINTS)
        assert mask_THW[np.arange(6)[:, None], row[:, :3], column[:, :3]].all(), action  # the trunk is exact


def test_joints_follow_the_subject():
    walker = Subject("woman", "red", "walk", x=1.0, z=2.0, yaw=0.5, speed=1.3)
    first, later = subject_joints(walker, np.array([0.0, 2.0]))
    np.testing.assert_allclose((later - first)[:3], np.tile(2.6 * walker.facing(0.0), (3, 1)), atol=0.05)
    left, right = first[3] - first[2], first[4] - first[2]  # the wrists
    side = np.array([walker.facing(0.0)[2], 0.0, -walker.facing(0.0)[0]])
    assert left @ side < 0 < right @ side


def test_a_framing_of_the_grammar_is_of_its_own_size_and_angle():
    for kind in ("man", "woman", "robot"):
        subject = Subject(kind, "red")
        joint_TJ3 = jnp.asarray(subject_joints(subject, np.zeros(1)))
        for size in AIM:
            for angle in ("eye", "high", "overhead"):
                mark = Mark(np.zeros(3), subject.height, 0.0, np.zeros(3))
                pose_T34 = jnp.asarray(shot_poses(Framing(size, angle, "back left"), (Segment(()),), mark, 1))
                lens_4 = framing.lens_of(np.array([808.9, 808.9, 416, 240]), 832, 480)
                seen = framing.project(pose_T34, lens_4, joint_TJ3)
                height_T = framing.body_height(seen, lens_4, subject.height)
                elevation_T = framing.elevation(pose_T34, framing.aim(joint_TJ3, height_T))
                facing = jnp.asarray(subject.facing(np.zeros(1)))
                azimuth_T = framing.azimuth(pose_T34, joint_TJ3[:, 2], facing)
                assert list(framing.ANGLES)[int(framing.angle_class(elevation_T)[0])] == angle, (size, elevation_T)
                assert framing.SIDES[int(framing.side_class(azimuth_T)[0])] == "back left"
                if angle == "eye":
                    assert list(framing.SIZES)[int(framing.size_class(height_T)[0])] == size, (kind, height_T)


def test_visibility_counts_what_is_hidden():
    man = Subject("man", "blue")
    pose_T34 = _view(man, "front")
    lens_T4, time_T = np.tile(LENS, (6, 1)), np.zeros(6)
    half = Prop("box", "green", 0.9, 0.0, 1.5)  # hides the legs from the front
    free, hidden = (visibility(Scene((man,), p), time_T, pose_T34, lens_T4, (WIDTH, HEIGHT)) for p in ((), (half,)))
    np.testing.assert_array_equal(free, 1)
    assert 0.2 < hidden[0] < 0.8
    away = dataclasses.replace(man, x=50.0)
    np.testing.assert_array_equal(visibility(Scene((away,)), time_T, pose_T34, lens_T4, (WIDTH, HEIGHT)), 0)
    second = Scene((half_man := dataclasses.replace(man, z=1.0), man))
    assert visibility(second, time_T, pose_T34, lens_T4, (WIDTH, HEIGHT), 1)[0] < 0.6
    assert visibility(second, time_T, pose_T34, lens_T4, (WIDTH, HEIGHT), 0)[0] == 1
    assert half_man.z == 1.0
