"""The rows of the camera encoder: both worlds, and one answer for training and for inference."""

import dataclasses

import numpy as np
import pytest

from shotverse_jax.config import controller_14b, controller_small
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.inputs.cameras import camera_rows, record_rows, trajectory_rows
from shotverse_jax.stage.preview import stage_poses

SMALL, LARGE = controller_small(), controller_14b()


def test_cameras_in_both_worlds():
    pose_T34 = np.tile(np.eye(3, 4), (3, 1, 1))
    pose_T34[:, :, 3] = [[1.0, 0, 2], [1, 0, 4], [1, 3, 2]]
    stage = camera_rows(SMALL, pose_T34)
    np.testing.assert_array_equal(stage, pose_T34.reshape(3, 12).astype(np.float32))
    scene = camera_rows(LARGE, pose_T34).reshape(3, 3, 4)
    np.testing.assert_allclose(scene[:, :, 3], [[0, 0, 0], [0, 0, 2 / 3], [0, 1, 0]], atol=1e-5)


@pytest.mark.parametrize("config", [SMALL, LARGE], ids=["stage", "scene"])
def test_a_film_that_is_made_has_the_rows_of_the_one_that_was_learned(config):
    trajectory = sample_example(2, num_shots=2).trajectory
    record = {"name": "a film", "pose_T34": stage_poses(trajectory)[::4].astype(np.float32)}
    rows = trajectory_rows(config, trajectory, 4)
    assert rows.shape == (-(-len(trajectory) // 4), 12) and rows.dtype == np.float32
    np.testing.assert_allclose(rows, record_rows(config, record), atol=1e-5)
    np.testing.assert_array_equal(record_rows(config, record | {"world": "stage"}), record_rows(config, record))


def test_a_path_without_a_stage():
    """It can be filmed on the stage that it implies; it is not learned from, unless the stage is not asked for."""
    trajectory = dataclasses.replace(sample_example(2, num_shots=2).trajectory, stage_34=None)
    assert np.isfinite(trajectory_rows(SMALL, trajectory, 4)).all()
    record = {"name": "a film", "pose_T34": trajectory.pose_T34[::4], "world": "first camera"}
    np.testing.assert_allclose(record_rows(LARGE, record), trajectory_rows(LARGE, trajectory, 4), atol=1e-6)
    with pytest.raises(ValueError, match='a film: .* the path has no stage; train with model.camera_frame="scene"'):
        record_rows(SMALL, record)
