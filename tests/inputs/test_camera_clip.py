"""Frames for CameraCLIP against Pillow's filter, with which CLIP's own preparation reduces pictures."""

import dataclasses

import numpy as np
import pytest
import small_models
from PIL import Image

from shotverse_jax.inputs.camera_clip import prepare, spread
from shotverse_jax.inputs.clip import MEAN, STD


@pytest.mark.parametrize(("fit", "size", "crop"), [("crop", (25, 16), (4, 0)), ("stretch", (16, 16), (0, 0))])
def test_frames_are_those_of_pillow(fit, size, crop):
    config = dataclasses.replace(small_models.camera_clip_config(), fit=fit)
    frames = np.random.default_rng(0).integers(0, 256, (1, 2, 31, 49, 3), np.uint8)
    ours = np.asarray(prepare(config, frames))[0] * STD + MEAN
    (left, top), side = crop, config.vision.image_size
    for frame, mine in zip(frames[0], ours, strict=True):
        theirs = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC)) / 255
        # Pillow rounds and clips to 8 bits after each of its two passes.
        np.testing.assert_allclose(mine, theirs[top : top + side, left : left + side], atol=3 / 255)
    np.testing.assert_allclose(prepare(config, np.float32(frames / 255)), prepare(config, frames), atol=1e-5)


def test_frames_are_spread_over_a_clip():
    assert (
        spread(9, 3).tolist() == [0, 4, 8] and spread(2, 4).tolist() == [0, 0, 1, 1] and spread(1, 2).tolist() == [0, 0]
    )
