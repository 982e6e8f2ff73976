"""Classifier-free guidance (arXiv 2207.12598) on velocities."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from shotverse_jax.flow.solver import Velocity


def guide(positive: jax.Array, negative: jax.Array, scale: float) -> jax.Array:
    """negative + scale (positive - negative)."""
    return negative + scale * (positive - negative)


def join(positive: Any, negative: Any) -> Any:
    """Two trees of arrays [B, ...] as one of [2B, ...], each sample followed by its negative.

    So a batch that is split over devices stays where it is.
    """
    return jax.tree.map(lambda p, n: jnp.stack([p, n], axis=1).reshape(2 * len(p), *p.shape[1:]), positive, negative)


def guided(
    velocity: Callable[[jax.Array, jax.Array, Any], jax.Array],
    positive: Any,
    negative: Any,
    scale: float,
    levels: tuple[float, float] | None = None,
    joined: Any = None,
) -> Velocity:
    """A function (x, sigma) -> velocity for `solver.sample`, guided away from the negative condition.

    Every expert gets a function of its own, so scales may differ (HoloCine: 5 for both; Wan2.2: 4 for high noise, 3 for
    low). The two forward passes come one after the other, or as one pass of twice the batch (`joined`). At scale 1
    there is only the positive pass.

    Args:
        velocity: (x, sigma, condition) -> velocity.
        positive, negative: conditions.
        scale: strength of guidance.
        levels: (first, last), the noise levels between which guidance acts, both included (arXiv 2404.07724); at others
            there is only the positive pass. None: it acts at every level.
        joined: `join(positive, negative)`, or None for two passes. One pass reads the weights once and holds twice the
            activations.
    """
    if scale == 1:
        return lambda x, sigma: velocity(x, sigma, positive)

    def everywhere(x, sigma):
        if joined is None:
            return guide(velocity(x, sigma, positive), velocity(x, sigma, negative), scale)
        both = velocity(join(x, x), sigma, joined).reshape(len(x), 2, *x.shape[1:])
        return guide(both[:, 0], both[:, 1], scale)

    if levels is None:
        return everywhere
    first, last = levels

    def between(x, sigma):
        inside = (sigma <= first) & (sigma >= last)
        # Only the branch that is taken runs.
        if joined is not None:
            return jax.lax.cond(inside, lambda: everywhere(x, sigma), lambda: velocity(x, sigma, positive))
        ahead = velocity(x, sigma, positive)
        return jax.lax.cond(inside, lambda: guide(ahead, velocity(x, sigma, negative), scale), lambda: ahead)

    return between
