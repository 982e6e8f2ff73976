"""TUM files."""

import numpy as np
import pytest
from hypothesis import given

from camera_paths import QUICK, assert_same, round_trip, trajectories
from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import read_trajectory, write_trajectory


@QUICK
@given(trajectories())
def test_tum_keeps_poses_and_time(tmp_path, trajectory):
    assert_same(round_trip(trajectory, tmp_path, "tum"), trajectory, "time_T" if len(trajectory) > 1 else "")


def test_evo_reads_tum_and_kitti_alike(tmp_path, film):
    interface = pytest.importorskip("evo.tools.file_interface")
    write_trajectory(film, tmp_path / "a.tum")
    write_trajectory(film, tmp_path / "a.kitti")
    want = se3.to_44(film.pose_T34)
    tum = interface.read_tum_trajectory_file(str(tmp_path / "a.tum"))
    np.testing.assert_allclose(np.array(tum.poses_se3), want, atol=1e-9)
    np.testing.assert_allclose(tum.timestamps, np.arange(5) / 16)
    np.testing.assert_allclose(
        np.array(interface.read_kitti_poses_file(str(tmp_path / "a.kitti")).poses_se3), want, atol=1e-9
    )


def test_tum_file(reference):
    tum = read_trajectory(reference / "data/trajectories/tum/freiburg1_xyz-groundtruth.txt")
    assert len(tum) == 3000 and 95 < tum.fps < 105 and tum.time_T[0] == pytest.approx(1305031098.6659)


LINES = [(1e9 + t / 25, 0, -0.2 * t, 0, 0, 0, np.sin(t / 10), np.cos(t / 10)) for t in range(6)]


def spelled(separator: str, heading: str = "", end: str = "\n", order=tuple(range(8))) -> str:
    lines = [separator.join(f"{row[k]:.7f}" for k in order) for row in LINES]
    return end.join([*([heading] if heading else []), *lines, ""])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("commas.txt", spelled(",", "# timestamp,tx,ty,tz,qx,qy,qz,qw")),
        ("commas_blanks.txt", spelled(", ")),
        ("semicolons.txt", spelled(";")),
        ("heading.txt", spelled(" ", "timestamp tx ty tz qx qy qz qw")),
        ("heading.csv", spelled(",", "timestamp,tx,ty,tz,qx,qy,qz,qw")),
        ("tabs.txt", "\n\n" + spelled("\t", end=" \r\n")),
        ("bom.txt", "\ufeff" + spelled(" ", "# x")),
        ("real_first.txt", spelled(" ", "# time x y z q_w q_x q_y q_z", order=(0, 1, 2, 3, 7, 4, 5, 6))),
    ],
)
def test_spellings(tmp_path, name, text):
    """A camera that rises by 0.2 a frame and rolls, at 25 frames per second."""
    (tmp_path / name).write_bytes(text.encode())
    got = read_trajectory(tmp_path / name)
    assert len(got) == 6 and got.fps == pytest.approx(25, abs=1e-3)
    np.testing.assert_allclose(got.pose_T34[:, 1, 3], -0.2 * np.arange(6), atol=1e-6)
    np.testing.assert_allclose(se3.so3_log(got.pose_T34[:, :, :3])[:, 2], np.arange(6) / 5, atol=1e-6)
    assert not any("upside down" in note for note in got.notes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n".join(f"{t} {t / 25} 0 0 0 0 0 0 1" for t in range(3)), "9 columns; a running number before"),
        ("0 0 0 0 0 0 0 1\n1,0,0,,0,0,0,1", "line 2: '' is not a number"),
        ("t x y z qz qy qx qw\n0 0 0 0 0 0 0 1", "should end in qx qy qz qw or qw qx qy qz, got qz qy qx qw"),
        ("one\ntwo\n0 0 0 0 0 0 0 1", "not a known camera file"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, message):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_trajectory(tmp_path / "a.txt")


@pytest.mark.parametrize("first", ["1 0 0 0", "0.9962 0 0.0872 0", "-1 0 0 0"])
def test_a_first_camera_upside_down_is_named(tmp_path, first):
    (tmp_path / "a.txt").write_text(f"0 0 0 0 {first}\n1 1 0 0 {first}\n")
    (note,) = [note for note in read_trajectory(tmp_path / "a.txt").notes if "upside down" in note]
    assert "--read quaternion=wxyz" in note
    mended = read_trajectory(tmp_path / "a.txt", quaternion="wxyz")
    assert not any("upside down" in note for note in mended.notes)
    assert mended.pose_T34[0, 1, 1] == pytest.approx(1)


@pytest.mark.parametrize(("norm", "says"), [(1.005, False), (1.05, True), (0.93, True), (1.2, None)])
def test_quaternions_of_other_norms_are_normalised(tmp_path, norm, says):
    turn = norm * np.array([0, np.sin(0.2), 0, np.cos(0.2)])
    (tmp_path / "a.txt").write_text("\n".join(f"{t} {t} 0 0 {' '.join(map(str, turn))}" for t in range(3)))
    if says is None:
        with pytest.raises(
            ValueError, match=r"quaternion has norm 1.2, expected 1; the option tolerance=0.2\d* reads it"
        ):
            read_trajectory(tmp_path / "a.txt")
        got = read_trajectory(tmp_path / "a.txt", tolerance=0.21)
    else:
        got = read_trajectory(tmp_path / "a.txt")
    assert any("normalised" in note for note in got.notes) == (says is not False)
    np.testing.assert_allclose(se3.so3_log(got.pose_T34[:, :, :3]), np.tile([0, 0.4, 0], (3, 1)), atol=1e-9)


def test_cases_of_quaternions(reference):
    folder = reference / "cases/16-tum-bad-quaternions"
    for name in ("norm_1_05.txt", "two_decimals.txt"):
        got = read_trajectory(folder / name)
        assert len(got) == 20 and any("normalised" in note for note in got.notes) == (name == "norm_1_05.txt")
    with pytest.raises(ValueError, match="pose 5 is lost"):
        read_trajectory(folder / "lost.txt")
    skipped, filled = (read_trajectory(folder / "lost.txt", lost=lost) for lost in ("skip", "interpolate"))
    assert len(skipped) == 19 and skipped.time_T[5] == pytest.approx(0.3)
    np.testing.assert_allclose(np.diff(filled.pose_T34[:, :, 3], axis=0), np.tile([0.1, 0, 0], (19, 1)), atol=1e-9)


@pytest.mark.parametrize("case", ["commas.txt", "header_no_hash.txt", "tabs_trailing.txt"])
def test_cases_of_separators(reference, case):
    got = read_trajectory(reference / "cases/14-tum-separators" / case)
    assert len(got) == 20 and got.fps == pytest.approx(20, abs=1e-3)
    np.testing.assert_allclose(np.diff(got.pose_T34[:, :, 3], axis=0), np.tile([0.1, 0, 0], (19, 1)), atol=1e-9)


def test_case_of_an_index(reference):
    with pytest.raises(ValueError, match="9 columns"):
        read_trajectory(reference / "cases/14-tum-separators/index_first.txt")
