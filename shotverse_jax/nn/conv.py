"""Convolutions over videos: their fast forms, the layers, and the memory that lets a clip go on chunk by chunk.

Arrays are [batch, time, height, width, channels]: B, T, H, W, C; O output channels, N = kernel places * O.
"""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

# Kernels keep the size of what passes. Biases start as torch's do, not at zero: the norms take away the size of what
# they see, so without biases a dark frame and a bright one would begin as the same.
KERNEL_INIT = nn.initializers.lecun_normal()


def bias_init(fan_in: int) -> nn.initializers.Initializer:
    """Uniform in +-1/sqrt(fan_in), as torch starts the biases of convolutions."""
    return lambda key, shape: jax.random.uniform(key, shape, minval=-(fan_in**-0.5), maxval=fan_in**-0.5)


# ---------------------------------------------------------------------------------------------------- operations


def convolve(x_BTHWC: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """3D convolution with a kernel [time, height, width, in, out]: without padding in time, padded to SAME in space.

    stride: in time. On a CPU the frames under the kernel are stacked as channels and go through one 2D convolution:
    3.5 to 7 times as fast forward as XLA's 3D convolution, 4 times with gradients (16 to 64 channels, float32).
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
    """2D convolution of every frame with a kernel [height, width, in, out]; its sides are odd where padding is SAME.

    stride: in height and width. A SAME convolution has a gradient of its own on CPUs (`_kernel_slope`).
    """
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
    # XLA's gradients of input and kernel. On a CPU another form of the second takes its place, and XLA drops its own.
    _, pull = jax.vjp(_convolve_2d, *inputs)
    slope_x, slope_kernel = pull(slope_BTHWO)
    size, dtype = inputs[1].shape[:2], inputs[1].dtype
    slope_kernel = jax.lax.platform_dependent(
        cpu=lambda: _kernel_slope(inputs[0], slope_BTHWO, size).astype(dtype), default=lambda: slope_kernel
    )
    return slope_x, slope_kernel


_convolve_same.defvjp(_convolve_same_forward, _convolve_same_backward)


def _kernel_slope(x_BTHWC, slope_BTHWO, size):
    """The gradient [rows, columns, C, O] of a kernel of `size` (rows, columns), by matrix products.

    One frame at a time, so that the products find it in the cache. On a CPU this is twice as fast as XLA's form, a
    convolution with a kernel as large as the frame (8 and 16 channels, 64 x 64).
    """
    rows, columns = size
    height, width = slope_BTHWO.shape[2:4]

    def add(total_BCN, frame):
        x_BHWC, slope_BHWO = frame
        edges = ((0, 0), (rows // 2, rows // 2), (columns // 2, columns // 2), (0, 0))
        padded = jnp.pad(slope_BHWO, edges)
        # Moving the slope against every place of the kernel makes one product of x with all places side by side.
        places = [(i, j) for i in reversed(range(rows)) for j in reversed(range(columns))]
        moved_BHWN = jnp.concatenate([padded[:, i : i + height, j : j + width] for i, j in places], axis=-1)
        product = jnp.einsum("bhwc,bhwn->bcn", x_BHWC, moved_BHWN, preferred_element_type=jnp.float32)
        return total_BCN + product, None

    channels, features = x_BTHWC.shape[-1], slope_BTHWO.shape[-1]
    nothing_BCN = jnp.zeros((len(x_BTHWC), channels, rows * columns * features))
    frames = jnp.moveaxis(x_BTHWC, 1, 0), jnp.moveaxis(slope_BTHWO, 1, 0)
    total_CN = jax.lax.scan(add, nothing_BCN, frames)[0].sum(axis=0)
    return jnp.moveaxis(total_CN.reshape(channels, rows, columns, features), 0, 2)


# ---------------------------------------------------------------------------------------------------- memory


def remembered(module: nn.Module, x_BTHWC: jax.Array, frames: int) -> jax.Array | None:
    """The `frames` inputs of `module` before this chunk, [B, frames, H, W, C], or None where the clip starts.

    They come from the module's variable `past` in the collection `cache`. Where that collection is mutable, this
    chunk's last frames take their place, for the next chunk; a clip shorter than `frames` is filled up with zeros.
    """
    past = module.get_variable("cache", "past") if module.has_variable("cache", "past") else None
    if module.is_mutable_collection("cache") and not module.is_initializing():
        seen = zeros_before(x_BTHWC, frames) if past is None else jnp.concatenate([past, x_BTHWC], axis=1)
        module.put_variable("cache", "past", seen[:, seen.shape[1] - frames :])
    return past


def zeros_before(x_BTHWC: jax.Array, frames: int) -> jax.Array:
    """x with that many frames of zeros before it."""
    return jnp.pad(x_BTHWC, ((0, 0), (frames, 0), (0, 0), (0, 0), (0, 0)))


# ---------------------------------------------------------------------------------------------------- layers


class Conv3D(nn.Module):
    """Convolution over time, height and width, without padding in time; parameters `kernel` and `bias`.

    features: output channels. size: of the kernel, (time, height, width). stride: in time.
    zero: whether kernel and bias start at zero; default no.
    """

    features: int
    size: tuple[int, int, int] = (3, 3, 3)
    stride: int = 1
    zero: bool = False

    @nn.compact
    def __call__(self, x_BTHWC):
        shape = (*self.size, x_BTHWC.shape[-1], self.features)
        init, init_bias = (nn.initializers.zeros,) * 2 if self.zero else (KERNEL_INIT, bias_init(math.prod(shape[:-1])))
        kernel = self.param("kernel", init, shape)
        bias = self.param("bias", init_bias, (self.features,))
        return convolve(x_BTHWC, kernel.astype(x_BTHWC.dtype), self.stride) + bias.astype(x_BTHWC.dtype)


class CausalConv(Conv3D):
    """A `Conv3D` of three frames whose output frame t sees the frames t-2, t-1 and t; before the clip there are zeros.

    Going on with a clip, the two frames before the chunk come from the cache.
    """

    def __call__(self, x_BTHWC):
        past = remembered(self, x_BTHWC, 2)
        padded = zeros_before(x_BTHWC, 2) if past is None else jnp.concatenate([past, x_BTHWC], axis=1)
        return super().__call__(padded)


class FrameConv(nn.Module):
    """3x3 convolution of every frame by itself; parameters `kernel` and `bias`.

    features: output channels. padding: as in `jax.lax`, of height and width. stride: in height and width.
    """

    features: int
    padding: Any = "SAME"
    stride: int = 1

    @nn.compact
    def __call__(self, x_BTHWC):
        kernel = self.param("kernel", KERNEL_INIT, (3, 3, x_BTHWC.shape[-1], self.features))
        bias = self.param("bias", bias_init(math.prod(kernel.shape[:-1])), (self.features,))
        y_BTHWC = convolve_frames(x_BTHWC, kernel.astype(x_BTHWC.dtype), self.padding, self.stride)
        return y_BTHWC + bias.astype(x_BTHWC.dtype)
