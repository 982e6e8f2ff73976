"""Frames as a generator may make them, for networks that are trained on clean frames and shall read made ones."""

import jax
import jax.numpy as jnp


def worn(frames_BHWC: jax.Array, key: jax.Array, blur: int, noise: float, tint: float) -> jax.Array:
    """Every frame, or every clip, is blurred, tinted and grained by random amounts of its own.

    Args:
        frames_BHWC: values in [-1, 1]; or clips [B, T, H, W, 3], whose frames have the same amounts.
        key: decides the amounts and the grain.
        blur: the largest number of passes of a 3x3 binomial filter.
        noise: the largest standard deviation of the grain.
        tint: the largest change of gain and of offset of a channel.
    """
    b_key, g_key, o_key, s_key, n_key = jax.random.split(key, 5)
    each = (len(frames_BHWC), *[1] * (frames_BHWC.ndim - 1))
    passes = jax.random.uniform(b_key, each, maxval=float(blur))
    x = frames_BHWC
    for done in range(blur):
        # The number of passes is not whole: the last pass is mixed in by the rest, so that any strength can come.
        x = x + jnp.clip(passes - done, 0, 1) * (_binomial(x) - x)
    x = x * (1 + tint * jax.random.uniform(g_key, (*each[:-1], 3), minval=-1.0))
    x = x + tint * jax.random.uniform(o_key, (*each[:-1], 3), minval=-1.0)
    grain = noise * jax.random.uniform(s_key, each)
    return jnp.clip(x + grain * jax.random.normal(n_key, x.shape), -1, 1)


def _binomial(x: jax.Array) -> jax.Array:
    for axis in (x.ndim - 3, x.ndim - 2):
        pad = [(1, 1) if i == axis else (0, 0) for i in range(x.ndim)]
        y, length = jnp.pad(x, pad, mode="edge"), x.shape[axis]
        before, after = (jax.lax.slice_in_dim(y, start, start + length, axis=axis) for start in (0, 2))
        x = (before + 2 * x + after) / 4
    return x
