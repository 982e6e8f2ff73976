"""Classifier-free guidance (arXiv 2207.12598) on velocities."""

from collections.abc import Callable
from typing import Any

import jax

from shotverse_jax.flow.solver import Velocity


def guide(positive: jax.Array, negative: jax.Array, scale: float) -> jax.Array:
    """negative + scale (positive - negative)."""
    return negative + scale * (positive - negative)


def guided(
    velocity: Callable[[jax.Array, jax.Array, Any], jax.Array],
    positive: Any,
    negative: Any,
    scale: float,
    levels: tuple[float, float] | None = None,
) -> Velocity:
    """A function (x, sigma) -> velocity for `solver.sample`, guided away from the negative condition.

    Every expert gets a function of its own, so scales may differ (HoloCine: 5 for both; Wan2.2: 4 for high noise, 3 for
    low). The two forward passes come one after the other, as the negative one sees its text without windows.
    At scale 1 there is only the positive pass.

    Args:
        velocity: (x, sigma, condition) -> velocity.
        positive, negative: conditions.
        scale: strength of guidance.
        levels: (first, last), the noise levels between which guidance acts, both included (arXiv 2404.07724); at others
            there is only the positive pass. None acts at all.
    """
    if scale == 1:
        return lambda x, sigma: velocity(x, sigma, positive)

    def everywhere(x, sigma):
        return guide(velocity(x, sigma, positive), velocity(x, sigma, negative), scale)

    if levels is None:
        return everywhere
    first, last = levels

    def between(x, sigma):
        ahead = velocity(x, sigma, positive)
        inside = (sigma <= first) & (sigma >= last)
        # Only the branch that is taken runs.
        return jax.lax.cond(inside, lambda: guide(ahead, velocity(x, sigma, negative), scale), lambda: ahead)

    return between
