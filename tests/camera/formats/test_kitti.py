"""KITTI files."""

import numpy as np
import pytest
from hypothesis import given

from camera_paths import QUICK, assert_same, round_trip, trajectories
from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import read_trajectory


@QUICK
@given(trajectories())
def test_kitti_keeps_poses(tmp_path, trajectory):
    assert_same(round_trip(trajectory, tmp_path, "kitti"), trajectory, "")


def test_text_noise_is_rounded_to_rotations(tmp_path):
    turn = se3.so3_exp(np.array([0.3, -0.8, 0.1]))
    path = tmp_path / "a.kitti"
    path.write_text(" ".join(f"{x:.4f}" for x in np.c_[turn, [1, 2, 3]].ravel()))
    got = read_trajectory(path).pose_T34[0]
    np.testing.assert_allclose(got[:, :3] @ got[:, :3].T, np.eye(3), atol=1e-14)
    np.testing.assert_allclose(got[:, :3], turn, atol=1e-4)


def lines_of(step: float, frames: int, last_row: bool, numbers=None) -> str:
    """Matrices of a camera that goes down by `step` a frame."""
    lines = []
    for t in range(frames):
        words = [1, 0, 0, 0, 0, 1, 0, step * t, 0, 0, 1, 0] + [0, 0, 0, 1] * last_row
        lines.append(" ".join(map(str, ([numbers[t]] if numbers else []) + words)))
    return "\n".join(lines)


@pytest.mark.parametrize("last_row", [False, True])
def test_matrices_with_frame_numbers_keep_their_gaps(tmp_path, last_row):
    path = tmp_path / "poses.txt"
    path.write_text(lines_of(0.5, 4, last_row, numbers=[11, 12, 15, 16]))
    got = read_trajectory(path, fps=10)
    np.testing.assert_allclose(got.pose_T34[:, 1, 3], [0, 0.5, 1, 1.5])
    np.testing.assert_allclose(got.time_T, [0, 0.1, 0.4, 0.5])
    path.write_text(lines_of(0.5, 3, last_row, numbers=[4, 5, 6]))
    assert read_trajectory(path).time_T is None


def test_matrices_of_four_rows(tmp_path):
    path = tmp_path / "traj.txt"
    path.write_text(lines_of(-0.25, 3, True).replace(" ", ", "))
    np.testing.assert_allclose(read_trajectory(path).pose_T34[:, 1, 3], [0, -0.25, -0.5])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "1 0 0 0 0 1 0 0 0 0 1 0 7 0 0 1",
            "last row of the matrix should be 0 0 0 1, got 7 0 0 1; .*column by column",
        ),
        ("1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 2", "last row of the matrix should be 0 0 0 1, got 0 0 0 2$"),
        ("0.5 1 0 0 0 0 1 0 0 0 0 1 0", "the number of the frame first, got 0.5"),
        ("5 1 0 0 0 0 1 0 0 0 0 1 0\n5 1 0 0 0 0 1 0 0 0 0 1 0", "should rise, but pose 1"),
        ("1 0 0 0 0 1 0 0 0 0 1 0\n1 0 0 0 0 1 0 0 0 0 1", "line 2: expected 12 numbers .*got 11"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, line, message):
    (tmp_path / "poses.txt").write_text(line)
    with pytest.raises(ValueError, match=message):
        read_trajectory(tmp_path / "poses.txt")


def test_case_of_sixteen_columns(reference):
    got = read_trajectory(reference / "cases/17-replica-16-columns/traj.txt")
    assert len(got) == 20
    np.testing.assert_allclose(np.diff(got.pose_T34[:, :, 3], axis=0), np.tile([0.1, 0, 0], (19, 1)), atol=1e-9)
