"""Pictures of latent frames inside the sampling loop, which a network scores: by a VAE, or cheap ones by a matrix.

Both are trees of arrays that can be called: (latents_BTHWC, index_BM of latent frames) -> pictures [B, M, H, W, 3] of
these frames, from 0 to 1 (`cinematic.guidance.Pictures`).
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from shotverse_jax.infer.cinematographer import Cinematographer
from shotverse_jax.models.wan_vae import WanVAE
from shotverse_jax.models.wan_vae_stream import decode_chunked


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LinearPictures:
    """Pictures of latents by one matrix, a pixel for each latent: nearly free, and blurred.

    matrix_C3, bias_3: of `fit_pictures`.
    """

    matrix_C3: Any
    bias_3: Any

    def __call__(self, latents_BTHWC: jax.Array, index_BM: jax.Array) -> jax.Array:
        """As `Pictures`."""
        chosen = jnp.take_along_axis(latents_BTHWC, index_BM[..., None, None, None], axis=1)
        return jnp.clip(chosen @ self.matrix_C3 + self.bias_3, 0.0, 1.0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class VaePictures:
    """Pictures by a VAE: exact. The film is decoded latent frame by latent frame, so that memory beside the film itself
    is that of a few frames."""

    params: Any
    network: WanVAE = dataclasses.field(metadata={"static": True})

    @classmethod
    def of(cls, cinematographer: Cinematographer) -> "VaePictures":
        """Those of a controller's own VAE."""
        design = cinematographer.design
        return cls(cinematographer.vae, WanVAE(design.vae_config, cinematographer.vae_execution))

    def __call__(self, latents_BTHWC: jax.Array, index_BM: jax.Array) -> jax.Array:
        """As `Pictures`."""
        video_BTHW3 = decode_chunked(self.network, {"params": self.params}, latents_BTHWC)
        stride = (video_BTHW3.shape[1] - 1) // max(latents_BTHWC.shape[1] - 1, 1)
        return (jnp.take_along_axis(video_BTHW3, stride * index_BM[..., None, None, None], axis=1) + 1) / 2


def fit_pictures(latents_BTHWC: np.ndarray, video_BTHW3: np.ndarray) -> LinearPictures:
    """Returns the matrix that is nearest to a VAE's decoder in the mean of squares.

    Args:
        latents_BTHWC: of videos, as the VAE encodes them.
        video_BTHW3: the videos, from 0 to 1; frame 0 belongs to latent 0, and the frames go on evenly.
    """
    latents = np.asarray(latents_BTHWC, np.float64)
    batch, times, height, width, channels = latents.shape
    frames = np.asarray(video_BTHW3, np.float64)
    frames = frames[:, np.linspace(0, frames.shape[1] - 1, times).round().astype(int)]
    cells = frames.reshape(batch, times, height, frames.shape[2] // height, width, frames.shape[3] // width, 3)
    rows = np.concatenate([latents.reshape(-1, channels), np.ones((batch * times * height * width, 1))], axis=1)
    found, *_ = np.linalg.lstsq(rows, cells.mean((3, 5)).reshape(-1, 3), rcond=None)
    return LinearPictures(np.float32(found[:-1]), np.float32(found[-1]))
