"""Edit lists, opened by OpenTimelineIO: cuts in seconds, rates that editing programs have, drop-frame time codes."""

import sys

import numpy as np
import pytest

from shotverse_jax import cli
from shotverse_jax.camera.formats import edl, read_trajectory, write_trajectory
from shotverse_jax.camera.trajectory import Trajectory


def cut_film(frames, fps):
    shot_T = np.repeat(np.arange(len(frames)), frames)
    pose = np.tile(np.eye(3, 4), (len(shot_T), 1, 1))
    captions = tuple(f"shot {k}" for k in range(len(frames)))
    return Trajectory(pose, [700, 700, 416, 240], 832, 480, shot_T, fps, captions=captions, global_caption="all")


def opened(path, rate):
    """[(first source frame, frames)] of the clips, as OpenTimelineIO reads them."""
    otio = pytest.importorskip("opentimelineio")
    if path.suffix == ".edl":
        pytest.importorskip("otio_cmx3600_adapter")
        timeline = otio.adapters.read_from_file(str(path), "cmx_3600", rate=rate)
    else:
        timeline = otio.adapters.read_from_file(str(path))
        assert timeline.global_start_time.to_seconds() == pytest.approx(3600, rel=2e-3)
    return [(clip.source_range.start_time.value, clip.duration().value) for clip in timeline.tracks[0]]


@pytest.mark.parametrize("suffix", [".edl", ".otio"])
@pytest.mark.parametrize(
    ("fps", "options", "rate", "cuts"),
    [
        (24.0, {}, 24, [(0, 20), (20, 28)]),
        (25.0, {}, 25, [(0, 20), (20, 28)]),
        (16.0, {}, 24, [(0, 30), (30, 42)]),  # no editing program has 16
        (16.0, {"rate": 48}, 48, [(0, 60), (60, 84)]),
        (12.0, {"rate": 30}, 30, [(0, 50), (50, 70)]),
        (23.976, {}, 24000 / 1001, [(0, 20), (20, 28)]),
        (30000 / 1001, {}, 30000 / 1001, [(0, 20), (20, 28)]),
        (24.0, {"rate": 23.976}, 24000 / 1001, [(0, 20), (20, 28)]),
    ],
)
def test_cuts_and_rates(tmp_path, suffix, fps, options, rate, cuts):
    pytest.importorskip("opentimelineio")
    path = tmp_path / f"film{suffix}"
    notes = write_trajectory(cut_film([20, 28], fps), path, **options)
    assert opened(path, rate) == cuts
    assert any("do not have 16 frames per second" in note for note in notes) == (fps == 16.0 and not options)


@pytest.mark.parametrize("rate", edl.DROP_RATES)
def test_drop_frame_time_codes_are_the_time_of_day(tmp_path, rate):
    count = round(rate)
    frames = [count * 70, count * 600, count * 50]
    write_trajectory(cut_film(frames, rate), tmp_path / "film.edl", drop_frame=True)
    text = (tmp_path / "film.edl").read_text()
    assert "FCM: DROP FRAME" in text and "01:00:00;00" in text
    starts = np.cumsum([0, *frames[:-1]])
    assert opened(tmp_path / "film.edl", rate) == list(zip(starts, frames, strict=True))
    # OpenTimelineIO counts the same.
    otio = pytest.importorskip("opentimelineio")
    for frame in (0, 1799, 1800, 3599, 3600, 17981, 17982, 35964, 107892, 215784, *starts.tolist()):
        theirs = otio.opentime.RationalTime(frame, rate).to_timecode(rate, True)
        assert edl.timecode(frame, rate, drop=True) == theirs


def test_rates_that_no_program_has(tmp_path):
    film = cut_film([4, 4], 16.0)
    for suffix in ("edl", "otio"):
        with pytest.raises(
            ValueError, match="no editing program counts 16 frames per second; the option rate takes 23"
        ):
            write_trajectory(film, tmp_path / f"film.{suffix}", rate=16)
    with pytest.raises(ValueError, match="drop-frame time codes are of 29.97 and 59.94"):
        write_trajectory(film, tmp_path / "film.edl", drop_frame=True)
    assert not list(tmp_path.iterdir())


def test_clips_have_their_captions(tmp_path):
    otio = pytest.importorskip("opentimelineio")
    write_trajectory(cut_film([20, 28], 24.0), tmp_path / "film.otio", clip="my film.mp4", title="Title")
    timeline = otio.adapters.read_from_file(str(tmp_path / "film.otio"))
    assert timeline.name == "Title" and timeline.metadata["shotverse"]["caption"] == "all"
    first, second = timeline.tracks[0]
    assert (first.name, second.markers[0].name) == ("shot_01", "shot 1")
    assert first.metadata["shotverse"]["caption"] == "shot 0" and first.media_reference.target_url == "my film.mp4"


def test_without_the_package_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "opentimelineio", None)
    with pytest.raises(ValueError, match=r"pip install 'shotverse_jax\[edit\]'"):
        write_trajectory(cut_film([4, 4], 24.0), tmp_path / "film.otio")


def test_case_of_the_edit_list(tmp_path, reference):
    film = reference / "cases" / "29-edl-otio" / "film_24.csv"
    assert cli.main(["export", str(film), "--to", "edl", "--out", str(tmp_path / "a.edl"), "--quiet"]) == 0
    assert opened(tmp_path / "a.edl", 24.0) == [(0.0, 20.0), (20.0, 28.0)]
    assert len(read_trajectory(film)) == 48
