"""ShotVerse's camera encoder (§3.2 of the paper): how the video transformer is given the camera of each latent frame.

Every block has a linear layer of its own, which reads a 3x4 camera-to-world matrix, row by row, and adds its output to
the tokens of that frame before self-attention. It starts at zero, so that a video model without cameras can be trained
on. Its parameters are `blocks/camera/{kernel, bias}` in the transformer's tree, stacked over blocks.

Axes beside the legend's: X tokens of the video, P the twelve numbers of a camera.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from shotverse_jax.nn.linear import Linear

CAMERA_SIZE = 12  # numbers of a 3x4 camera-to-world matrix, row by row


class CameraEncoder(Linear):
    """camera_BXP [B, X, 12] -> [B, X, features], what a block adds to its tokens; zero at initialisation."""

    use_bias: bool = True
    kernel_init: Callable = nn.initializers.zeros


def camera_of_tokens(camera_BTP: jax.Array, tokens: int, dtype: Any) -> jax.Array:
    """The camera of every token, [B, T * tokens, 12] in `dtype`, from one camera for each latent frame of `tokens`.

    Cameras are repeated before they are encoded, not after: the gradient of an encoder over frames would first sum over
    each frame's tokens, which on a mesh that splits tokens means gathering them from all devices.
    """
    return jnp.repeat(camera_BTP.astype(dtype), tokens, axis=1)


def add_camera(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of an expert without camera encoders, with ones that change nothing yet (zeros, float32)."""
    # `modulation` is [layers, 6, width] in every expert, so the sizes need no config.
    layers, width = params["blocks"]["modulation"].shape[::2]
    camera = {"kernel": jnp.zeros((layers, CAMERA_SIZE, width)), "bias": jnp.zeros((layers, width))}
    return {**params, "blocks": {**params["blocks"], "camera": camera}}


def split_camera(params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(parameters without the camera encoders, the encoders alone); the second is {} where there are none."""
    leaves = flatten_dict(params)
    camera = {path: leaf for path, leaf in leaves.items() if "camera" in path}
    rest = {path: leaf for path, leaf in leaves.items() if path not in camera}
    return unflatten_dict(rest), unflatten_dict(camera)
