"""What CLaTr reads, against a slow reading of its definition, and the way back to paths."""

import numpy as np
import pytest

from shotverse_jax.camera import se3
from shotverse_jax.config import CLaTrConfig
from shotverse_jax.inputs.clatr import from_items, shot_features, to_items


def path(frames=120, seed=0):
    rng = np.random.default_rng(seed)
    turn, go = rng.normal(0, 0.02, (2, frames, 3)).cumsum(axis=1)
    return np.concatenate([se3.so3_exp(turn), go[..., None]], axis=-1)


def test_features_by_their_definition():
    axes = np.diag([1.0, -1.0, -1.0, 1.0])  # OpenCV to OpenGL camera
    pose_T44 = se3.to_44(path()) @ axes
    rows, before = [], np.zeros(3)
    for pose in np.linalg.inv(pose_T44[0]) @ pose_T44:
        rows.append([*pose[:3, 0], *pose[:3, 1], *(pose[:3, 3] - before)])
        before = pose[:3, 3]
    ours = shot_features(path())
    assert ours.shape == (120, 9) and ours.dtype == np.float32
    np.testing.assert_allclose(ours, rows, atol=1e-6)
    np.testing.assert_allclose(ours[0], [1, 0, 0, 0, 1, 0, 0, 0, 0], atol=1e-6)


def test_features_do_not_know_the_world_and_are_of_120_frames():
    ours = shot_features(path(61))
    np.testing.assert_allclose(shot_features(se3.compose(path(seed=5)[50], path(61))), ours, atol=1e-6)
    np.testing.assert_allclose(shot_features(se3.resample(path(61), np.linspace(0, 60, 120))), ours, atol=1e-6)
    assert np.ptp(shot_features(path(1)), axis=0).max() == 0  # a single pose stands still


@pytest.mark.parametrize("config", [CLaTrConfig(), CLaTrConfig(feature_size=72, step_scale=30.0)])
def test_items_there_and_back(config):
    features = np.stack([shot_features(path(seed=i)) for i in range(2)])
    items = to_items(config, features)
    assert items.shape == (2, 120 // config.frames_per_item, config.feature_size)
    if config.feature_size == 9:
        np.testing.assert_array_equal(items, features)
    expected = [se3.relative(path(seed=i)[0], path(seed=i)) for i in range(2)]
    np.testing.assert_allclose(from_items(config, items), expected, atol=1e-5)


def test_decoded_rotations_are_made_orthonormal():
    noisy = to_items(CLaTrConfig(), shot_features(path())[None]) + 0.1
    rotation = from_items(CLaTrConfig(), noisy)[0, :, :, :3]
    np.testing.assert_allclose(rotation @ rotation.swapaxes(1, 2), np.tile(np.eye(3), (120, 1, 1)), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(rotation), 1)


def test_items_are_whole():
    with pytest.raises(ValueError, match="9 numbers for each"):
        CLaTrConfig(feature_size=10)
    with pytest.raises(ValueError, match="120 frames are whole"):
        CLaTrConfig(feature_size=63)
