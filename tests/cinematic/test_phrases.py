"""The twenty classes: what belongs to one and, above all, what does not."""

import collections
import dataclasses

import numpy as np
import pytest

from shotverse_jax.camera import se3
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.cinematic.measures import measure
from shotverse_jax.cinematic.phrases import CLASSES, GROUPS, classes_of, named
from shotverse_jax.stage.bodies import subject_joints
from shotverse_jax.stage.scene import Subject

T = 9
U = np.linspace(0, 1, T)


def path(eye=(0, 0, 0), turn=(0, 0, 0), zoom=1.0, focus=None, distance=4.0) -> Trajectory:
    """A camera before a man at the origin, which goes by `eye` metres, turns by `turn` degrees and zooms, each an end
    or a value for every frame."""
    over = lambda end: np.asarray(end) if np.ndim(end) == 2 else U[:, None] * np.asarray(end, float)  # noqa: E731
    eye_T3 = np.array([0, -0.9, distance]) + over(eye)
    first_33 = se3.look_at(eye_T3[:1] * 0 + [0, -0.9, distance], np.array([0, -0.9, 0.0]))[0, :, :3]
    zoom_T = np.asarray(zoom) if np.ndim(zoom) else zoom**U
    return Trajectory(
        pose_T34=se3.make(first_33 @ se3.so3_exp(np.radians(over(turn))), eye_T3),
        intrinsics_T4=np.concatenate([140 * np.stack([zoom_T] * 2, axis=1), np.tile([72.0, 48.0], (T, 1))], axis=1),
        width=144,
        height=96,
        shot_T=np.zeros(T),
        fps=8.0,
        focus_T2=focus,
        stage_34=se3.identity(),
    )


MAN = Subject("man", "blue")


def movement(trajectory: Trajectory, subject: Subject | None = MAN) -> str | None:
    joints = None if subject is None else subject_joints(subject, np.arange(T) / 8)
    return classes_of(measure(trajectory, joints)).get("movement")


def test_there_are_five_framings_four_angles_and_eleven_movements():
    assert collections.Counter(each.group for each in CLASSES.values()) == dict(zip(GROUPS, (5, 4, 11), strict=True))
    phrases = [phrase for each in CLASSES.values() for phrase in each.phrases]
    assert len(phrases) == len(set(phrases)) and min(len(each.phrases) for each in CLASSES.values()) >= 3
    assert all(len(each.definition) > 40 for each in CLASSES.values())
    with pytest.raises(ValueError, match="unknown class 'dutch'; the classes are extreme close-up"):
        named("dutch")


@pytest.mark.parametrize("subject", [MAN, None])
@pytest.mark.parametrize(
    ("moves", "name"),
    [
        ({}, "still"),
        ({"turn": (0, 12, 0)}, "pan-right"),
        ({"turn": (0, -12, 0)}, "pan-left"),
        ({"turn": (12, 2, 0)}, "tilt-up"),
        ({"turn": (-12, 0, 1)}, "tilt-down"),
        ({"eye": (0, 0, -1)}, "dolly-in"),
        ({"eye": (0.1, 0, 1)}, "dolly-out"),
        ({"zoom": 1.5}, "zoom-in"),
        ({"zoom": 0.6}, "zoom-out"),
    ],
)
def test_the_camera_alone_tells_most_movements(moves, name, subject):
    assert movement(path(**moves), subject) == name


@pytest.mark.parametrize(
    "moves",
    [
        {"turn": (0, 5, 0)},  # too little
        {"turn": (0, 12, 8)},  # a pan and a roll
        {"turn": (0, 12, 0), "eye": (1, 0, 0)},  # an arc
        {"turn": 20 * np.sin(np.pi * U)[:, None] * [0, 1, 0]},  # there and back again
        {"eye": np.sin(np.pi * U)[:, None] * [0, 0, -1]},
        {"zoom": 1 + np.sin(np.pi * U)},
        {"eye": (0, 0, -2), "zoom": 0.5},  # a dolly zoom
        {"eye": (1, 0, 0)},  # a truck
        {"turn": (0, 12, 0), "zoom": 1.5},
        {"focus": np.stack([4 + np.sin(np.pi * U), np.full(T, 1.0)], axis=1) * [1, 0.05]},
    ],
)
def test_mixed_and_undone_movements_have_no_class(moves):
    assert movement(path(**moves)) is None


def test_a_camera_that_keeps_its_distance_to_a_walker_tracks_and_does_not_dolly():
    walker = Subject("man", "blue", "walk", speed=1.3, yaw=np.pi)  # away from the camera
    assert movement(path(eye=(0, 0, -1.3)), walker) == "tracking-shot"
    assert movement(path(eye=(0, 0, -1.3))) == "dolly-in"
    assert movement(path(), walker) == "still"
    aside = dataclasses.replace(walker, yaw=np.pi / 2)
    assert movement(path(eye=(-1.3, 0, 0)), aside) == "tracking-shot" and movement(path(eye=(1.3, 0, 0)), aside) is None


def test_a_rack_focus_is_one_that_can_be_seen():
    pull = lambda near, far, f_number: np.stack([near + U * (far - near), np.full(T, f_number)], axis=1)  # noqa: E731
    assert movement(path(focus=pull(1.5, 5, 0.7))) == "rack-focus"
    assert movement(path(focus=pull(5, 1.5, 0.7))) == "rack-focus"
    assert movement(path(focus=pull(1.5, 5, 16))) == "still"  # so small an opening has all in focus
    assert movement(path(focus=pull(1.5, 5, 0.7), turn=(0, 12, 0))) == "pan-right"
    assert movement(path(focus=(4, 0.7))) == "still"


def test_size_and_angle_are_those_of_all_frames():
    joints = subject_joints(MAN, np.arange(T) / 8)
    seen = lambda **moves: classes_of(measure(path(**moves), joints, 1.78))  # noqa: E731
    assert seen() == {"framing": "full shot", "angle": "eye-level", "movement": "still"}
    assert seen(distance=9) == {"framing": "long shot", "angle": "eye-level", "movement": "still"}
    assert seen(zoom=2.4) == {"angle": "eye-level", "movement": "zoom-in"}  # from a full to a medium shot
    assert "angle" not in seen(eye=(0, -2.5, 0))
    assert seen(turn=(0, 90, 0)) == {"movement": "pan-right"}  # away from the subject
    with pytest.raises(ValueError, match="one shot"):
        measure(dataclasses.replace(path(), shot_T=np.arange(T) // 5, captions=()))
    with pytest.raises(ValueError, match="need joints"):
        measure(path(), joints[1:])
