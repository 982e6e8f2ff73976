"""Losses of preferences: their values and slopes before the first step, and against formulas written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotverse_jax.train.preference_losses import LOSSES, flow_errors_to_log_probs, preference_loss

# At the first step, with beta 0.1 and noise 0.05: the loss, and its slope in log p of the better and the worse answer.
AT_FIRST = {
    "dpo": (0.6931472, -0.05),
    "cdpo": (0.6931472, -0.045),
    "robust": (0.6931472, -0.0555556),
    "ipo": (25.0, -10.0),
    "hinge": (1.0, -0.1),
}


@pytest.mark.parametrize("name", LOSSES)
def test_at_the_first_step(name):
    log_probs_B2 = jnp.array([[-300.0, -310.0]])

    def loss(log_probs_B2):
        return preference_loss(name, log_probs_B2, jnp.array([[-300.0, -310.0]]), beta=0.1, noise=0.05)[0]

    value, slope_B2 = jax.value_and_grad(loss)(log_probs_B2)
    expected, slope = AT_FIRST[name]
    assert value == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(slope_B2, [[slope, -slope]], rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_against_formulas(name):
    rng = np.random.default_rng(0)
    log_probs_B2, reference_B2 = rng.normal(-5, 3, (2, 64, 2))
    beta, noise, margin_B = 0.3, 0.1, rng.random(64)
    ratio_B = (log_probs_B2[:, 0] - reference_B2[:, 0]) - (log_probs_B2[:, 1] - reference_B2[:, 1])
    h_B = beta * ratio_B - margin_B
    right_B, wrong_B = np.log1p(np.exp(-h_B)), np.log1p(np.exp(h_B))
    expected = {
        "dpo": right_B,
        "cdpo": 0.9 * right_B + 0.1 * wrong_B,
        "robust": (0.9 * right_B - 0.1 * wrong_B) / 0.8,
        "ipo": (h_B / beta - 1 / (2 * beta)) ** 2,
        "hinge": np.maximum(0, 1 - h_B),
    }[name]
    value, metrics = preference_loss(
        name,
        jnp.asarray(log_probs_B2),
        jnp.asarray(reference_B2),
        beta=beta,
        noise=noise,
        margin_B=jnp.asarray(margin_B),
    )
    assert value == pytest.approx(expected.mean(), rel=1e-5)
    assert metrics["preferred"] == pytest.approx((ratio_B > 0).mean())
    assert metrics["reward_margin"] == pytest.approx(beta * ratio_B.mean(), rel=1e-4)


def test_robust_is_unbiased():
    """With labels that are wrong as often as it thinks, its expectation is DPO's loss with right labels."""
    right, wrong = jnp.array([[2.0, -1.0]]), jnp.array([[-1.0, 2.0]])
    zero, options = jnp.zeros((1, 2)), {"beta": 0.5, "noise": 0.2}
    mixed = 0.8 * preference_loss("robust", right, zero, **options)[0]
    mixed += 0.2 * preference_loss("robust", wrong, zero, **options)[0]
    assert float(mixed) == pytest.approx(float(preference_loss("dpo", right, zero, beta=0.5)[0]), rel=1e-5)


def test_flow_errors():
    errors_B2, reference_B2, beta = np.array([[0.9, 1.2]]), np.array([[1.0, 1.1]]), 100.0
    as_log_probs = [flow_errors_to_log_probs(jnp.asarray(each)) for each in (errors_B2, reference_B2)]
    value, _ = preference_loss("dpo", *as_log_probs, beta=beta)
    h = -beta / 2 * ((0.9 - 1.0) - (1.2 - 1.1))
    assert value == pytest.approx(np.log1p(np.exp(-h)), rel=1e-4)
