"""The Wan VAE on long clips and large frames: chunk by chunk in time, tile by tile in space.

Memory does not grow with the length of the clip: the network keeps the frames that it needs of the past in its `cache`
collection, which is handed from chunk to chunk. Axes as in `wan_vae.py`.
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from shotverse_jax.models.wan_vae import WanVAE, space_factor, time_factor

# ---------------------------------------------------------------------------------------------------- in chunks


@functools.partial(jax.jit, static_argnames=("vae", "method", "static"))
def advance(
    vae: WanVAE, variables: dict, cache: dict, x_BTHWC: jax.Array, method: str, static: tuple = ()
) -> tuple[jax.Array, dict]:
    """(vae.method(x) of the next chunk of a clip, the cache after it). An empty `cache` starts a clip.

    static: further arguments of the method, as pairs (name, value).
    """
    given = variables | ({"cache": cache} if cache else {})
    y_BTHWC, state = vae.apply(given, x_BTHWC, method=method, mutable=["cache"], **dict(static))
    return y_BTHWC, state["cache"]


def encode_chunked(vae: WanVAE, variables: dict, video_BTHWC: jax.Array) -> jax.Array:
    """`WanVAE.encode` by a scan over time: the first frame, then groups of time_factor frames.

    Memory beside video and latents does not grow with T. The result equals the whole clip's up to rounding.
    Raises ValueError as `WanVAE.moments`.
    """
    step, frames = time_factor(vae.config), video_BTHWC.shape[1]
    if (frames - 1) % step:
        raise ValueError(f"WanVAE: expected T = {step} k + 1 frames, got {frames}; cut or repeat frames at the end")
    return _scan_chunks(vae, variables, video_BTHWC, step, "encode", ())


def decode_chunked(vae: WanVAE, variables: dict, latents_BTHWC: jax.Array, clip: bool = True) -> jax.Array:
    """`WanVAE.decode` by a scan over single latent frames; memory beside latents and video does not grow with T.

    clip: whether the video is clipped to [-1, 1]; default yes.
    """
    return _scan_chunks(vae, variables, latents_BTHWC, 1, "decode", (("clip", clip),))


def _scan_chunks(vae, variables, x_BTHWC, step, method, static):
    # The first frame has no past and is another program; all chunks after it have one shape, and one program.
    first_BTHWC, cache = advance(vae, variables, {}, x_BTHWC[:, :1], method, static)
    batch, frames, *rest = x_BTHWC[:, 1:].shape
    if not frames:
        return first_BTHWC
    chunks = jnp.moveaxis(x_BTHWC[:, 1:].reshape(batch, frames // step, step, *rest), 1, 0)

    def body(cache, chunk_BTHWC):
        y_BTHWC, cache = advance(vae, variables, cache, chunk_BTHWC, method, static)
        return cache, y_BTHWC

    _, chunks = jax.lax.scan(body, cache, chunks)
    others_BTHWC = jnp.moveaxis(chunks, 0, 1).reshape(batch, -1, *first_BTHWC.shape[2:])
    return jnp.concatenate([first_BTHWC, others_BTHWC], axis=1)


def decode_chunks(vae: WanVAE, variables: dict, latents_BTHWC: jax.Array, clip: bool = True) -> Iterator[jax.Array]:
    """Yields the decoded video as it comes, [B, n, H, W, 3]: n is 1, then time_factor for each further latent frame.

    Two programs are compiled, for the first latent frame and for all others. Memory does not grow with T.
    clip: whether the video is clipped to [-1, 1]; default yes.
    """
    cache = {}
    for t in range(latents_BTHWC.shape[1]):
        x_BTHWC = latents_BTHWC[:, t : t + 1]
        video_BTHWC, cache = advance(vae, variables, cache, x_BTHWC, "decode", (("clip", clip),))
        yield video_BTHWC


# ---------------------------------------------------------------------------------------------------- in tiles


def tile_starts(length: int, tile: int, stride: int) -> list[int]:
    """First positions of the tiles that cover an axis, `stride` apart; the last tile ends where the axis ends.

    Raises ValueError for a stride outside 1..tile, which would leave gaps.
    """
    if not 0 < stride <= tile:
        raise ValueError(f"tiles of {tile} latent pixels need a stride from 1 to {tile}, got {stride}")
    return [*range(0, length - tile, stride), max(length - tile, 0)]


def tile_weights(starts: list[int], tile: int, length: int) -> np.ndarray:
    """The share of each tile in each position of an axis, float32 [tiles, length]; every column sums to 1.

    Two neighbours blend linearly over their overlap.
    """
    ends = [start + tile for start in starts]
    # These are the centres of pixels, so that a tile has a weight also for the pixels at its very border.
    position = np.arange(length) + 0.5
    weights = []
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        weight = ((position > start) & (position < end)).astype(np.float64)
        if i > 0 and ends[i - 1] > start:
            weight *= np.clip((position - start) / (ends[i - 1] - start), 0, 1)
        if i + 1 < len(starts) and starts[i + 1] < end:
            weight *= np.clip((end - position) / (end - starts[i + 1]), 0, 1)
        weights.append(weight)
    # The last tile is pushed back to the end of the axis, so more than two tiles may overlap at a pixel.
    return (weights / np.sum(weights, axis=0)).astype(np.float32)


LARGEST = 64 * 112
"""Frames of more latent pixels than this (512x896 pixels of Wan's VAE) are decoded in tiles."""

TILE, TILE_STRIDE = (30, 52), (15, 26)
"""Height and width of a tile, and from one tile to the next, in latent pixels; as HoloCine's."""


def decode_tiled(
    vae: WanVAE,
    variables: dict,
    latents_BTHWC: jax.Array,
    tile: tuple[int, int] = TILE,
    stride: tuple[int, int] = TILE_STRIDE,
) -> np.ndarray:
    """Video [B, T, H, W, 3], clipped to [-1, 1], on the host: large frames tile by tile, each in chunks of time.

    The device needs memory for one tile of one latent frame. The result is not quite that of `decode`: each tile has
    borders of its own, and the attention of the middle block sees one tile.

    Args:
        tile, stride: (height, width) of a tile, and from one tile to the next, in latent pixels. Where tiles overlap
            they blend linearly.

    Raises:
        ValueError: a stride outside 1..tile.
    """
    batch, frames, *size = latents_BTHWC.shape[:4]
    space, time = space_factor(vae.config), time_factor(vae.config)
    axes = []
    for length, extent, step in zip(size, tile, stride, strict=True):
        starts, extent = tile_starts(length, extent, step), min(extent, length)
        weights = tile_weights([start * space for start in starts], extent * space, length * space)
        inside = [slice(start, start + extent) for start in starts]
        pixels = [slice(start * space, (start + extent) * space) for start in starts]
        axes.append(list(zip(inside, pixels, weights, strict=True)))
    video = np.zeros((batch, time * (frames - 1) + 1, size[0] * space, size[1] * space, 3), np.float32)
    for rows, out_rows, row_weights in axes[0]:
        for columns, out_columns, column_weights in axes[1]:
            share_HW1 = (row_weights[out_rows, None] * column_weights[out_columns])[..., None]
            start = 0
            # Clipping comes after blending: shares of clipped pixels would not sum to the pixel.
            for chunk in decode_chunks(vae, variables, latents_BTHWC[:, :, rows, columns], clip=False):
                video[:, start : start + chunk.shape[1], out_rows, out_columns] += np.asarray(chunk) * share_HW1
                start += chunk.shape[1]
    return np.clip(video, -1.0, 1.0, out=video)
