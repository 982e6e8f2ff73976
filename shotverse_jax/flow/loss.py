"""The training objective of rectified flow (ShotVerse §3.2 Eq. 5), in float32 whatever the dtype of its inputs is."""

import jax
import jax.numpy as jnp
import numpy as np

from shotverse_jax.flow.schedule import TIMESTEPS, sigmas


def interpolate(clean: jax.Array, noise: jax.Array, sigma: jax.Array) -> jax.Array:
    """(1 - sigma) clean + sigma noise, float32. sigma: noise levels, whose axes are the first ones of `clean` ([B])."""
    clean, noise = jnp.asarray(clean, jnp.float32), jnp.asarray(noise, jnp.float32)
    sigma = _leading(sigma, clean)
    return (1 - sigma) * clean + sigma * noise


def velocity_target(clean: jax.Array, noise: jax.Array) -> jax.Array:
    """The velocity that a network shall predict, d(interpolate)/d(sigma) = noise - clean, float32."""
    return jnp.asarray(noise, jnp.float32) - jnp.asarray(clean, jnp.float32)


def flow_loss(
    predicted: jax.Array,
    clean: jax.Array,
    noise: jax.Array,
    weight: jax.Array | float = 1.0,
    mask: jax.Array | None = None,
) -> jax.Array:
    """The mean of weight (predicted - velocity_target)^2, a float32 scalar.

    weight: a number, or an array over the first axes ([B], one for each sample); default 1.
    mask: how much each entry counts in the mean, of a shape that broadcasts to the arrays; default: all count alike.
    """
    error = jnp.square(jnp.asarray(predicted, jnp.float32) - velocity_target(clean, noise))
    error = _leading(weight, error) * error
    if mask is None:
        return jnp.mean(error)
    mask = jnp.broadcast_to(jnp.asarray(mask, jnp.float32), error.shape)
    return jnp.sum(mask * error) / jnp.maximum(jnp.sum(mask), 1.0)


def bell_weight(sigma: jax.Array, shift: float) -> jax.Array:
    """DiffSynth's weight of a noise level in training (flow_match.py): a bell around sigma = 0.5.

    It is exp(-2 (sigma - 1/2)^2) minus its minimum over the 1000-step grid of `shift`, divided by the mean of that over
    the grid. With shift 5 it is 0 at sigma = 1 and 0.34 in the mean over the high-noise expert's levels, which thus
    learns at a third of the rate. The paper's loss has no weight.
    """
    grid = _bell(sigmas(TIMESTEPS, shift)[:-1].astype(np.float64))
    return (_bell(jnp.asarray(sigma, jnp.float32)) - grid.min()) / (grid.mean() - grid.min())


def _bell(sigma):
    # By NumPy for the grid, whose minimum and mean are constants, and by JAX for sigma, which may be traced.
    exp = np.exp if isinstance(sigma, np.ndarray) else jnp.exp
    return exp(-2 * (sigma - 0.5) ** 2)


def _leading(value, like):
    """`value` with axes of size 1 appended, so that it broadcasts over the last axes of `like`."""
    value = jnp.asarray(value, jnp.float32)
    return value.reshape(*value.shape, *[1] * (like.ndim - value.ndim))
