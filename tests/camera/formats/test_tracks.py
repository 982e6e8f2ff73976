"""Files with several cameras: which of them are the shots of a film."""

import numpy as np
import pytest

from shotverse_jax.camera.formats import tracks


def track(name, seconds, moving=None, shown=None):
    """A camera along x, which moves between two of its times (all of them by default) and stands else."""
    seconds = np.asarray(seconds, float)
    start, end = moving or (seconds[0], seconds[-1])
    pose = np.tile(np.eye(3, 4), (len(seconds), 1, 1))
    pose[:, 0, 3] = np.clip(seconds, start, end)
    return tracks.Track(name, seconds, pose, np.tile([1, 1.5, 0.5, 0.5], (len(seconds), 1)), name.upper(), shown)


def read(cameras, camera=None):
    reading = tracks.film(cameras, camera, [])
    return reading.captions, np.bincount(reading.shot_T).tolist(), reading.notes


def test_cameras_one_after_the_other_are_shots():
    cameras = [track("b", [3, 4, 5]), track("a", [0, 1, 2]), track("c", [6])]
    assert read(cameras) == (("A", "B", "C"), [3, 3, 1], [])


def test_cameras_that_never_move_are_one_path():
    captions, counts, notes = read([track(name, [0]) for name in "abcd"])
    assert counts == [4] and "4 cameras that do not move" in notes[0]


def test_of_cameras_at_the_same_time_the_first_is_read():
    cameras = [track("still", [0]), track("a", range(5)), track("b", range(5))]
    captions, counts, notes = read(cameras)
    assert (captions, counts) == (("A",), [5]) and "still, a, b was read: a (option camera=NAME" in notes[0]
    assert read(cameras, "b")[0] == ("B",)
    assert read(cameras, "all")[:2] == (("STILL", "A", "B"), [1, 5, 5])
    with pytest.raises(ValueError, match="there is no camera 'd'; the file has still, a, b"):
        read(cameras, "d")
    with pytest.raises(ValueError, match="no camera with a perspective lens"):
        read([])


def test_cameras_over_all_frames_are_cut_where_they_move():
    every = range(1, 13)
    cameras = [track("late", every, moving=(9, 12)), track("early", every, moving=(1, 4)), track("mid", every, (5, 8))]
    captions, counts, notes = read(cameras)
    assert (captions, counts) == (("EARLY", "MID", "LATE"), [4, 4, 4]) and "from its first motion" in notes[0]


def test_what_the_file_says_of_a_cut_is_kept_also_when_its_clock_is_shifted():
    every = range(1, 10)
    cameras = [track("a", every, shown=(0, 2)), track("b", every, shown=(2, 9))]
    assert read(cameras) == (("A", "B"), [2, 7], [])


@pytest.mark.parametrize(
    ("times", "fps", "rate", "recorded"),
    [
        (np.arange(9) / 24, None, 24.0, False),
        (5 + np.float32(np.arange(9) / 24), None, 24.0, False),
        (np.arange(9) * 1001 / 24000, None, 24000 / 1001, False),
        (np.arange(9) / 16, 16.0, 16.0, False),
        (np.array([0, 1, 3, 4.5]), 16.0, 16.0, True),
        (np.array([0, 0.1, 0.3, 0.45]), None, None, True),
    ],
)
def test_the_rate_behind_times(times, fps, rate, recorded):
    reading = tracks.film([track("a", times)], None, [])
    tracks.set_rate(reading, fps)
    assert reading.fps == (rate and pytest.approx(rate)) and (reading.time_T is not None) == recorded
