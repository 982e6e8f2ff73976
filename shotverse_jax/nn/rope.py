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


def image_table(row_BT, column_BT, head_dim: int, theta: float = 10000.0) -> tuple[jax.Array, jax.Array]:
    """cos and sin, each [B, T, 1, H/2], of patches at (row, column), for `rotate_halves`.

    Half of the pairs turn by the row, half by the column, as in transformers' Qwen3VLVisionRotaryEmbedding.
    Raises ValueError when a head cannot be split that way.
    """
    return _axial_table((row_BT, column_BT), (head_dim // 2, head_dim - head_dim // 2), theta)


def wan3d_table(frame_BT, row_BT, column_BT, head_dim: int, theta: float = 10000.0) -> tuple[jax.Array, jax.Array]:
    """cos and sin, each [B, T, 1, H/2], of video tokens at (frame, row, column) positions, as in Wan.

    The head's H channels are split into 2 (H // 6) for rows, as many for columns, and the rest, first, for frames; a
    part of d channels turns by position * theta^(-2k / d), k < d / 2. For `rotate_pairs`.
    Raises ValueError for an odd head_dim.
    """
    spatial = 2 * (head_dim // 6)
    return _axial_table((frame_BT, row_BT, column_BT), (head_dim - 2 * spatial, spatial, spatial), theta)


def shotverse4d_table(
    shot_BT, frame_BT, row_BT, column_BT, head_dim: int, theta: float = 10000.0
) -> tuple[jax.Array, jax.Array]:
    """The same with positions (shot, frame, row, column): shots and frames halve what frames have in `wan3d_table`.

    Frames count through the whole film and all frames of a shot share its rotation (ShotVerse §3.2, Algorithm 1).
    Raises ValueError when a head cannot be split that way.
    """
    spatial = 2 * (head_dim // 6)
    temporal = (head_dim - 2 * spatial) // 2
    return _axial_table((shot_BT, frame_BT, row_BT, column_BT), (temporal, temporal, spatial, spatial), theta)


def _axial_table(positions, sizes, theta):
    if any(size % 2 for size in sizes):
        raise ValueError(f"rotary axes of {sizes} channels are not made of pairs; choose another head width")
    # The frequencies are constants and rounded once; a float32 power would be off by some 1e-6 of them.
    angles = [
        jnp.asarray(position, jnp.float32)[..., None] * (theta ** (-np.arange(0, d, 2) / d)).astype(np.float32)
        for position, d in zip(positions, sizes, strict=True)
    ]
    tokens = jnp.broadcast_shapes(*(angle.shape[:-1] for angle in angles))
    angle_BT1F = jnp.concatenate([jnp.broadcast_to(a, (*tokens, a.shape[-1])) for a in angles], axis=-1)[..., None, :]
    return jnp.cos(angle_BT1F), jnp.sin(angle_BT1F)


def rotate_pairs(x_BTNH: jax.Array, table: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Rotate the pairs (2k, 2k + 1) of every head by the table's angles; the result has the dtype of x."""
    cos, sin = table
    pairs = x_BTNH.astype(jnp.float32).reshape(*x_BTNH.shape[:-1], -1, 2)
    even, odd = pairs[..., 0], pairs[..., 1]
    turned = jnp.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1)
    return turned.reshape(x_BTNH.shape).astype(x_BTNH.dtype)
