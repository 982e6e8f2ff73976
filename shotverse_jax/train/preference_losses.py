"""Losses of preferences: from the log-probabilities of a better and a worse answer to one number.

A pair's *ratio* is log p / p_reference of the better answer less that of the worse one; h = beta * ratio - margin.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Loss = Callable[[jax.Array, float, float], jax.Array]
"""(h, beta, noise) → the loss of every pair."""


def _dpo(h_B, beta, noise):
    return -jax.nn.log_sigmoid(h_B)


def _cdpo(h_B, beta, noise):
    return -(1 - noise) * jax.nn.log_sigmoid(h_B) - noise * jax.nn.log_sigmoid(-h_B)


def _robust(h_B, beta, noise):
    return (-(1 - noise) * jax.nn.log_sigmoid(h_B) + noise * jax.nn.log_sigmoid(-h_B)) / (1 - 2 * noise)


def _ipo(h_B, beta, noise):
    return jnp.square(h_B / beta - 1 / (2 * beta))


def _hinge(h_B, beta, noise):
    return jax.nn.relu(1 - h_B)


LOSSES: dict[str, Loss] = {"dpo": _dpo, "cdpo": _cdpo, "robust": _robust, "ipo": _ipo, "hinge": _hinge}
"""By name: DPO (arXiv 2305.18290), conservative DPO (its note of 2023, labels wrong with probability `noise`), robust
DPO (arXiv 2403.00409), IPO (arXiv 2310.12036) and SLiC's hinge (arXiv 2305.10425)."""


def preference_loss(
    name: str,
    log_probs_B2: jax.Array,
    reference_B2: jax.Array,
    *,
    beta: float,
    noise: float = 0.0,
    margin_B: jax.Array | float = 0.0,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns the mean loss of pairs, and metrics.

    Args:
        name: a key of `LOSSES`.
        log_probs_B2: log-probabilities under the network that learns, of the better answer and of the worse one.
        reference_B2: the same under the reference; they get no gradient.
        beta: how strongly the network is kept near the reference.
        noise: the probability that a label is wrong, below 0.5; only "cdpo" and "robust" use it.
        margin_B: by how much more than the worse answer the better one shall be preferred, in units of h.

    Returns:
        The loss, and reward_chosen, reward_rejected (beta * log p / p_reference), reward_margin (their difference) and
        preferred (the share of pairs in which the better answer has the larger reward).
    """
    reward_B2 = beta * (log_probs_B2 - jax.lax.stop_gradient(reference_B2))
    difference_B = reward_B2[:, 0] - reward_B2[:, 1]
    loss = jnp.mean(LOSSES[name](difference_B - margin_B, beta, noise))
    metrics = {
        "reward_chosen": jnp.mean(reward_B2[:, 0]),
        "reward_rejected": jnp.mean(reward_B2[:, 1]),
        "reward_margin": jnp.mean(difference_B),
        "preferred": jnp.mean(difference_B > 0),
    }
    return loss, metrics


def flow_errors_to_log_probs(errors_B2: jax.Array) -> jax.Array:
    """The errors of a flow-matching network as log-probabilities: -1/2 of the mean square error (Flow-DPO).

    With them `preference_loss` is Flow-DPO's loss (arXiv 2501.13918, after Diffusion-DPO, arXiv 2311.12908):
    -log sigmoid(-beta/2 ((e_chosen - e_chosen_reference) - (e_rejected - e_rejected_reference))).
    """
    return -0.5 * errors_B2
