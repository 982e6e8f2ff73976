"""TransNetV2 (arXiv 2008.04838): for every frame, whether a cut follows it and whether it is in a transition.

Frames pass through stacks of dilated convolutions over time. Beside their features, two tables say how similar each
frame is to its neighbours: by learned features, and by colours.

Axes: frames are [B, T, H, W, C]; N the neighbours that a frame is compared with.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from shotverse_jax.config import Execution, TransNetV2Config
from shotverse_jax.nn.conv import KERNEL_INIT, convolve_frames
from shotverse_jax.nn.linear import Linear

ROWS, COLUMNS = 27, 48
"""The size of the frames, whatever the shape of the picture."""
DILATIONS = (1, 2, 4, 8)
"""Frames between the three taps of a convolution over time."""
LEVELS = 8
"""Levels of each colour in the histogram of a frame."""


class TransNetV2(nn.Module):
    """Log-odds of cuts and transitions. Norms have the averages of the training, which the checkpoint holds."""

    config: TransNetV2Config
    execution: Execution = Execution()

    @nn.compact
    def __call__(self, frames_BTHWC: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(cut_BT, change_BT), float32 log-odds, of frames [B, T, 27, 48, 3] uint8.

        cut is high at the last frame of a shot, one frame for each transition; change at all frames of a transition.
        """
        config = self.config
        x = frames_BTHWC.astype(self.execution.dtype) / 255
        means = []
        for number in range(config.stacks):
            x = _Stack(config.filters * 2**number, config.blocks, name=f"stack_{number}")(x)
            means.append(x.mean((2, 3)))
        x = x.reshape(*x.shape[:2], -1)
        near = {"neighbours": config.neighbours, "features": config.features}
        features_BTD = Linear(config.features, use_bias=True, name="project")(jnp.concatenate(means, axis=-1))
        alike = _Similarity(**near, name="by_features")(_unit(features_BTD))
        colors = _Similarity(**near, name="by_colors")(_unit(_histograms(frames_BTHWC).astype(x.dtype)))
        x = jnp.concatenate([colors, alike, x], axis=-1)
        x = nn.relu(Linear(config.hidden_size, use_bias=True, name="hidden")(x))
        heads = (Linear(1, use_bias=True, name=name)(x) for name in ("cut_head", "change_head"))
        return tuple(logit_BT1[..., 0].astype(jnp.float32) for logit_BT1 in heads)


class _Stack(nn.Module):
    """Blocks of dilated convolutions, the first of which is added to the last; half the size afterwards."""

    filters: int
    blocks: int

    @nn.compact
    def __call__(self, x):
        first = x = nn.relu(_Block(self.filters, name="block_0")(x))
        for number in range(1, self.blocks):
            x = nn.relu(_Block(self.filters, name=f"block_{number}")(x))
        return nn.avg_pool((x + first).reshape(-1, *x.shape[2:]), (2, 2), (2, 2)).reshape(*x.shape[:2], *_half(x))


def _half(x):
    return x.shape[2] // 2, x.shape[3] // 2, x.shape[4]


class _Block(nn.Module):
    """Convolutions over space and then over time, with four dilations side by side, and a norm."""

    filters: int

    @nn.compact
    def __call__(self, x):
        branches = [_Dilated(self.filters, d, name=f"dilated_{d}") for d in DILATIONS]
        # One convolution makes the inputs of all branches: on a CPU it is faster than four.
        kernel = jnp.concatenate([branch.kernel(x.shape[-1]) for branch in branches], axis=-1)
        parts = jnp.split(convolve_frames(x, kernel.astype(x.dtype)), len(branches), axis=-1)
        x = jnp.concatenate([branch(part) for branch, part in zip(branches, parts, strict=True)], axis=-1)
        return _Norm(name="norm")(x)


class _Dilated(nn.Module):
    """A convolution of three frames that are `dilation` apart, and the kernel over space of what comes into it."""

    filters: int
    dilation: int

    def setup(self):
        self.time_conv = _Kernel()
        self.conv = _Kernel()

    def kernel(self, channels):
        return self.conv((3, 3, channels, 2 * self.filters))

    def __call__(self, x):
        taps = self.time_conv((3, 2 * self.filters, self.filters)).astype(x.dtype)
        frames = x.shape[1]
        padded = jnp.pad(x, ((0, 0), (self.dilation,) * 2, (0, 0), (0, 0), (0, 0)))
        return sum(padded[:, k * self.dilation : k * self.dilation + frames] @ taps[k] for k in range(3))


class _Kernel(nn.Module):
    @nn.compact
    def __call__(self, shape):
        return self.param("kernel", KERNEL_INIT, shape)


class _Norm(nn.Module):
    """Batch norm by the averages of the training."""

    @nn.compact
    def __call__(self, x):
        width = (x.shape[-1],)
        scale, variance = (self.param(name, nn.initializers.ones, width) for name in ("scale", "variance"))
        bias, mean = (self.param(name, nn.initializers.zeros, width) for name in ("bias", "mean"))
        gain = scale * jax.lax.rsqrt(variance + 1e-3)
        return x * gain.astype(x.dtype) + (bias - mean * gain).astype(x.dtype)


class _Similarity(nn.Module):
    """Features of how similar each frame is to the frames around it; those outside the window count as 0."""

    neighbours: int
    features: int

    @nn.compact
    def __call__(self, unit_BTD):
        table_BTT = jnp.einsum("btd,bsd->bts", unit_BTD, unit_BTD)
        reach, frames = self.neighbours // 2, unit_BTD.shape[1]
        padded = jnp.pad(table_BTT, ((0, 0), (0, 0), (reach, reach)))
        # Neighbour n of frame t is frame t + n - reach, which is column t + n of the padded table.
        place_TN = jnp.arange(frames)[:, None] + jnp.arange(self.neighbours)
        near_BTN = jnp.take_along_axis(padded, place_TN[None], axis=2)
        return nn.relu(Linear(self.features, use_bias=True, name="out")(near_BTN))


def _unit(x):
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def _histograms(frames_BTHWC):
    """How many pixels of each frame have each of 8x8x8 colours, [B, T, 512] int32."""
    level = frames_BTHWC.astype(jnp.int32) // (256 // LEVELS)
    color = level @ jnp.array([LEVELS**2, LEVELS, 1])
    color_NP = color.reshape(-1, color.shape[2] * color.shape[3])
    counts = jnp.zeros((len(color_NP), LEVELS**3), jnp.int32)
    counts = counts.at[jnp.arange(len(color_NP))[:, None], color_NP].add(1)
    return counts.reshape(*color.shape[:2], -1)


def example(config: TransNetV2Config) -> dict:
    """The smallest arguments of `TransNetV2.__call__` that fix the parameters, as shapes.

    One frame.
    """
    return {"frames_BTHWC": jax.ShapeDtypeStruct((1, 1, ROWS, COLUMNS, 3), jnp.uint8)}
