"""Rotary position embeddings (RoPE, arXiv 2104.09864): tables of angles from positions, and the rotations they drive.

A table is (cos, sin) of the angles of every token, float32, and is computed once for all blocks and heads. Beside the
legend's axes: F pairs of channels of a head (H / 2), 3 the rows T, H, W of Qwen3-VL's positions. T are tokens.
"""

import jax
import jax.numpy as jnp
import numpy as np


def mrope_axes(sections: tuple[int, int, int]) -> np.ndarray:
    """The row of positions (0 time, 1 height, 2 width) that drives each pair of channels, int [F].

    Qwen3-VL's interleaved M-RoPE: pairs belong to T, H, W, T, H, W, ... until H and W have their `sections`, and the
    rest belongs to T (transformers Qwen3VLTextRotaryEmbedding.apply_interleaved_mrope).
    """
    axes = np.zeros(sum(sections), np.int32)
    for row in (1, 2):
        axes[row : 3 * sections[row] : 3] = row
    return axes


def mrope_table(positions_3BT: jax.Array, sections: tuple[int, int, int], theta: float) -> tuple[jax.Array, jax.Array]:
    """Qwen3-VL's M-RoPE: cos and sin, each [B, T, 1, F], for `rotate_halves`; the head width is 2 * sum(sections).

    positions_3BT: time, height and width of every token; text has three equal rows, which is one-dimensional RoPE.
    sections: how many pairs of channels each row drives. theta: base of the frequencies.
    """
    half = sum(sections)
    inverse_frequency = 1.0 / theta ** (jnp.arange(half, dtype=jnp.float32) / half)
    chosen_BTF = jnp.moveaxis(positions_3BT, 0, -1)[..., mrope_axes(sections)]
    angle_BT1F = (chosen_BTF.astype(jnp.float32) * inverse_frequency)[:, :, None]
    return jnp.cos(angle_BT1F), jnp.sin(angle_BT1F)


def rotate_halves(x_BTNH: jax.Array, table: tuple[jax.Array, jax.Array]) -> jax.Array:
    """x with the channel pairs (j, j + H/2) of every head turned by the table's angles, in the dtype of x."""
    cos, sin = table
    low, high = jnp.split(x_BTNH.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([low * cos - high * sin, high * cos + low * sin], axis=-1).astype(x_BTNH.dtype)


def rotate_halves_by_axis(x_BTNH: jax.Array, table: tuple[jax.Array, jax.Array]) -> jax.Array:
    """x with both halves of every head turned by themselves, as `rotate_halves` does; in the dtype of x.

    Of a table with two axes (`image_table`) the first half of a head, channels 0 to H/2, turns by the row, its pairs
    being (j, j + H/4), the second half by the column.
    """
    cos, sin = (part.reshape(*part.shape[:-1], 2, -1) for part in table)  # [B, T, 1, axis, pairs of the axis]
    halves = x_BTNH.reshape(*x_BTNH.shape[:-1], 2, -1)
    return rotate_halves(halves, (cos, sin)).reshape(x_BTNH.shape)


def image_table(row_BT, column_BT, head_dim: int, theta: float = 10000.0) -> tuple[jax.Array, jax.Array]:
    """RoPE of pictures: cos and sin, each [B, T, 1, F], of patches at (row, column).

    Half of the pairs turn by the row, half by the column: for `rotate_halves` as transformers'
    Qwen3VLVisionRotaryEmbedding does, for `rotate_halves_by_axis` as Pi3 does (RoPE2D).

    Raises:
        ValueError: head_dim is no multiple of 4.
    """
    return _axial_table((row_BT, column_BT), (head_dim // 2, head_dim - head_dim // 2), theta)


def wan3d_table(frame_BT, row_BT, column_BT, head_dim: int, theta: float = 10000.0) -> tuple[jax.Array, jax.Array]:
    """Wan's 3D RoPE: cos and sin, each [B, T, 1, F], of video tokens at (frame, row, column), for `rotate_pairs`.

    Rows have 2 (H // 6) of a head's H channels, columns as many, frames the rest, and frames come first. Of d channels
    pair k < d / 2 turns by position * theta^(-2k / d) (Wan `wan/modules/model.py`, rope_params).

    Raises:
        ValueError: an odd head_dim.
    """
    spatial = 2 * (head_dim // 6)
    return _axial_table((frame_BT, row_BT, column_BT), (head_dim - 2 * spatial, spatial, spatial), theta)


def shotverse4d_table(
    shot_BT, frame_BT, row_BT, column_BT, head_dim: int, theta: float = 10000.0
) -> tuple[jax.Array, jax.Array]:
    """ShotVerse's 4D RoPE (§3.2, Algorithm 1): cos and sin, each [B, T, 1, F], for `rotate_pairs`.

    The channels that frames have in `wan3d_table` are halved: the first half turns by the number of the shot, the same
    for all its frames, the second by the number of the frame, which counts through the whole film. Rows and columns
    keep theirs.

    Raises:
        ValueError: a head that cannot be split that way.
    """
    spatial = 2 * (head_dim // 6)
    temporal = (head_dim - 2 * spatial) // 2
    return _axial_table((shot_BT, frame_BT, row_BT, column_BT), (temporal, temporal, spatial, spatial), theta)


def _axial_table(positions, sizes, theta):
    """(cos, sin): each of the positions, arrays that broadcast, drives its own `sizes` channels, in this order."""
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
    """x with the channel pairs (2k, 2k + 1) of every head turned by the table's angles, in the dtype of x."""
    cos, sin = table
    pairs = x_BTNH.astype(jnp.float32).reshape(*x_BTNH.shape[:-1], -1, 2)
    even, odd = pairs[..., 0], pairs[..., 1]
    turned = jnp.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1)
    return turned.reshape(x_BTNH.shape).astype(x_BTNH.dtype)
