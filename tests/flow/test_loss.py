"""The training objective: what a perfect network scores, weights, masks, precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotverse_jax.flow.loss import bell_weight, flow_loss, interpolate, velocity_target
from shotverse_jax.flow.schedule import training_sigmas

SHAPE = (3, 4, 2, 2, 5)  # B T H W C


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    return tuple(rng.normal(size=SHAPE).astype(np.float32) for _ in range(3))


def test_interpolation(arrays):
    clean, noise, _ = arrays
    sigma_B = jnp.array([0.0, 1.0, 0.25])
    mixed = interpolate(clean, noise, sigma_B)
    np.testing.assert_array_equal(mixed[0], clean[0])
    np.testing.assert_array_equal(mixed[1], noise[1])
    np.testing.assert_allclose(mixed[2], 0.75 * clean[2] + 0.25 * noise[2], rtol=1e-6)
    slope = jax.jvp(lambda sigma: interpolate(clean, noise, sigma), (sigma_B,), (jnp.ones(3),))[1]
    np.testing.assert_allclose(slope, velocity_target(clean, noise), rtol=1e-6)


def test_a_perfect_network_scores_zero_and_another_its_distance(arrays):
    clean, noise, other = arrays
    assert flow_loss(velocity_target(clean, noise), clean, noise) == 0
    assert flow_loss(noise - clean + 0.5, clean, noise) == pytest.approx(0.25, rel=1e-5)
    expected = np.mean((other.astype(np.float64) - noise + clean) ** 2)
    assert float(flow_loss(other, clean, noise)) == pytest.approx(expected, rel=1e-6)


def test_weights_and_masks(arrays):
    clean, noise, other = arrays
    error = (other.astype(np.float64) - noise + clean) ** 2
    weight_B = np.array([0.0, 2.0, 0.5])
    per_sample = error.mean(axis=(1, 2, 3, 4))
    assert float(flow_loss(other, clean, noise, weight_B)) == pytest.approx(np.mean(weight_B * per_sample), rel=1e-6)
    mask_BT = np.arange(SHAPE[1]) < np.array([[4], [1], [2]])
    mask = mask_BT[:, :, None, None, None]
    wrong = np.where(mask, other, 1e6)  # what is masked must not matter
    expected = np.mean(error.mean(axis=(2, 3, 4))[mask_BT])
    assert float(flow_loss(wrong, clean, noise, mask=mask)) == pytest.approx(expected, rel=1e-6)
    expected = np.mean((weight_B[:, None] * error.mean(axis=(2, 3, 4)))[mask_BT])
    assert float(flow_loss(wrong, clean, noise, weight_B, mask)) == pytest.approx(expected, rel=1e-6)
    assert flow_loss(other, clean, noise, mask=np.zeros(SHAPE)) == 0


def test_float32_whatever_comes_in(arrays):
    clean, noise, other = (jnp.asarray(x, jnp.bfloat16) for x in arrays)
    mixed, loss = interpolate(clean, noise, jnp.full(3, 0.3, jnp.bfloat16)), flow_loss(other, clean, noise)
    assert mixed.dtype == loss.dtype == velocity_target(clean, noise).dtype == jnp.float32
    expected = np.mean((np.float64(other) - np.float64(noise) + np.float64(clean)) ** 2)
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_bell_weight_has_diffsynths_values():
    high, low = (training_sigmas(5.0, 0.875, expert) for expert in ("high", "low"))
    grid = np.concatenate([high, low])
    weight = np.asarray(jax.jit(bell_weight, static_argnums=1)(grid, 5.0))
    assert weight[0] == pytest.approx(0, abs=1e-5) and weight.min() > -1e-5
    assert weight.mean() == pytest.approx(1, rel=1e-4)
    assert weight[416] == pytest.approx(0.78, abs=0.005) and weight.max() == pytest.approx(2.08, abs=0.005)
    assert grid[weight.argmax()] == pytest.approx(0.5, abs=0.002)
    assert weight[:417].mean() == pytest.approx(0.34, abs=0.005)
    assert weight[417:].mean() == pytest.approx(1.47, abs=0.005)
