"""Time in camera files: units of stamps, uneven times, numbers of frames and what is missing among them."""

import json

import numpy as np
import pytest

from other_programs import load_glb
from shotverse_jax.camera.formats import read_trajectory, timing, write_trajectory


def walk(path, stamps, speed=1.0):
    """A TUM file of a camera that moves right by `speed` a second of the stamps' unit."""
    start = stamps[0]
    path.write_text("\n".join(f"{t!r} {float(t - start) * speed!r} 0 0 0 0 0 1" for t in stamps))
    return path


@pytest.mark.parametrize(
    ("start", "unit", "name"),
    [(0, 1e3, "milliseconds"), (0, 1e6, "microseconds"), (1_403_636_579_763_555_584, 1e9, "nanoseconds")],
)
def test_stamps_of_another_unit_are_recognised(tmp_path, start, unit, name):
    got = read_trajectory(walk(tmp_path / "a.tum", [start + round(t * unit / 20) for t in range(20)]))
    assert got.fps == pytest.approx(20) and f"the time stamps were read as {name}" in "".join(got.notes)
    np.testing.assert_allclose(got.seconds_T, np.arange(20) / 20, atol=1e-3)


def test_stamps_that_make_no_film_are_refused(tmp_path):
    path = walk(tmp_path / "a.tum", [t * 1e-9 for t in range(9)])
    with pytest.raises(ValueError, match="the time stamps are not in seconds; give the rate with the option fps"):
        read_trajectory(path)
    got = read_trajectory(path, fps=24)
    assert got.fps == 24 and got.even and any("left out for fps=24" in note for note in got.notes)


@pytest.mark.parametrize("rate", [24, 24000 / 1001, 30, 60])
def test_jitter_of_recorded_times_is_no_uneven_path(tmp_path, rate):
    stamps = [round(1305031102 + t / rate + 1e-3 * (-1) ** t / rate, 6) for t in range(40)]
    got = read_trajectory(walk(tmp_path / "a.tum", stamps))
    assert got.fps == pytest.approx(rate) and got.even and got.time_T[0] == stamps[0]


def check_key_frames(path, folder, seconds):
    """At 1 m/s to the right: glTF has the key frames' times, other programs see the same motion at a whole rate."""
    trajectory = read_trajectory(path)
    assert not write_trajectory(trajectory, folder / "a.glb")[1:]
    doc, read = load_glb(folder / "a.glb")
    sampler = doc["animations"][0]["samplers"][0]
    np.testing.assert_allclose(read(sampler["input"])[:, 0], seconds, atol=1e-6)
    np.testing.assert_allclose(read(sampler["output"])[:, 0], seconds, atol=1e-6)
    assert "resampled to" in write_trajectory(trajectory, folder / "a.chan")[0]
    rows = np.loadtxt(folder / "a.chan")
    np.testing.assert_allclose(np.diff(rows[:, 1]), 1 / 16, atol=1e-9)
    assert rows[-1, 1] == pytest.approx(seconds[-1]) and len(rows) == round(seconds[-1] * 16) + 1
    write_trajectory(trajectory, folder / "a.py", rate=25)
    assert "FPS = 25.0\n" in (folder / "a.py").read_text()


def test_key_frames(tmp_path):
    check_key_frames(walk(tmp_path / "a.tum", [50.0, 50.5, 50.75, 53.0]), tmp_path, [0, 0.5, 0.75, 3])


def test_key_frames_case(reference, tmp_path):
    check_key_frames(reference / "cases/23-uneven-timestamps/keyframes.tum", tmp_path, [0, 0.2, 0.3, 2, 4])


def named(folder, names, **head):
    """transforms.json of a camera that moves right by the number of its image."""
    frames = [
        {"file_path": name, "transform_matrix": [[1, 0, 0, number], [0, -1, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]]}
        for name, number in names
    ]
    path = folder / "transforms.json"
    path.write_text(json.dumps({"w": 640, "h": 480, "fl_x": 500, **head, "frames": frames}))
    return path


def test_images_come_in_the_order_of_their_numbers(tmp_path):
    order = [3, 10, 1, 2, 11, 4, 5, 9, 6, 8, 7]
    got = read_trajectory(named(tmp_path, [(f"images/frame_{t}.png", t) for t in order]))
    np.testing.assert_allclose(got.pose_T34[:, 0, 3], range(1, 12))
    assert got.even and any("order of the names" in note for note in got.notes)


def test_frames_that_the_numbering_leaves_out_keep_their_time(tmp_path):
    path = named(tmp_path, [(f"f_{t:04}.png", t) for t in (7, 8, 9, 13, 14)], fps=10)
    got = read_trajectory(path)
    np.testing.assert_allclose(got.seconds_T, [0, 0.1, 0.2, 0.6, 0.7])
    assert any("leaves out 3 frames, the first of them after pose 2" in note for note in got.notes)
    filled = read_trajectory(path, lost="interpolate")
    np.testing.assert_allclose(filled.pose_T34[:, 0, 3], range(7, 15), atol=1e-12)
    assert filled.even and filled.fps == 10 and filled.time_T is None
    with pytest.raises(ValueError, match="leaves out 3 frames.*lost=interpolate"):
        read_trajectory(path, lost="refuse")


def test_every_tenth_frame_of_a_video_keeps_its_time_and_dates_are_no_frames(tmp_path):
    tenth = read_trajectory(named(tmp_path, [(f"{t:05}.png", t) for t in (10, 20, 40)]))
    np.testing.assert_allclose(tenth.seconds_T * tenth.fps, [0, 10, 30])
    dates = read_trajectory(named(tmp_path, [(f"{t}.png", t) for t in (20250101, 20260315, 20270702)]))
    assert dates.even and any("too far apart to count frames" in note for note in dates.notes)
    assert timing.frame_numbers(["a_1.png", "a_x.png"]) is None
    assert timing.frame_numbers(["1305.25.png", "1305.75.png"]) is None
    np.testing.assert_array_equal(timing.frame_numbers(["s1/f_4", "s1/f_6", "s2/f_1", "s2/f_3"]), [0, 2, 4, 6])


def test_datadop_s_frames_are_counted(tmp_path):
    eye = np.diag([1.0, -1, -1, 1]).tolist()
    frames = [{"transform_matrix": eye, "monst3r_im_id": t} for t in range(1, 82)]
    (tmp_path / "a.json").write_text(json.dumps({"w": 64, "h": 48, "fl_x": 50, "frames": frames}))
    assert "DataDoP's shots have 120 poses, this one has 81" in read_trajectory(tmp_path / "a.json").notes


def test_recammaster_s_frames_may_be_missing(tmp_path):
    text = "[1 0 0 0] [0 1 0 0] [0 0 1 0] [{} 0 0 1] "
    cameras = lambda t: {f"cam{k:02}": text.format(100 * t) for k in (1, 2)}  # noqa: E731
    doc = {f"frame{t}": cameras(t) for t in (0, 1, 4, 10)}
    del doc["frame4"]["cam02"]
    (tmp_path / "camera_extrinsics.json").write_text(json.dumps(doc))
    got = read_trajectory(tmp_path / "camera_extrinsics.json")
    np.testing.assert_allclose(got.seconds_T * got.fps, [0, 1, 4, 10])
    filled = read_trajectory(tmp_path / "camera_extrinsics.json", camera="all", lost="interpolate")
    assert filled.spans == [(0, 11), (11, 22)]
    np.testing.assert_allclose(filled.pose_T34[:, 2, 3], [*range(11), *range(11)], atol=1e-12)
    with pytest.raises(ValueError, match="pose 2 is lost"):
        read_trajectory(tmp_path / "camera_extrinsics.json", camera="cam02")


def test_unpadded_colmap_names_case(reference):
    got = read_trajectory(reference / "cases/06-colmap-unpadded-names/model")
    np.testing.assert_allclose(got.pose_T34[:, 0, 3], np.arange(20) / 10, atol=1e-9)
