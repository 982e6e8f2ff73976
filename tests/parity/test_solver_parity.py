"""Euler and UniPC against diffusers' schedulers on one velocity field, and Euler's schedule with them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotverse_jax.flow.schedule import sigmas
from shotverse_jax.flow.solver import sample

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

CENTRES = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)


def field(xp, centres, x, sigma):
    """Stiff near sigma = 0, curved in x: no solver of low order is exact on it."""
    return xp.sin(2 * x) + (x - centres[0]) / (sigma + 0.2) + centres[1] * xp.cos(6 * sigma + centres[2])


def diffusers_sample(scheduler, x, levels):
    x, centres = torch.from_numpy(x), torch.from_numpy(CENTRES)
    for i, t in enumerate(scheduler.timesteps):
        velocity = field(torch, centres, x, torch.tensor(levels[i]))
        x = scheduler.step(velocity, t, x, return_dict=False)[0]
    return x.numpy()


def solve(noise, levels, name):
    def velocity(x, sigma):
        return field(jnp, CENTRES, x, sigma)

    return jax.jit(lambda noise: sample(velocity, velocity, noise, levels, 0.875, name))(noise)


@pytest.mark.parametrize(("steps", "shift"), [(1, 5.0), (2, 5.0), (3, 1.0), (12, 12.0), (40, 12.0), (50, 5.0)])
def test_unipc(steps, shift, parity):
    levels, noise = sigmas(steps, shift), np.random.default_rng(steps).normal(size=(2, 8)).astype(np.float32)
    scheduler = diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift, solver_order=2, solver_type="bh2"
    )
    scheduler.set_timesteps(sigmas=1 - np.arange(steps) / steps)
    np.testing.assert_allclose(scheduler.sigmas.numpy(), levels, atol=1.1e-6)
    # diffusers rounds timesteps to whole numbers, which are then not distinct; its own index counts the steps.
    scheduler.set_begin_index(0)
    theirs = diffusers_sample(scheduler, noise, levels)
    assert parity("UniPC", solve(noise, levels, "unipc"), theirs) < 1e-5
    assert steps < 3 or np.abs(solve(noise, levels, "euler") - theirs).max() > 1e-3 * np.abs(theirs).max()


@pytest.mark.parametrize(("steps", "shift"), [(1, 5.0), (50, 5.0), (40, 12.0)])
def test_euler(steps, shift, parity):
    levels, noise = sigmas(steps, shift), np.random.default_rng(steps).normal(size=(2, 8)).astype(np.float32)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=1 - np.arange(steps) / steps)
    np.testing.assert_allclose(scheduler.sigmas.numpy(), levels, atol=1e-6)
    np.testing.assert_allclose(scheduler.timesteps.numpy(), 1000 * levels[:-1], rtol=1e-6)
    assert parity("Euler", solve(noise, levels, "euler"), diffusers_sample(scheduler, noise, levels)) < 1e-5
