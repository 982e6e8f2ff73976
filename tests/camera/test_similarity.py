"""The best similarity between two sets of points is found, and it is never a reflection."""

import numpy as np
import pytest

from shotverse_jax.camera import se3
from shotverse_jax.camera.similarity import similarity


@pytest.mark.parametrize("seed", range(4))
def test_similarity_recovers(seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(20, 3)) * ([1, 1, 1] if seed else [1, 1, 0])  # once in a plane
    rotation, translation = se3.so3_exp(rng.normal(size=3)), rng.normal(size=3)
    got = similarity(points, 2.5 * points @ rotation.T + translation)
    assert got[0] == pytest.approx(2.5)
    np.testing.assert_allclose(got[1], rotation, atol=1e-9)
    np.testing.assert_allclose(got[2], translation, atol=1e-9)


def test_a_mirror_image_gets_a_rotation():
    points = np.random.default_rng(0).normal(size=(20, 3))
    assert np.linalg.det(similarity(points, points * [1, 1, -1])[1]) == pytest.approx(1)


def test_weights_count_points():
    rng = np.random.default_rng(1)
    source, target, weight = rng.normal(size=(12, 3)), rng.normal(size=(12, 3)), rng.integers(0, 4, 12)
    got = similarity(source, target, weight)
    repeated = similarity(np.repeat(source, weight, axis=0), np.repeat(target, weight, axis=0))
    for a, b in zip(got, repeated, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_equals_evo():
    geometry = pytest.importorskip("evo.core.geometry")
    rng = np.random.default_rng(2)
    source, target = np.cumsum(rng.normal(size=(30, 3)), axis=0), np.cumsum(rng.normal(size=(30, 3)), axis=0)
    rotation, translation, scale = geometry.umeyama_alignment(source.T, target.T, with_scale=True)
    got = similarity(source, target)
    assert got[0] == pytest.approx(scale, rel=1e-9)
    np.testing.assert_allclose(got[1], rotation, atol=1e-9)
    np.testing.assert_allclose(got[2], translation, atol=1e-9)
