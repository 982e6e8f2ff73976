"""Wan2.1's causal video VAE (Wan `wan/modules/vae.py`), on whole clips.

Every layer that looks at the past keeps the frames it needs in the variable collection `cache` (`nn/conv.py`). Without
that collection a call starts a clip (a single frame or all of it); with it, it continues one: this is the only
difference between the whole-clip form and the chunked one of `wan_vae_stream.py`.

Axes: video is [B, T, H, W, 3] in [-1, 1], H and W pixels; latents are [B, T, H, W, C], H and W latent pixels.
"""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from shotverse_jax.config import Execution, WanVAEConfig
from shotverse_jax.nn.attention import attend
from shotverse_jax.nn.conv import KERNEL_INIT, CausalConv, Conv3D, FrameConv, remembered
from shotverse_jax.nn.linear import Linear

QUIET = -6.0  # log-variance of the latents at the start: noise as strong as they are would teach to ignore them


def space_factor(config: WanVAEConfig) -> int:
    """Pixels per latent pixel, in height and in width (Wan: 8)."""
    return 2 ** len(config.temporal)


def time_factor(config: WanVAEConfig) -> int:
    """Frames per latent frame (Wan: 4); the first latent frame holds one only, T = time_factor * (T_latent - 1) + 1."""
    return 2 ** sum(config.temporal)


# ---------------------------------------------------------------------------------------------------- layers


class ChannelNorm(nn.Module):
    """sqrt(C) x / |x| over the channels in float32, rounded to the dtype of x, then times the parameter `scale`."""

    @nn.compact
    def __call__(self, x_BTHWC):
        scale = self.param("scale", nn.initializers.ones, (x_BTHWC.shape[-1],))
        x_fp32 = x_BTHWC.astype(jnp.float32)
        # 1e-24: the original bounds the norm, not its square, by 1e-12.
        square = jnp.maximum(jnp.sum(x_fp32 * x_fp32, axis=-1, keepdims=True), 1e-24)
        normed = x_fp32 * (jax.lax.rsqrt(square) * math.sqrt(x_BTHWC.shape[-1]))
        return normed.astype(x_BTHWC.dtype) * scale.astype(x_BTHWC.dtype)


class ResBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))), with a linear shortcut where the number of channels changes.

    features: output channels. The second convolution starts at zero, so that the block starts as its shortcut:
    training then gets further in its first steps.
    """

    features: int

    @nn.compact
    def __call__(self, x_BTHWC):
        y_BTHWC = CausalConv(self.features, name="conv1")(nn.silu(ChannelNorm(name="norm1")(x_BTHWC)))
        y_BTHWC = CausalConv(self.features, zero=True, name="conv2")(nn.silu(ChannelNorm(name="norm2")(y_BTHWC)))
        if x_BTHWC.shape[-1] != self.features:
            x_BTHWC = Linear(self.features, use_bias=True, kernel_init=KERNEL_INIT, name="shortcut")(x_BTHWC)
        return x_BTHWC + y_BTHWC


class FrameAttention(nn.Module):
    """Self-attention with one head among the pixels of each frame, without positions; starts as the identity."""

    @nn.compact
    def __call__(self, x_BTHWC):
        batch, frames, height, width, channels = x_BTHWC.shape
        qkv = Linear(3 * channels, use_bias=True, kernel_init=KERNEL_INIT, name="qkv")(
            ChannelNorm(name="norm")(x_BTHWC)
        )
        # The default kernel whatever the execution says: one head is as wide as the network (384), more than the
        # fused kernels take.
        q, k, v = jnp.split(qkv.reshape(batch * frames, height * width, 1, 3 * channels), 3, axis=-1)
        mixed_BTHWC = attend(q, k, v).reshape(x_BTHWC.shape)
        return x_BTHWC + Linear(channels, use_bias=True, kernel_init=nn.initializers.zeros, name="out")(mixed_BTHWC)


class Down(nn.Module):
    """Halves height and width; with `temporal` also the number of frames.

    The first frame of a clip then stays alone. Each pair of frames after it becomes one frame, which is computed from
    the pair and from the frame before it.
    """

    temporal: bool

    @nn.compact
    def __call__(self, x_BTHWC):
        channels = x_BTHWC.shape[-1]
        # The original pads with zeros at the bottom and at the right only.
        x_BTHWC = FrameConv(channels, padding=((0, 1), (0, 1)), stride=2, name="conv")(x_BTHWC)
        if not self.temporal:
            return x_BTHWC
        # A kernel of 3 frames in strides of 2: it needs the one frame before the chunk. The clip's first frame has none
        # before it and is handed on as it is.
        past = remembered(self, x_BTHWC, 1)
        seen = x_BTHWC if past is None else jnp.concatenate([past, x_BTHWC], axis=1)
        y_BTHWC = Conv3D(channels, size=(3, 1, 1), stride=2, name="time_conv")(seen)
        return jnp.concatenate([x_BTHWC[:, :1], y_BTHWC], axis=1) if past is None else y_BTHWC


class Up(nn.Module):
    """Doubles height and width and halves the channels; with `temporal`, every frame but the clip's first is two."""

    temporal: bool

    @nn.compact
    def __call__(self, x_BTHWC):
        channels = x_BTHWC.shape[-1]
        if self.temporal:
            double = functools.partial(self._double, CausalConv(2 * channels, size=(3, 1, 1), name="time_conv"))
            if self.has_variable("cache", "time_conv"):
                x_BTHWC = double(x_BTHWC)
            else:  # the original keeps the first frame out of this convolution, and out of the second frame's past
                x_BTHWC = jnp.concatenate([x_BTHWC[:, :1], double(x_BTHWC[:, 1:])], axis=1)
        x_BTHWC = jnp.repeat(jnp.repeat(x_BTHWC, 2, axis=2), 2, axis=3)
        return FrameConv(channels // 2, name="conv")(x_BTHWC)

    @staticmethod
    def _double(conv, x_BTHWC):
        """Two frames from each: the first half of the convolution's channels, then the second."""
        batch, frames, height, width, channels = x_BTHWC.shape
        pairs = jnp.moveaxis(conv(x_BTHWC).reshape(batch, frames, height, width, 2, channels), 4, 2)
        return pairs.reshape(batch, 2 * frames, height, width, channels)


class Middle(nn.Module):
    """Residual block, attention within frames, residual block."""

    execution: Execution

    @nn.compact
    def __call__(self, x_BTHWC):
        block = _res_block(self.execution)
        x_BTHWC = block(x_BTHWC.shape[-1], name="res_0")(x_BTHWC)
        x_BTHWC = FrameAttention(name="attention")(x_BTHWC)
        return block(x_BTHWC.shape[-1], name="res_1")(x_BTHWC)


class Encoder(nn.Module):
    """Video to 2 * latent_channels channels, mean and log-variance before the last linear layer (`WanVAE.moments`)."""

    config: WanVAEConfig
    execution: Execution

    @nn.compact
    def __call__(self, x_BTHWC):
        config, block = self.config, _res_block(self.execution)
        x_BTHWC = CausalConv(config.base_size, name="conv_in")(x_BTHWC)
        for stage, multiplier in enumerate(config.multipliers):
            for i in range(config.res_blocks):
                x_BTHWC = block(multiplier * config.base_size, name=f"stage_{stage}_res_{i}")(x_BTHWC)
            if stage < len(config.temporal):
                x_BTHWC = Down(config.temporal[stage], name=f"stage_{stage}_down")(x_BTHWC)
        x_BTHWC = Middle(self.execution, name="middle")(x_BTHWC)
        x_BTHWC = nn.silu(ChannelNorm(name="norm_out")(x_BTHWC))
        return CausalConv(2 * config.latent_channels, name="conv_out")(x_BTHWC)


class Decoder(nn.Module):
    """Latents, in the network's own scale, to video; its stages run from the coarsest to the finest."""

    config: WanVAEConfig
    execution: Execution

    @nn.compact
    def __call__(self, x_BTHWC):
        config, block = self.config, _res_block(self.execution)
        x_BTHWC = CausalConv(config.multipliers[-1] * config.base_size, name="conv_in")(x_BTHWC)
        x_BTHWC = Middle(self.execution, name="middle")(x_BTHWC)
        for stage, multiplier in enumerate(config.multipliers[::-1]):
            # The original has one block more here than in its encoder (3 and 2).
            for i in range(config.res_blocks + 1):
                x_BTHWC = block(multiplier * config.base_size, name=f"stage_{stage}_res_{i}")(x_BTHWC)
            if stage < len(config.temporal):
                x_BTHWC = Up(config.temporal[::-1][stage], name=f"stage_{stage}_up")(x_BTHWC)
        x_BTHWC = nn.silu(ChannelNorm(name="norm_out")(x_BTHWC))
        return CausalConv(3, name="conv_out")(x_BTHWC)


def _res_block(execution):
    return ResBlock if execution.remat == "none" else nn.remat(ResBlock)


# ---------------------------------------------------------------------------------------------------- the network


class WanVAE(nn.Module):
    """The video autoencoder. Its methods are used by `apply(variables, x, method="encode")`, `init` by `__call__`.

    With `mutable=["cache"]` a call also returns the state after its last frame, and `{"params": ..., "cache": ...}`
    then goes on with the clip; the functions of `wan_vae_stream.py` do so. Parameters are cast to execution.dtype where
    they are used; latents and video are float32. A `remat` other than "none" computes the residual blocks again in the
    backward pass.
    """

    config: WanVAEConfig
    execution: Execution = Execution()

    def setup(self):
        channels = self.config.latent_channels
        self.encoder = Encoder(self.config, self.execution)
        self.decoder = Decoder(self.config, self.execution)
        quiet = lambda _, shape: jnp.where(jnp.arange(shape[0]) < channels, jnp.zeros(shape), QUIET)  # noqa: E731
        self.quant = Linear(2 * channels, use_bias=True, kernel_init=KERNEL_INIT, bias_init=quiet)
        self.post_quant = Linear(channels, use_bias=True, kernel_init=KERNEL_INIT)

    def __call__(self, video_BTHWC: jax.Array) -> jax.Array:
        """The reconstruction decode(encode(video)), clipped to [-1, 1]."""
        return self.decode(self.encode(video_BTHWC))

    def moments(self, video_BTHWC: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(mean, log-variance) of the latents, not normalised, each [B, T_latent, H_latent, W_latent, C] in float32.

        Raises:
            ValueError: T is not time_factor * k + 1 (going on with a clip: time_factor * k), height or width is no
                multiple of space_factor, or there are not 3 channels.
        """
        self._check_video(video_BTHWC)
        x_BTHWC = self.encoder(video_BTHWC.astype(self.execution.dtype))
        mean_BTHWC, logvar_BTHWC = jnp.split(self.quant(x_BTHWC).astype(jnp.float32), 2, axis=-1)
        return mean_BTHWC, logvar_BTHWC

    def encode(self, video_BTHWC: jax.Array) -> jax.Array:
        """The normalised mean latents, (mean - latent_mean) / latent_std. Raises ValueError as `moments`."""
        # Wan's pipeline encodes without noise: it takes the mean, not a random latent.
        mean_BTHWC, _ = self.moments(video_BTHWC)
        return (mean_BTHWC - jnp.array(self.config.latent_mean)) / jnp.array(self.config.latent_std)

    def decode(self, latents_BTHWC: jax.Array, clip: bool = True) -> jax.Array:
        """The video [B, T, H, W, 3] of normalised latents.

        clip: whether it is clipped to [-1, 1]; default yes. Training does not, as clipped pixels have no gradient.

        Raises:
            ValueError: no frame, or another number of channels than latent_channels.
        """
        channels, shape = self.config.latent_channels, latents_BTHWC.shape
        if len(shape) != 5 or shape[-1] != channels or not shape[1]:
            raise ValueError(f"WanVAE: expected latents [B, T, H, W, {channels}] with T >= 1, got {shape}")
        latents_BTHWC = latents_BTHWC * jnp.array(self.config.latent_std) + jnp.array(self.config.latent_mean)
        x_BTHWC = self.decoder(self.post_quant(latents_BTHWC.astype(self.execution.dtype))).astype(jnp.float32)
        return jnp.clip(x_BTHWC, -1.0, 1.0) if clip else x_BTHWC

    def _check_video(self, video_BTHWC):
        space, time, shape = space_factor(self.config), time_factor(self.config), video_BTHWC.shape
        alone = 0 if self.variables.get("cache") else 1
        if len(shape) != 5 or shape[-1] != 3 or shape[2] % space or shape[3] % space:
            raise ValueError(
                f"WanVAE: expected video [B, T, H, W, 3] with H and W multiples of {space}, got {shape}; resize or crop"
            )
        if shape[1] < alone + (1 - alone) * time or (shape[1] - alone) % time:
            form = f"{time} k + 1" if alone else f"{time} k"
            raise ValueError(f"WanVAE: expected T = {form} frames, got {shape[1]}; cut or repeat frames at the end")


def example(config: WanVAEConfig) -> dict:
    """The smallest arguments of `WanVAE.__call__` that fix the parameters, as shapes.

    One frame that becomes one latent.
    """
    side = space_factor(config)
    return {"video_BTHWC": jax.ShapeDtypeStruct((1, 1, side, side, 3), jnp.float32)}
