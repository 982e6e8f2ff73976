"""Noise of films: unit variance, and as much of it the same in all frames as was asked for."""

import jax
import numpy as np
import pytest

from shotverse_jax.flow.noise import film_noise

SHAPE = (2, 6, 16, 16, 8)  # B T H W C


def test_frames_of_their_own():
    key = jax.random.key(3)
    np.testing.assert_array_equal(film_noise(key, SHAPE), jax.random.normal(key, SHAPE))


@pytest.mark.parametrize("shape", [SHAPE, SHAPE[1:]])
def test_frames_have_the_share_in_common_and_films_nothing(shape):
    noise = np.asarray(film_noise(jax.random.key(0), shape, 0.4))
    assert noise.shape == shape and noise.std() == pytest.approx(1, abs=0.02)
    for film in noise.reshape(-1, *SHAPE[1:]):
        correlation = np.corrcoef(film.reshape(len(film), -1))
        np.testing.assert_allclose(correlation, 0.4 + 0.6 * np.eye(len(film)), atol=0.07)
    if len(shape) == 5:
        assert abs(np.corrcoef(noise.reshape(2, -1))[0, 1]) < 0.04


@pytest.mark.parametrize("shared", [-0.1, 1.0])
def test_a_share_is_less_than_all(shared):
    with pytest.raises(ValueError, match=r"in \[0, 1\)"):
        film_noise(jax.random.key(0), SHAPE, shared)
