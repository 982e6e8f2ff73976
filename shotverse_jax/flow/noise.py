"""The Gaussian noise that a flow starts from; the frames of a film may have a part of it in common."""

import jax
import jax.numpy as jnp


def film_noise(key: jax.Array, shape: tuple[int, ...], shared: float = 0.0) -> jax.Array:
    """Standard normal noise [..., T, H, W, C], float32; any two frames of a film have the correlation `shared`.

    shared: 0, the default, draws every frame by itself, as Wan does. More is PYoCo's mixed noise (arXiv 2305.10474
        §4.1): that part of the variance is one draw for all frames, so that what the noise decides stays from frame to
        frame.

    Raises:
        ValueError: shared outside [0, 1).
    """
    if not 0 <= shared < 1:
        raise ValueError(f"the share of noise that frames have in common lies in [0, 1), got {shared}")
    if shared == 0:
        return jax.random.normal(key, shape)
    own_key, common_key = jax.random.split(key)
    common = jax.random.normal(common_key, (*shape[:-4], 1, *shape[-3:]))
    return jnp.sqrt(1 - shared) * jax.random.normal(own_key, shape) + jnp.sqrt(shared) * common
