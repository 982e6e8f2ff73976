"""Wan2.1's causal video VAE (Wan `wan/modules/vae.py`): whole clips, clips in chunks, decoding tile by tile.

Every operation over time keeps the frames it needs of the past in the variable collection `cache`. Without that
collection a call starts a clip (a single frame or all of it); with it, it continues one: this is the only difference
between the whole-clip form and the chunked one. Video is [B, T, H, W, 3] in [-1, 1]; latents are channels last too.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from shotverse_jax.config import Execution, WanVAEConfig
from shotverse_jax.nn.attention import attend
from shotverse_jax.nn.linear import Linear

# Kernels keep the size of what passes. Biases are torch's, not zero: the norms take away the size of what they see, so
# without biases a dark frame and a bright one would begin as the same.
INIT = nn.initializers.lecun_normal()
QUIET = -6.0  # the log-variance of latents to begin with: noise as strong as they are would teach to ignore them


def bias_init(fan_in: int) -> nn.initializers.Initializer:
    """Uniform in +-1/sqrt(fan_in)."""
    return lambda key, shape: jax.random.uniform(key, shape, minval=-(fan_in**-0.5), maxval=fan_in**-0.5)


def space_factor(config: WanVAEConfig) -> int:
    """Pixels per latent pixel, in height and in width."""
    return 2 ** len(config.temporal)


def time_factor(config: WanVAEConfig) -> int:
    """Frames per latent frame; the first latent frame holds a single one, T = time_factor * (T_latent - 1) + 1."""
    return 2 ** sum(config.temporal)


def check_config(config: WanVAEConfig) -> None:
    """ValueError when the fields of the config do not fit together."""
    if len(config.temporal) != len(config.multipliers) - 1:
        raise ValueError(
            f"WanVAEConfig: {len(config.multipliers)} multipliers need {len(config.multipliers) - 1} values of "
            f"temporal, one per halving of the resolution, got {len(config.temporal)}"
        )
    for name in ("latent_mean", "latent_std"):
        if len(getattr(config, name)) != config.latent_channels:
            raise ValueError(
                f"WanVAEConfig: {name} needs one value per latent channel ({config.latent_channels}), "
                f"got {len(getattr(config, name))}"
            )


# ---------------------------------------------------------------------------------------------------- operations


def convolve(x_BTHWC: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """3D convolution with a kernel [time, height, width, in, out], VALID in time, SAME in space; `stride` is of time.

    On a CPU it runs as one 2D convolution over the frames under the kernel stacked as channels: 3.5 to 7 times as fast
    as XLA's 3D convolution forward, 4 times with its gradients (16 to 64 channels, float32).
    """
    return jax.lax.platform_dependent(
        x_BTHWC,
        kernel,
        cpu=functools.partial(_convolve_stacked, stride=stride),
        default=functools.partial(_convolve_3d, stride=stride),
    )


def _convolve_3d(x_BTHWC, kernel, stride):
    space = [(size // 2, size // 2) for size in kernel.shape[1:3]]
    dimensions = ("NDHWC", "DHWIO", "NDHWC")
    return jax.lax.conv_general_dilated(x_BTHWC, kernel, (stride, 1, 1), [(0, 0), *space], dimension_numbers=dimensions)


def _convolve_stacked(x_BTHWC, kernel, stride):
    frames, height, width, channels, features = kernel.shape
    last = x_BTHWC.shape[1] - frames + 1
    stacked = jnp.concatenate([x_BTHWC[:, k : k + last : stride] for k in range(frames)], axis=-1)
    kernel = jnp.moveaxis(kernel, 0, 2).reshape(height, width, frames * channels, features)
    return convolve_frames(stacked, kernel, padding="SAME")


def convolve_frames(x_BTHWC: jax.Array, kernel: jax.Array, padding: Any = "SAME", stride: int = 1) -> jax.Array:
    """2D convolution of every frame with a kernel [height, width, in, out], both odd where the padding is SAME."""
    if padding == "SAME" and stride == 1:
        return _convolve_same(x_BTHWC, kernel)
    return _convolve_2d(x_BTHWC, kernel, padding, stride)


def _convolve_2d(x_BTHWC, kernel, padding="SAME", stride=1):
    y_NHWC = jax.lax.conv_general_dilated(
        x_BTHWC.reshape(-1, *x_BTHWC.shape[2:]),
        kernel,
        (stride, stride),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return y_NHWC.reshape(*x_BTHWC.shape[:2], *y_NHWC.shape[1:])


@jax.custom_vjp
def _convolve_same(x_BTHWC, kernel):
    return _convolve_2d(x_BTHWC, kernel)


def _convolve_same_forward(x_BTHWC, kernel):
    return _convolve_2d(x_BTHWC, kernel), (x_BTHWC, kernel)


def _convolve_same_backward(inputs, slope_BTHWO):
    _, pull = jax.vjp(_convolve_2d, *inputs)
    slope_x, slope_kernel = pull(slope_BTHWO)
    size, dtype = inputs[1].shape[:2], inputs[1].dtype
    slope_kernel = jax.lax.platform_dependent(
        cpu=lambda: _kernel_slope(inputs[0], slope_BTHWO, size).astype(dtype), default=lambda: slope_kernel
    )
    return slope_x, slope_kernel


_convolve_same.defvjp(_convolve_same_forward, _convolve_same_backward)


def _kernel_slope(x_BTHWC, slope_BTHWO, size):
    """The kernel's gradient by matrix products, a frame at a time so that they find it in the cache.

    On a CPU twice as fast as XLA's convolution with a kernel as large as the frame (8 and 16 channels, 64 x 64).
    """
    rows, columns = size
    height, width = slope_BTHWO.shape[2:4]

    def add(total_BCN, frame):
        x_BHWC, slope_BHWO = frame
        edges = ((0, 0), (rows // 2, rows // 2), (columns // 2, columns // 2), (0, 0))
        padded = jnp.pad(slope_BHWO, edges)
        places = [(i, j) for i in reversed(range(rows)) for j in reversed(range(columns))]
        moved_BHWN = jnp.concatenate([padded[:, i : i + height, j : j + width] for i, j in places], axis=-1)
        product = jnp.einsum("bhwc,bhwn->bcn", x_BHWC, moved_BHWN, preferred_element_type=jnp.float32)
        return total_BCN + product, None

    channels, features = x_BTHWC.shape[-1], slope_BTHWO.shape[-1]
    nothing_BCN = jnp.zeros((len(x_BTHWC), channels, rows * columns * features))
    frames = jnp.moveaxis(x_BTHWC, 1, 0), jnp.moveaxis(slope_BTHWO, 1, 0)
    total_CN = jax.lax.scan(add, nothing_BCN, frames)[0].sum(axis=0)
    return jnp.moveaxis(total_CN.reshape(channels, rows, columns, features), 0, 2)


def remembered(module: nn.Module, x_BTHWC: jax.Array, frames: int) -> jax.Array | None:
    """The last `frames` inputs before this chunk, None where the clip starts; leaves this chunk's for the next."""
    past = module.get_variable("cache", "past") if module.has_variable("cache", "past") else None
    if module.is_mutable_collection("cache") and not module.is_initializing():
        seen = _zeros_before(x_BTHWC, frames) if past is None else jnp.concatenate([past, x_BTHWC], axis=1)
        module.put_variable("cache", "past", seen[:, seen.shape[1] - frames :])
    return past


def _zeros_before(x_BTHWC, frames):
    return jnp.pad(x_BTHWC, ((0, 0), (frames, 0), (0, 0), (0, 0), (0, 0)))


# ---------------------------------------------------------------------------------------------------- layers


class Conv3D(nn.Module):
    """Convolution over (time, height, width) of what it is given, no padding in time; parameters kernel and bias.

    With `zero` it begins as zero.
    """

    features: int
    size: tuple[int, int, int] = (3, 3, 3)
    stride: int = 1
    zero: bool = False

    @nn.compact
    def __call__(self, x_BTHWC):
        shape = (*self.size, x_BTHWC.shape[-1], self.features)
        init, init_bias = (nn.initializers.zeros,) * 2 if self.zero else (INIT, bias_init(math.prod(shape[:-1])))
        kernel = self.param("kernel", init, shape)
        bias = self.param("bias", init_bias, (self.features,))
        return convolve(x_BTHWC, kernel.astype(x_BTHWC.dtype), self.stride) + bias.astype(x_BTHWC.dtype)


class CausalConv(Conv3D):
    """A convolution whose output frame t sees the frames t-2, t-1 and t; before the clip there are zeros."""

    def __call__(self, x_BTHWC):
        past = remembered(self, x_BTHWC, 2)
        padded = _zeros_before(x_BTHWC, 2) if past is None else jnp.concatenate([past, x_BTHWC], axis=1)
        return super().__call__(padded)


class FrameConv(nn.Module):
    """3x3 convolution of every frame by itself; parameters kernel and bias."""

    features: int
    padding: Any = "SAME"
    stride: int = 1

    @nn.compact
    def __call__(self, x_BTHWC):
        kernel = self.param("kernel", INIT, (3, 3, x_BTHWC.shape[-1], self.features))
        bias = self.param("bias", bias_init(math.prod(kernel.shape[:-1])), (self.features,))
        y_BTHWC = convolve_frames(x_BTHWC, kernel.astype(x_BTHWC.dtype), self.padding, self.stride)
        return y_BTHWC + bias.astype(x_BTHWC.dtype)


class ChannelNorm(nn.Module):
    """sqrt(C) x / |x| over the channels in float32, rounded to the dtype of x, then times `scale`."""

    @nn.compact
    def __call__(self, x_BTHWC):
        scale = self.param("scale", nn.initializers.ones, (x_BTHWC.shape[-1],))
        x_fp32 = x_BTHWC.astype(jnp.float32)
        square = jnp.maximum(jnp.sum(x_fp32 * x_fp32, axis=-1, keepdims=True), 1e-24)
        normed = x_fp32 * (jax.lax.rsqrt(square) * math.sqrt(x_BTHWC.shape[-1]))
        return normed.astype(x_BTHWC.dtype) * scale.astype(x_BTHWC.dtype)


class ResBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))), with a linear shortcut where the number of channels changes.

    It begins as the shortcut alone: training then gets further in its first steps.
    """

    features: int

    @nn.compact
    def __call__(self, x_BTHWC):
        y_BTHWC = CausalConv(self.features, name="conv1")(nn.silu(ChannelNorm(name="norm1")(x_BTHWC)))
        y_BTHWC = CausalConv(self.features, zero=True, name="conv2")(nn.silu(ChannelNorm(name="norm2")(y_BTHWC)))
        if x_BTHWC.shape[-1] != self.features:
            x_BTHWC = Linear(self.features, use_bias=True, kernel_init=INIT, name="shortcut")(x_BTHWC)
        return x_BTHWC + y_BTHWC


class FrameAttention(nn.Module):
    """Single-head self-attention among the pixels of each frame, without positions; the identity at initialisation."""

    @nn.compact
    def __call__(self, x_BTHWC):
        batch, frames, height, width, channels = x_BTHWC.shape
        qkv = Linear(3 * channels, use_bias=True, kernel_init=INIT, name="qkv")(ChannelNorm(name="norm")(x_BTHWC))
        # The default kernel whatever the execution says: one head is as wide as the network (384), more than the
        # fused kernels take.
        q, k, v = jnp.split(qkv.reshape(batch * frames, height * width, 1, 3 * channels), 3, axis=-1)
        mixed_BTHWC = attend(q, k, v).reshape(x_BTHWC.shape)
        return x_BTHWC + Linear(channels, use_bias=True, kernel_init=nn.initializers.zeros, name="out")(mixed_BTHWC)


class Down(nn.Module):
    """Halve height and width, and with `temporal` the number of frames: the first frame of the clip stays alone."""

    temporal: bool

    @nn.compact
    def __call__(self, x_BTHWC):
        channels = x_BTHWC.shape[-1]
        x_BTHWC = FrameConv(channels, padding=((0, 1), (0, 1)), stride=2, name="conv")(x_BTHWC)
        if not self.temporal:
            return x_BTHWC
        past = remembered(self, x_BTHWC, 1)
        seen = x_BTHWC if past is None else jnp.concatenate([past, x_BTHWC], axis=1)
        y_BTHWC = Conv3D(channels, size=(3, 1, 1), stride=2, name="time_conv")(seen)
        return jnp.concatenate([x_BTHWC[:, :1], y_BTHWC], axis=1) if past is None else y_BTHWC


class Up(nn.Module):
    """Double height and width with half the channels, and with `temporal` every frame but the first of the clip."""

    temporal: bool

    @nn.compact
    def __call__(self, x_BTHWC):
        channels = x_BTHWC.shape[-1]
        if self.temporal:
            double = functools.partial(self._double, CausalConv(2 * channels, size=(3, 1, 1), name="time_conv"))
            if self.has_variable("cache", "time_conv"):
                x_BTHWC = double(x_BTHWC)
            else:  # the first frame is not in the past of the second either
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
    """Video to the 2 * latent_channels channels that `moments` splits."""

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
    """Un-normalised latents to video; its stages run from the coarsest to the finest."""

    config: WanVAEConfig
    execution: Execution

    @nn.compact
    def __call__(self, x_BTHWC):
        config, block = self.config, _res_block(self.execution)
        x_BTHWC = CausalConv(config.multipliers[-1] * config.base_size, name="conv_in")(x_BTHWC)
        x_BTHWC = Middle(self.execution, name="middle")(x_BTHWC)
        for stage, multiplier in enumerate(config.multipliers[::-1]):
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
    """The video autoencoder; use its methods by `apply(variables, x, method="encode")`. `init` through `__call__`.

    With `mutable=["cache"]` a call also returns the state after its last frame; `{"params": ..., "cache": ...}` then
    continues the clip. `encode_chunked`, `decode_chunked` and `decode_chunks` below do so. Parameters are cast to
    execution.dtype where they are used, latents and video are float32; a `remat` other than "none" recomputes the
    residual blocks in the backward pass.
    """

    config: WanVAEConfig
    execution: Execution = Execution()

    def setup(self):
        check_config(self.config)
        channels = self.config.latent_channels
        self.encoder = Encoder(self.config, self.execution)
        self.decoder = Decoder(self.config, self.execution)
        quiet = lambda _, shape: jnp.where(jnp.arange(shape[0]) < channels, 0.0, QUIET)  # noqa: E731
        self.quant = Linear(2 * channels, use_bias=True, kernel_init=INIT, bias_init=quiet)
        self.post_quant = Linear(channels, use_bias=True, kernel_init=INIT)

    def __call__(self, video_BTHWC: jax.Array) -> jax.Array:
        """The reconstruction decode(encode(video))."""
        return self.decode(self.encode(video_BTHWC))

    def moments(self, video_BTHWC: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and log variance of the latents, not normalised, each [B, T_latent, H_latent, W_latent, C] in float32.

        Raises ValueError unless T is time_factor * k + 1 (continuing a clip: time_factor * k), height and width are
        multiples of space_factor and there are 3 channels.
        """
        self._check_video(video_BTHWC)
        x_BTHWC = self.encoder(video_BTHWC.astype(self.execution.dtype))
        mean_BTHWC, logvar_BTHWC = jnp.split(self.quant(x_BTHWC).astype(jnp.float32), 2, axis=-1)
        return mean_BTHWC, logvar_BTHWC

    def encode(self, video_BTHWC: jax.Array) -> jax.Array:
        """The mean latents, (mean - latent_mean) / latent_std; raises as `moments`."""
        mean_BTHWC, _ = self.moments(video_BTHWC)
        return (mean_BTHWC - jnp.array(self.config.latent_mean)) / jnp.array(self.config.latent_std)

    def decode(self, latents_BTHWC: jax.Array, clip: bool = True) -> jax.Array:
        """Video of normalised latents, clipped to [-1, 1] unless `clip` is false (for training).

        Raises ValueError when there is no frame or the number of channels is not latent_channels.
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


# ---------------------------------------------------------------------------------------------------- in chunks


@functools.partial(jax.jit, static_argnames=("vae", "method", "static"))
def advance(
    vae: WanVAE, variables: dict, cache: dict, x_BTHWC: jax.Array, method: str, static: tuple = ()
) -> tuple[jax.Array, dict]:
    """One chunk of a clip: (vae.method(x), the cache after it); an empty `cache` starts a clip.

    static: further arguments of the method as pairs (name, value).
    """
    given = variables | ({"cache": cache} if cache else {})
    y_BTHWC, state = vae.apply(given, x_BTHWC, method=method, mutable=["cache"], **dict(static))
    return y_BTHWC, state["cache"]


def encode_chunked(vae: WanVAE, variables: dict, video_BTHWC: jax.Array) -> jax.Array:
    """`WanVAE.encode` by a scan over time: the first frame, then groups of time_factor frames.

    Memory beside video and latents does not grow with T. Equal to the whole-clip form to rounding; raises as it.
    """
    step, frames = time_factor(vae.config), video_BTHWC.shape[1]
    if (frames - 1) % step:
        raise ValueError(f"WanVAE: expected T = {step} k + 1 frames, got {frames}; cut or repeat frames at the end")
    return _scan_chunks(vae, variables, video_BTHWC, step, "encode", ())


def decode_chunked(vae: WanVAE, variables: dict, latents_BTHWC: jax.Array, clip: bool = True) -> jax.Array:
    """`WanVAE.decode` by a scan over single latent frames; memory beside latents and video does not grow with T."""
    return _scan_chunks(vae, variables, latents_BTHWC, 1, "decode", (("clip", clip),))


def _scan_chunks(vae, variables, x_BTHWC, step, method, static):
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
    """Yield the decoded frames as they come: 1, then time_factor per latent frame, each [B, frames, H, W, 3].

    Two programs are compiled, for the first latent frame and for all others; memory does not grow with T.
    """
    cache = {}
    for t in range(latents_BTHWC.shape[1]):
        x_BTHWC = latents_BTHWC[:, t : t + 1]
        video_BTHWC, cache = advance(vae, variables, cache, x_BTHWC, "decode", (("clip", clip),))
        yield video_BTHWC


# ---------------------------------------------------------------------------------------------------- in tiles


def tile_starts(length: int, tile: int, stride: int) -> list[int]:
    """First positions of the tiles that cover `length`, `stride` apart; the last one ends where the axis ends.

    Raises ValueError for a stride outside 1..tile: it would leave gaps.
    """
    if not 0 < stride <= tile:
        raise ValueError(f"tiles of {tile} latent pixels need a stride from 1 to {tile}, got {stride}")
    return [*range(0, length - tile, stride), max(length - tile, 0)]


def tile_weights(starts: list[int], tile: int, length: int) -> np.ndarray:
    """Share of each tile in each position of an axis, float32 [tiles, length]; every column sums to 1.

    Two neighbours blend linearly over their overlap.
    """
    ends = [start + tile for start in starts]
    position = np.arange(length) + 0.5
    weights = []
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        weight = ((position > start) & (position < end)).astype(np.float64)
        if i > 0 and ends[i - 1] > start:
            weight *= np.clip((position - start) / (ends[i - 1] - start), 0, 1)
        if i + 1 < len(starts) and starts[i + 1] < end:
            weight *= np.clip((end - position) / (end - starts[i + 1]), 0, 1)
        weights.append(weight)
    return (weights / np.sum(weights, axis=0)).astype(np.float32)


def decode_tiled(
    vae: WanVAE,
    variables: dict,
    latents_BTHWC: jax.Array,
    tile: tuple[int, int] = (30, 52),
    stride: tuple[int, int] = (15, 26),
) -> np.ndarray:
    """Decode large frames tile by tile, each in chunks of time: video [B, T, H, W, 3], clipped, on the host.

    tile and stride are (height, width) in latent pixels; overlaps blend linearly. Device memory is that of one tile and
    one latent frame. The result is not quite that of `decode`: each tile has its own borders and the attention of the
    middle block sees one tile. Defaults as HoloCine's. Raises ValueError for a stride outside 1..tile.
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
            for chunk in decode_chunks(vae, variables, latents_BTHWC[:, :, rows, columns], clip=False):
                video[:, start : start + chunk.shape[1], out_rows, out_columns] += np.asarray(chunk) * share_HW1
                start += chunk.shape[1]
    return np.clip(video, -1.0, 1.0, out=video)
