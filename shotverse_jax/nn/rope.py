"""Rotary position tables, as pure functions of positions, and the rotation they drive; float32 throughout."""

import jax
import jax.numpy as jnp
import numpy as np


def mrope_axes(sections: tuple[int, int, int]) -> np.ndarray:
    """Which position row (0 T, 1 H, 2 W) drives each frequency of Qwen3-VL's interleaved M-RoPE, int [H/2].

    Frequencies run T, H, W, T, H, W, ... until H and W have their share, then the rest is T
    (transformers Qwen3VLTextRotaryEmbedding.apply_interleaved_mrope).
    """
    axes = np.zeros(sum(sections), np.int32)
    for row in (1, 2):
        axes[row : 3 * sections[row] : 3] = row
    return axes


def mrope_table(positions_3BT: jax.Array, sections: tuple[int, int, int], theta: float) -> tuple[jax.Array, jax.Array]:
    """cos and sin, each [B, T, 1, H/2], of positions (T, H, W rows); head width H = 2 * sum(sections).

    With three equal rows this is ordinary one-dimensional RoPE.
    """
    half = sum(sections)
    inverse_frequency = 1.0 / theta ** (jnp.arange(half, dtype=jnp.float32) / half)
    chosen_BTF = jnp.moveaxis(positions_3BT, 0, -1)[..., mrope_axes(sections)]
    angle_BT1F = (chosen_BTF.astype(jnp.float32) * inverse_frequency)[:, :, None]
    return jnp.cos(angle_BT1F), jnp.sin(angle_BT1F)


def rotate_halves(x_BTNH: jax.Array, table: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Rotate the pairs (j, j + H/2) of every head by the table's angles; the result has the dtype of x."""
    cos, sin = table
    low, high = jnp.split(x_BTNH.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([low * cos - high * sin, high * cos + low * sin], axis=-1).astype(x_BTNH.dtype)
