"""Frames for Pi3, prepared on the host: pictures of any size → pictures of one size, in whole patches."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from shotverse_jax.config import Pi3Config


def fit_size(height: int, width: int, config: Pi3Config) -> tuple[int, int]:
    """Returns (height, width) that frames of a size are resized to: whole patches, nearly `config.pixels` in all.

    Smaller frames become larger. Proportions are kept as well as whole patches allow.

    Source: Pi3's load_images_as_tensor (pi3/utils/basic.py).

    Raises:
        ValueError: the frame is so narrow that its shorter side would be less than one patch.
    """
    patch = config.patch_size
    scale = math.sqrt(config.pixels / (height * width))
    if min(height, width) * scale < patch:
        raise ValueError(f"a frame of {height} x {width} pixels is too narrow for Pi3; crop it, or give another")
    high, wide = round(height * scale / patch), round(width * scale / patch)
    while high * wide * patch**2 > config.pixels:
        # The side that is too long for the proportions of the frame gives way.
        if wide * height > high * width:
            wide -= 1
        else:
            high -= 1
    return high * patch, wide * patch


def prepare(frames: Sequence[np.ndarray], config: Pi3Config) -> np.ndarray:
    """Returns frames [T, H, W, 3] uint8 of one size, that of the first by `fit_size` (Lanczos).

    frames: uint8 RGB pictures [height, width, 3]; those of other proportions than the first are stretched to its.

    Raises:
        ValueError: no frame, a picture of another form, or too narrow a first frame.
    """
    if not len(frames):
        raise ValueError("Pi3 reads one frame at least, got none")
    for number, frame in enumerate(frames):
        if frame.ndim != 3 or frame.shape[-1] != 3 or frame.dtype != np.uint8 or not frame.size:
            raise ValueError(
                f"Pi3 reads uint8 RGB pictures [height, width, 3]; frame {number} is {frame.dtype} {list(frame.shape)}"
            )
    size = fit_size(*frames[0].shape[:2], config)
    return np.stack([_resized(frame, size) for frame in frames])


def _resized(frame_HWC, size):
    if frame_HWC.shape[:2] == size:
        return frame_HWC
    return np.asarray(Image.fromarray(frame_HWC).resize(size[::-1], Image.Resampling.LANCZOS))
