"""The Trajectory type: what it accepts, what it refuses, shots and world changes."""

import numpy as np
import pytest

from shotverse_jax.camera import se3
from shotverse_jax.camera.trajectory import Trajectory


def path(frames=6, **changes):
    rng = np.random.default_rng(0)
    fields = dict(
        pose_T34=se3.make(se3.so3_exp(rng.normal(size=(frames, 3))), rng.normal(size=(frames, 3))),
        intrinsics_T4=np.array([500.0, 500.0, 320.0, 240.0]),
        width=640,
        height=480,
        shot_T=np.array([0] * 4 + [1] * (frames - 4)),
        captions=("first", "second"),
        stage_34=se3.identity(),
    )
    return Trajectory(**(fields | changes))


def with_pose(value, index=(2, 0, 0)):
    poses = path().pose_T34.copy()
    poses[index] = value
    return poses


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"pose_T34": with_pose(np.nan)}, "pose 2 holds NaN"),
        ({"pose_T34": path().pose_T34 * np.array([-1.0, 1, 1, 1])}, "reflection"),
        ({"pose_T34": path().pose_T34 * 2}, "not rigid"),
        ({"pose_T34": np.zeros((0, 3, 4)), "shot_T": np.zeros(0)}, "needs poses"),
        ({"shot_T": np.array([0, 0, 2, 2, 2, 2])}, "contiguous"),
        ({"shot_T": np.array([1, 1, 1, 1, 2, 2])}, "contiguous"),
        ({"focus_T2": [2, -1]}, "f-numbers must be from"),
        ({"focus_T2": [0, 2.8]}, "focus distances must be from"),
        ({"focus_T2": [[2, 2.8], [2, 0], *[[2, 0]] * 4]}, "f-numbers of a shot are all 0"),
        ({"captions": ("one",)}, "2 shots but 1 captions"),
        ({"intrinsics_T4": np.array([0.0, 500, 320, 240])}, "focal"),
        ({"fps": 0.0}, "fps"),
        ({"time_T": np.array([0.0, 1, 2, 1, 3, 4])}, "time runs backwards at pose 3"),
        ({"stage_time_T": np.full(6, np.nan)}, "recorded times"),
        ({"stage_34": np.full((3, 4), np.nan)}, "stage"),
    ],
)
def test_refuses_with_one_sentence(changes, message):
    with pytest.raises(ValueError, match=message):
        path(**changes)


def test_shots():
    trajectory = path()
    assert trajectory.num_shots == 2 and trajectory.spans == [(0, 4), (4, 6)]
    second = trajectory.shot(1)
    assert len(second) == 2 and second.captions == ("second",)
    np.testing.assert_array_equal(second.pose_T34, trajectory.pose_T34[4:])


def test_world_change_keeps_relative_poses():
    trajectory = path()
    anchored = trajectory.from_first_camera()
    np.testing.assert_allclose(anchored.pose_T34[0], np.eye(3, 4), atol=1e-12)
    for a, b in ((0, 5), (3, 4)):
        np.testing.assert_allclose(
            se3.relative(anchored.pose_T34[a], anchored.pose_T34[b]),
            se3.relative(trajectory.pose_T34[a], trajectory.pose_T34[b]),
            atol=1e-12,
        )
    np.testing.assert_allclose(
        se3.relative(anchored.pose_T34[0], anchored.stage_34), se3.relative(trajectory.pose_T34[0], trajectory.stage_34)
    )


def spin(frames=(5, 4), **changes):
    """Two shots: an even turn of 0.1 rad and 0.2 m a frame from rest, then the same backwards from elsewhere."""
    step = np.concatenate([np.arange(frames[0]), 100 - np.arange(frames[1])])
    return path(
        len(step),
        pose_T34=se3.make(se3.so3_exp(step[:, None] * np.array([0.0, 0.1, 0.0])), step[:, None] * [0.2, 0.0, 0.0]),
        shot_T=np.repeat([0, 1], frames),
        intrinsics_T4=np.stack([500.0 + step, 600.0 + step, np.full(len(step), 320.0), np.full(len(step), 240.0)], 1),
        fps=10.0,
        **changes,
    )


def test_retimed_shots_keep_their_whole_paths():
    film = spin().retimed([(0, 9), (9, 11)], fps=8.0)
    assert film.spans == [(0, 9), (9, 11)] and film.fps == 8.0 and film.captions == ("first", "second")
    step = np.array([*np.arange(0, 4.01, 0.5), 100, 97])
    np.testing.assert_allclose(film.pose_T34[:, :, 3], step[:, None] * [0.2, 0, 0], atol=1e-12)
    np.testing.assert_allclose(
        film.pose_T34[:, :, :3], se3.so3_exp(step[:, None] * np.array([0.0, 0.1, 0.0])), atol=1e-12
    )
    np.testing.assert_allclose(film.intrinsics_T4[:, :2], step[:, None] + [500, 600])
    np.testing.assert_allclose(film.stage_time_T, [*np.arange(0, 0.401, 0.05), 0.5, 0.8])


def test_retimed_samples_evenly_in_recorded_time():
    recorded = spin(time_T=np.array([7.0, 8, 10, 11, 12, 20, 21, 22, 26]), scale=2.5, notes=("from afar",))
    film = recorded.retimed([(0, 3), (3, 4)], fps=1.0)
    np.testing.assert_allclose(film.stage_time_T, [0, 2.5, 5, 13])  # a shot of one frame is its first
    np.testing.assert_allclose(film.pose_T34[1], se3.resample(recorded.pose_T34, np.array([1.75]))[0], atol=1e-12)
    np.testing.assert_array_equal(film.pose_T34[3], recorded.pose_T34[5])
    assert film.time_T is None and film.scale == 2.5 and film.notes == ("from afar",)
    # Twice as many frames of a film show the same times of the stage.
    again = film.retimed([(0, 5), (5, 6)], fps=1.0)
    np.testing.assert_allclose(again.stage_time_T, [0, 1.25, 2.5, 3.75, 5, 13])


def test_even_times_are_found_but_for_jitter():
    assert spin().even and spin(time_T=1e9 + np.arange(9) / 10 + 1e-3 * (-1) ** np.arange(9)).even
    assert not spin(time_T=np.arange(9) / 11).even
    np.testing.assert_allclose(spin(time_T=1e9 + np.arange(9) / 10).seconds_T, np.arange(9) / 10, atol=1e-6)


def key_frames(time_T, shot_T, fps=1.0):
    """A camera that moves right by a metre a second."""
    pose_T34 = np.tile(np.eye(3, 4), (len(time_T), 1, 1))
    pose_T34[:, 0, 3] = np.array(time_T) - time_T[0]
    captions = ("a", "b")[: shot_T[-1] + 1]
    return path(len(time_T), pose_T34=pose_T34, time_T=np.array(time_T), shot_T=shot_T, captions=captions, fps=fps)


def test_key_frames_are_resampled_at_constant_motion():
    keys = key_frames([100.0, 100.2, 100.3, 102, 104], [0] * 5)
    film = keys.evenly()
    assert film.fps == 16 and len(film) == 65 and film.even and film.time_T is None
    np.testing.assert_allclose(film.pose_T34[:, 0, 3], np.arange(65) / 16, atol=1e-12)
    assert film.notes == ("5 poses over 4 s were resampled to 65 frames at 16 fps",)
    assert len(keys.evenly(24)) == 97 and keys.evenly(24).fps == 24
    cut = key_frames([0.0, 0.5, 1, 1.25, 3], [0, 0, 1, 1, 1]).evenly(8)
    assert cut.spans == [(0, 8), (8, 25)]
    # Nothing is interpolated over the cut: the first shot stays at its last pose.
    np.testing.assert_allclose(cut.pose_T34[:, 0, 3], [*np.minimum(np.arange(8) / 8, 0.5), *np.arange(8, 25) / 8])


def test_an_even_path_keeps_its_seconds_at_another_rate():
    film = spin()
    assert film.evenly() is film and film.evenly(10) is film
    assert (len(film.evenly(25)), len(film.evenly(5))) == (22, 4)
    assert [end - start for start, end in film.evenly(20).spans] == [10, 8]
    tight = key_frames([0.0, 0.01, 0.02], [0, 1, 1]).evenly(1)
    assert tight.spans == [(0, 1), (1, 2)]  # a shot keeps a frame
    with pytest.raises(ValueError, match="fps of a trajectory must be"):
        film.evenly(0)
    with pytest.raises(ValueError, match="more than a million frames"):
        key_frames([0.0, 1e9], [0, 0]).evenly(24)


@pytest.mark.parametrize("spans", [[(0, 9)], [(0, 5), (6, 9)], [(1, 5), (5, 9)], [(0, 5), (5, 5)], [(0, 5), (4, 9)]])
def test_spans_that_are_no_film_are_refused(spans):
    with pytest.raises(ValueError, match="span"):
        spin().retimed(spans, 8.0)


def test_resized_keeps_the_horizontal_view_and_square_pixels():
    small = path(intrinsics_T4=np.array([500.0, 400.0, 300.0, 120.0])).resized(96, 64)
    assert (small.width, small.height) == (96, 64)
    np.testing.assert_allclose(small.intrinsics_T4, np.tile([75.0, 75.0, 45.0, 16.0], (6, 1)))
    with pytest.raises(ValueError, match="width of the image must be"):
        path().resized(0, 64)


def test_focus_goes_with_its_frames():
    focus_T2 = np.stack([np.linspace(1, 2, 6), [2.8] * 4 + [0] * 2], axis=1)
    trajectory = path(focus_T2=focus_T2)
    assert trajectory.shot(1).focus_T2 is None and path(focus_T2=[3, 0]).focus_T2 is None
    np.testing.assert_array_equal(trajectory.shot(0).focus_T2, focus_T2[:4])
    np.testing.assert_array_equal(
        trajectory.moved(se3.make(np.eye(3), np.ones(3))).resized(320, 240).focus_T2, focus_T2
    )
    longer = trajectory.retimed([(0, 7), (7, 8)], 16.0).focus_T2
    np.testing.assert_allclose(longer[:7, 0], np.linspace(1, 1.6, 7))
    assert longer[:, 1].tolist() == [2.8] * 7 + [0]
    radius_T = trajectory.resized(320, 240).lens_radius_T
    np.testing.assert_allclose(radius_T, [36 * 500 / 640 / 2.8 / 2000] * 4 + [0, 0])
