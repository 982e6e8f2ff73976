"""Frames as CameraCLIP reads them: squares, normalised as CLIP's. It runs on a device and has a gradient."""

import jax
import jax.numpy as jnp
import numpy as np

from shotverse_jax.config import CameraCLIPConfig
from shotverse_jax.inputs.clip import MEAN, STD


def prepare(config: CameraCLIPConfig, frames_BTHWC: jax.Array) -> jax.Array:
    """Returns clips as `CameraCLIP.encode_video` takes them, [B, T, size, size, 3] float32.

    Frames are resized by a bicubic filter as wide as the reduction (that of CLIP's own preparation). With "crop" the
    shorter side gets the tower's size and the middle of the longer one is kept, with "stretch" both sides get it.

    Args:
        config: the network.
        frames_BTHWC: any size; uint8, or values between 0 and 1.
    """
    x = frames_BTHWC / 255.0 if frames_BTHWC.dtype == jnp.uint8 else frames_BTHWC
    x, size = x.astype(jnp.float32), config.vision.image_size
    height, width = x.shape[2:4]
    if config.fit == "crop":
        short = min(height, width)
        height, width = (side * size // short for side in (height, width))
    else:
        height = width = size
    x = jax.image.resize(x, (*x.shape[:2], height, width, 3), "cubic", antialias=True)
    top, left = (height - size) // 2, (width - size) // 2
    x = jnp.clip(x[:, :, top : top + size, left : left + size], 0.0, 1.0)
    return (x - MEAN) / STD


def spread(frames: int, count: int) -> np.ndarray:
    """Returns the numbers [T] of `count` frames spread evenly over a clip of `frames`; a short clip's occur again."""
    return np.linspace(0, frames - 1, count).round().astype(int)
