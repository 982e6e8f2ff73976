"""Solvers and the two-expert loop: exact fields, order of convergence, who is called, guidance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shotverse_jax.flow.guidance import guide, guided
from shotverse_jax.flow.schedule import high_noise_steps, sigmas
from shotverse_jax.flow.solver import begin, run_steps, sample, unipc_tables


def draw(shape=(2, 3, 4)):
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.integers(-8, 9, shape), jnp.float32) for _ in range(2))


@pytest.mark.parametrize("steps", [1, 4, 8])
def test_euler_with_the_perfect_network_returns_the_clean_sample_bit_for_bit(steps):
    """At shift 1 with whole numbers and levels that are sums of powers of two nothing is rounded."""
    clean, noise = draw()

    def velocity(x, sigma):
        return noise - clean

    np.testing.assert_array_equal(sample(velocity, velocity, noise, sigmas(steps, 1.0), 0.5), clean)


@pytest.mark.parametrize("solver", ["euler", "unipc"])
@pytest.mark.parametrize(("steps", "shift"), [(1, 5.0), (2, 5.0), (7, 12.0)])
def test_the_perfect_network_is_sampled_exactly(solver, steps, shift):
    clean, noise = draw()

    def velocity(x, sigma):
        return (x - clean) / sigma

    got = jax.jit(lambda x: sample(velocity, velocity, x, sigmas(steps, shift), 0.875, solver))(noise)
    np.testing.assert_allclose(got, clean, atol=2e-5)


def test_unipc_is_of_higher_order_than_euler():
    """x' = cos(3 sigma) x has a closed form; halving the steps of a scheme of order p divides the error by 2^p."""
    exact = np.exp(-np.sin(3.0) / 3)

    def error(steps, solver):
        def velocity(x, sigma):
            return jnp.cos(3 * sigma) * x

        got = jax.jit(lambda x: sample(velocity, velocity, x, sigmas(steps, 1.0), 0.5, solver))(jnp.ones(1))
        return abs(float(got[0]) - exact)

    assert error(20, "euler") / error(40, "euler") == pytest.approx(2, rel=0.1)
    assert error(20, "unipc") < error(20, "euler") / 8
    assert error(20, "unipc") / error(40, "unipc") > 4


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.floats(1, 15))
def test_unipcs_weights_keep_constants(steps, shift):
    """A step maps (x, predictions) = (c, c) to c: weights sum to one; the tables are finite and end on a prediction."""
    levels, correct, predict = unipc_tables(sigmas(steps, shift))
    assert levels.shape == (steps,) and correct.shape == (steps, 4) and predict.shape == (steps, 3)
    np.testing.assert_allclose(correct.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(predict.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_array_equal(predict[-1], [0, 1, 0])


@pytest.mark.parametrize("boundary", [0.875, 1.5, 0.0])
@pytest.mark.parametrize("solver", ["euler", "unipc"])
def test_each_expert_has_its_steps(boundary, solver):
    """Against a plain Python loop; with a boundary out of reach one expert is not even traced."""
    levels, noise = sigmas(10, 5.0), draw()[1]
    traced = set()

    def expert(name, rate):
        def velocity(x, sigma):
            traced.add(name)
            return rate * x + sigma

        return velocity

    got = jax.jit(lambda x: sample(expert("high", 0.3), expert("low", -0.7), x, levels, boundary, solver))(noise)
    switch = high_noise_steps(levels, boundary)
    assert traced == {name for name, steps in (("high", switch), ("low", 10 - switch)) if steps}
    mixed = sample(*[lambda x, s: jnp.where(s >= boundary, 0.3, -0.7) * x + s] * 2, noise, levels, 2.0, solver)
    np.testing.assert_allclose(got, mixed, rtol=1e-5)
    if solver == "euler":
        x = np.asarray(noise)
        for i in range(10):
            rate = 0.3 if i < switch else -0.7
            x = x + (levels[i + 1] - levels[i]) * (rate * x + levels[i])
        np.testing.assert_allclose(got, x, rtol=1e-5)


@pytest.mark.parametrize("solver", ["euler", "unipc"])
@pytest.mark.parametrize("stop", [0, 1, 6, 7, 10])
def test_a_run_in_two_parts_is_the_whole_run(solver, stop):
    """Stopped before, at and after step 6, where the experts change; by two programs, and by one for both parts."""
    levels, noise = sigmas(10, 5.0), draw()[1]
    experts = (lambda x, s: 0.3 * x + s, lambda x, s: jnp.sin(x) - s)
    assert high_noise_steps(levels, 0.8) == 6
    whole = jax.jit(lambda x: sample(*experts, x, levels, 0.8, solver))(noise)

    def part(i, j):
        return jax.jit(lambda state: run_steps(experts, state, levels, 0.8, solver, (i, j)))

    state = part(0, stop)(begin(noise, levels, solver))
    np.testing.assert_allclose(part(stop, 10)(state)[0], whole, rtol=1e-6, atol=1e-6)

    @jax.jit
    def any_part(state, i, j):
        return run_steps(experts, state, levels, 0.8, solver, (i, j))

    state = any_part(any_part(begin(noise, levels, solver), 0, stop), stop, 10)
    np.testing.assert_allclose(state[0], whole, rtol=1e-6, atol=1e-6)


def test_sampling_is_float32_and_has_a_gradient():
    """x is multiplied by 1 + rate (next sigma - sigma) in every step; the gradient is taken through the loops."""
    levels = sigmas(4, 3.0)

    def total(rate, noise):
        def velocity(x, sigma):
            assert x.dtype == sigma.dtype == jnp.float32
            return (rate * x).astype(jnp.bfloat16)

        x = sample(velocity, velocity, noise, levels, 0.875)
        assert x.dtype == jnp.float32
        return jnp.sum(x)

    value, grad = jax.jit(jax.value_and_grad(total))(0.5, jnp.ones((2, 2), jnp.bfloat16))
    factors = 1 + 0.5 * np.diff(levels)
    assert float(value) == pytest.approx(4 * np.prod(factors), rel=0.01)
    assert float(grad) == pytest.approx(4 * np.prod(factors) * np.sum(np.diff(levels) / factors), rel=0.02)


def test_guidance():
    clean, noise = draw()
    np.testing.assert_array_equal(guide(clean, noise, 1.0), clean)
    np.testing.assert_array_equal(guide(clean, noise, 0.0), noise)
    np.testing.assert_array_equal(guide(clean, noise, 5.0), 5 * clean - 4 * noise)
    calls = []

    def velocity(x, sigma, condition):
        calls.append(condition)
        return x * sigma + condition

    np.testing.assert_allclose(guided(velocity, 3.0, 1.0, 4.0)(clean, 0.5), clean * 0.5 + 9.0)
    assert calls == [3.0, 1.0]
    np.testing.assert_allclose(guided(velocity, 3.0, 1.0, 1.0)(clean, 0.5), clean * 0.5 + 3.0)
    assert calls == [3.0, 1.0, 3.0]


def test_errors():
    def velocity(x, sigma):
        return x

    with pytest.raises(ValueError, match="use euler or unipc"):
        sample(velocity, velocity, jnp.ones(1), sigmas(2, 1.0), 0.5, "heun")
    for levels in ([1.0], [0.0, 1.0], [[1.0, 0.0]]):
        with pytest.raises(ValueError, match="must be numbers that fall"):
            sample(velocity, velocity, jnp.ones(1), levels, 0.5)
    for steps in ((-1, 2), (2, 1), (0, 3)):
        with pytest.raises(ValueError, match="has no steps from"):
            run_steps((velocity, velocity), (jnp.ones(1),), sigmas(2, 1.0), 0.5, steps=steps)
