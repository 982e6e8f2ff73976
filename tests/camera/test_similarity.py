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
