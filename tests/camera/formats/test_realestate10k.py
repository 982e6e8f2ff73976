"""RealEstate10K files."""

import numpy as np
import pytest
from hypothesis import given

from camera_paths import QUICK, assert_same, round_trip, trajectories
from shotverse_jax.camera.formats import read_trajectory


@QUICK
@given(trajectories())
def test_realestate10k_keeps_poses_lens_and_time(tmp_path, trajectory):
    got = round_trip(trajectory, tmp_path, "realestate10k", width=832, height=480)
    assert_same(got, trajectory, "intrinsics_T4 width height")
    seconds = np.arange(len(got)) / got.fps if got.time_T is None else got.time_T
    truth = np.arange(len(got)) / trajectory.fps if trajectory.time_T is None else trajectory.time_T
    np.testing.assert_allclose(seconds, truth, rtol=0, atol=1.1e-5)


def test_cameractrl_files(reference):
    clips = sorted((reference / "data/trajectories/cameractrl/pose_files").glob("*.txt"))
    assert len(clips) == 10
    for path in clips:
        clip = read_trajectory(path)
        assert len(clip) == 16
        np.testing.assert_allclose(clip.intrinsics_T4[:, 0], clip.intrinsics_T4[:, 1], rtol=1e-6)  # square pixels


ROWS = [f"0.7 1.2 0.5 0.5 0 0 1 0 0 0 0 1 0 {0.5 * t} 0 0 1 0" for t in range(4)]  # goes up by 0.5 a frame
TIMED = [f"{40000 * t} {row}" for t, row in enumerate(ROWS)]


@pytest.mark.parametrize(
    ("first", "rows", "fps"),
    [
        (["https://example.invalid/v?id=1"], TIMED, 25),
        ([], TIMED, 25),
        ([""], TIMED, 25),
        (["A crane shot over 3 roofs"], TIMED, 25),
        ([""], ROWS, 16),
        (["https://example.invalid/v"], ROWS, 16),
    ],
)
def test_first_lines_and_rows_without_time(tmp_path, first, rows, fps):
    (tmp_path / "clip.txt").write_text("\n".join(first + rows))
    got = read_trajectory(tmp_path / "clip.txt", width=1000, height=500)
    assert len(got) == 4 and got.fps == pytest.approx(fps, abs=1e-3)
    np.testing.assert_allclose(got.pose_T34[:, 1, 3], -0.5 * np.arange(4))
    np.testing.assert_allclose(got.intrinsics_T4, np.tile([700, 600, 500, 250], (4, 1)))
    assert any("no URL" in note for note in got.notes) == (first == ["A crane shot over 3 roofs"])


def test_seventeen_columns_are_refused(tmp_path):
    rows = [row.replace(" 0 0 ", " ", 1) for row in TIMED]
    (tmp_path / "clip.txt").write_text("\n".join(["https://example.invalid/v", *rows]))
    with pytest.raises(ValueError, match="line 2: expected 19 numbers .* got 17"):
        read_trajectory(tmp_path / "clip.txt")


@pytest.mark.parametrize("case", ["url.txt", "no_url.txt", "blank_first.txt", "caption_first.txt"])
def test_cases_of_first_lines(reference, case):
    got = read_trajectory(reference / "cases/18-re10k-first-line" / case)
    assert len(got) == 20
    np.testing.assert_allclose(np.diff(got.pose_T34[:, :, 3], axis=0), np.tile([0.1, 0, 0], (19, 1)), atol=1e-9)


def test_case_of_seventeen_columns(reference):
    with pytest.raises(ValueError, match="expected 19 numbers"):
        read_trajectory(reference / "cases/18-re10k-first-line/seventeen.txt")


def test_case_of_rows_without_time(reference):
    got = read_trajectory(reference / "cases/24-pose-rows-without-time/Move_Right.txt", width=1000)
    assert len(got) == 20
    np.testing.assert_allclose(got.intrinsics_T4[:, 0], 550)
    np.testing.assert_allclose(np.diff(got.pose_T34[:, :, 3], axis=0), np.tile([0.1, 0, 0], (19, 1)), atol=1e-9)
