"""Sampling and training noise levels: the original's records, and who owns which."""

import json

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shotverse_jax.config import ControllerConfig
from shotverse_jax.flow.schedule import TIMESTEPS, draw_sigma, high_noise_steps, sigmas, training_sigmas


def test_schedules_are_holocines(reference):
    records = json.loads((reference / "golden" / "holocine_schedule.json").read_text())
    assert len(records) == 4
    for name, record in records.items():
        steps, shift = (part.lstrip("nshift") for part in name.split("_"))
        ours = sigmas(int(steps), float(shift))
        assert ours.shape == (int(steps) + 1,) and ours[-1] == 0
        np.testing.assert_allclose(ours[:-1], record["sigmas"], rtol=2e-6)
        np.testing.assert_allclose(TIMESTEPS * ours[:-1], record["timesteps"], rtol=2e-6)
        assert high_noise_steps(ours, 0.875) == record["high_steps"]


def test_the_default_of_holocine_and_that_of_wan():
    ours = sigmas(50, 5.0)
    np.testing.assert_allclose(
        1000 * ours[[0, 1, 2, 20, 21, 49]], [1000, 995.93, 991.74, 882.35, 873.49, 92.59], atol=0.01
    )
    assert high_noise_steps(ours, 0.875) == 21 and high_noise_steps(sigmas(40, 12.0), 0.875) == 26


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 200), st.floats(0.5, 20), st.floats(0, 1))
def test_a_schedule_falls_and_the_switch_is_at_the_boundary(steps, shift, boundary):
    levels = sigmas(steps, shift)
    assert levels[0] == 1 and levels[-1] == 0 and levels.dtype == np.float32 and (np.diff(levels) < 0).all()
    high = high_noise_steps(levels, boundary)
    assert (levels[:high] >= boundary).all() and (levels[high:-1] < boundary).all()


def test_a_level_on_the_boundary_is_high_noise():
    assert sigmas(2, 7.0)[1] == 0.875 and high_noise_steps(sigmas(2, 7.0), 0.875) == 2


@pytest.mark.parametrize(("steps", "shift"), [(0, 5.0), (10, 0.0), (10, float("nan"))])
def test_impossible_schedules(steps, shift):
    with pytest.raises(ValueError, match="at least one step and a positive shift"):
        sigmas(steps, shift)


def test_experts_share_the_training_grid():
    high, low = (training_sigmas(5.0, 0.875, expert) for expert in ("high", "low"))
    assert len(high) == 417 and len(low) == 583  # DiffSynth's 0.417 of 1000
    np.testing.assert_array_equal(np.concatenate([high, low]), sigmas(TIMESTEPS, 5.0)[:-1])
    assert high[0] == 1 and high[-1] == pytest.approx(0.8753, abs=1e-4) and low[0] < 0.875 and low[-1] > 0
    for boundary, expert in ((1.1, "high"), (0.0, "low")):
        with pytest.raises(ValueError, match=f"leaves the {expert}-noise expert nothing"):
            training_sigmas(5.0, boundary, expert)
    np.testing.assert_array_equal(training_sigmas(5.0, 0.875, "both"), sigmas(TIMESTEPS, 5.0)[:-1])
    with pytest.raises(ValueError, match='"high", "low" or "both"'):
        training_sigmas(5.0, 0.875, "middle")


@pytest.mark.parametrize("expert", ["high", "low"])
def test_draws_are_uniform_over_the_ids(expert):
    owned = training_sigmas(5.0, 0.875, expert)
    draw = jax.jit(draw_sigma, static_argnums=(1, 2, 3, 4))
    drawn = np.asarray(draw(jax.random.key(0), 20_000, 5.0, 0.875, expert))
    assert drawn.dtype == np.float32 and np.isin(drawn, owned).all() and len(np.unique(drawn)) == len(owned)
    ids = np.searchsorted(-owned, -drawn)
    assert np.mean(ids) == pytest.approx((len(owned) - 1) / 2, rel=0.02)
    assert np.std(ids) == pytest.approx(len(owned) / 12**0.5, rel=0.02)
    assert not np.array_equal(drawn[:9], draw(jax.random.key(1), 9, 5.0, 0.875, expert))


def test_four_steps_are_those_of_the_distilled_loras():
    """LightX2V: of its 1000 levels of shift 5 those at 1000, 750, 500 and 250; the first two are of high noise."""
    warped = [5 * s / (1 + 4 * s) for s in (1.0, 0.75, 0.5, 0.25)]
    np.testing.assert_allclose(warped, [1.0, 0.9375, 0.83333333, 0.625])
    levels = sigmas(4, 5.0)
    np.testing.assert_allclose(levels, [*warped, 0.0], rtol=1e-6)
    assert high_noise_steps(levels, ControllerConfig().boundary) == 2
