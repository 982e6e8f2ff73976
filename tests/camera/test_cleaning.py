"""Cleaning of reconstructed paths: the original's records, an independent smoother, and jumps."""

import dataclasses

import numpy as np
import pytest
from scipy.linalg import block_diag

from shotverse_jax.camera import cleaning, se3
from shotverse_jax.camera.trajectory import Trajectory


def path(position_T3):
    pose_T34 = se3.make(np.broadcast_to(np.eye(3), (len(position_T3), 3, 3)), np.asarray(position_T3, float))
    return Trajectory(pose_T34, (500.0, 500.0, 256.0, 104.0), 512, 208, np.zeros(len(pose_T34)))


def test_the_chunk_and_the_smooth_path_of_the_original(reference):
    record = np.load(reference / "golden" / "kalman_clean.npz")
    position_T3 = record["poses_in"][:, :3, 3]
    assert cleaning.stretches(position_T3)[0] == tuple(record["chunk"])
    start, end = record["chunk"]
    np.testing.assert_allclose(cleaning.smooth(position_T3[start:end]), record["smoothed_xyz"], atol=1e-6)


def test_the_smoother_is_the_least_squares_path():
    """Filter and smoother together solve one linear least-squares problem over all states, which is solved at once."""
    rng = np.random.default_rng(0)
    seen_T3, count = rng.normal(size=(12, 3)).cumsum(0), 12
    step, noise = np.array([[1.0, 1.0], [0.0, 1.0]]), 0.25 * np.array([[1 / 3, 1 / 2], [1 / 2, 1.0]])
    rows, weights, goals = [np.eye(2, 2 * count)], [np.diag([1.0, 1e12])], [np.stack([seen_T3[0], np.zeros(3)])]
    for t in range(1, count):
        row = np.zeros((2, 2 * count))
        row[:, 2 * t - 2 : 2 * t], row[:, 2 * t : 2 * t + 2] = -step, np.eye(2)
        look = np.zeros((1, 2 * count))
        look[0, 2 * t] = 1.0
        rows += [row, look]
        weights += [np.linalg.inv(noise), np.eye(1)]
        goals += [np.zeros((2, 3)), seen_T3[t : t + 1]]
    matrix, weight = np.concatenate(rows), block_diag(*weights)
    state = np.linalg.solve(matrix.T @ weight @ matrix, matrix.T @ weight @ np.concatenate(goals))
    np.testing.assert_allclose(cleaning.smooth(seen_T3), state[::2], atol=1e-6)


def test_jumps_are_cut_out_and_the_original_takes_the_first_stretch():
    position_T3 = np.linspace(0, 1, 80)[:, None] * [1.0, 0.0, 0.0]
    position_T3[30:] += [0.0, 9.0, 0.0]
    made = cleaning.clean(path(position_T3))
    assert made.kept == (0, 29) and len(made.trajectory) == 120
    assert np.abs(made.trajectory.pose_T34[:, 1, 3]).max() < 1e-9
    assert "50 of 80 poses were left out at jumps; poses 0 to 28 were kept" in made.notes[0]
    whole = cleaning.clean(path(position_T3), whole=True)
    assert whole.kept == (31, 80)
    # A path without jumps loses its last pose alone, and nothing is said of that.
    even = position_T3.copy()
    even[30:] -= [0.0, 9.0, 0.0]
    assert cleaning.clean(path(even)).kept == (0, 79) and not cleaning.clean(path(even)).notes
    last = cleaning.clean(path(even), whole=True).trajectory.pose_T34[-1, 0, 3]
    assert last == pytest.approx(1.0, abs=1e-2) and cleaning.clean(path(even)).trajectory.pose_T34[-1, 0, 3] < 0.985


def test_a_zoom_that_is_left_out_is_said():
    even = path(np.linspace(0, 1, 80)[:, None] * [1.0, 0.0, 0.0])
    lens_T4 = even.intrinsics_T4 * np.linspace(1, 1.5, 80)[:, None]
    zoomed = cleaning.clean(dataclasses.replace(even, intrinsics_T4=lens_T4, focus_T2=[2, 2.8]))
    assert zoomed.notes == ("its zoom of 1.5 was left out: a clean path has the lens of the first pose",)
    assert zoomed.trajectory.zoom == 1 and zoomed.trajectory.focus_T2 is None


@pytest.mark.parametrize("count", [1, 2, 6])
def test_paths_that_are_too_short_are_refused(count):
    with pytest.raises(ValueError, match="is longer than 5 steps without a jump"):
        cleaning.clean(path(np.arange(count)[:, None] * [1.0, 0, 0]))


def test_a_camera_that_stands_still_is_refused_as_a_path():
    # Every step is 0, and none is shorter than 18 times 0: the original has no stretch either.
    with pytest.raises(ValueError, match="no stretch of its 20 poses"):
        cleaning.clean(path(np.zeros((20, 3))))
