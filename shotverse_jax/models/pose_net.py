"""A camera's pose on the stage from one frame, by a small residual CNN. It measures generated films.

Axes: images are [B, H, W, C]; O the 11 outputs.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from shotverse_jax.config import Execution, PoseNetConfig
from shotverse_jax.nn.linear import Linear
from shotverse_jax.nn.norm import LayerNorm

OUTPUTS = 11
"""6 for the rotation (its first two columns less the identity's), 3 for the position, 2 log-uncertainties."""


class PoseNet(nn.Module):
    """The camera-to-world pose in the stage's frame (metres, OpenCV axes) of each image, and how sure the network is.

    A pose can be seen in a frame because the stage's props are nearly the same in all of its films.
    """

    config: PoseNetConfig
    execution: Execution = Execution()

    @nn.compact
    def __call__(self, frames_BHWC: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(pose_B34, log_scale_B2), float32, of images [B, H, W, 3] in [-1, 1].

        exp(log_scale) is the expected error of the rotation (as `rotation_gap`) and of the position (in units of
        `config.unit` metres).
        """
        config = self.config
        x = frames_BHWC.astype(self.execution.dtype)
        for level, channels in enumerate(config.channels):
            stride = config.patch if level == 0 else 2
            x = nn.Conv(channels, (stride, stride), stride, "VALID", name=f"down_{level}")(x)
            for block in range(config.blocks):
                x = _Block(name=f"block_{level}_{block}")(x)
        # Fewer channels before the frame is flattened: the next layer has a weight for every channel of every place.
        x = Linear(config.squeeze, use_bias=True, name="squeeze")(LayerNorm(name="norm")(x))
        x = x.reshape(len(x), -1)
        x = nn.gelu(
            Linear(config.hidden_size, use_bias=True, kernel_init=nn.initializers.lecun_normal(), name="hidden")(x)
        )
        out_BO = Linear(OUTPUTS, use_bias=True, name="out")(x).astype(jnp.float32)
        rotation_B33 = _orthonormal(out_BO[:, :6])
        position_B3 = config.unit * out_BO[:, 6:9]
        # exp(-log_scale) is the weight of a frame in the loss; it is bounded, so that no frame outweighs all others.
        return jnp.concatenate([rotation_B33, position_B3[..., None]], axis=-1), jnp.clip(out_BO[:, 9:], -5.0, 3.0)


class _Block(nn.Module):
    """x + conv(gelu(conv(norm(x)))), 3x3 both; the identity before training."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        y = nn.Conv(width, (3, 3), name="conv1")(LayerNorm(name="norm")(x))
        return x + nn.Conv(width, (3, 3), kernel_init=nn.initializers.zeros, name="conv2")(nn.gelu(y))


def _orthonormal(columns_B6: jax.Array) -> jax.Array:
    """Rotation from any two columns by Gram-Schmidt (Zhou et al. 2019, arXiv 1812.07035, Eq. 15)."""
    columns_B6 = columns_B6 + jnp.array([1.0, 0, 0, 0, 1, 0])  # zeros mean no rotation
    a, b = _unit(columns_B6[:, :3]), columns_B6[:, 3:]
    b = _unit(b - (a * b).sum(-1, keepdims=True) * a)
    return jnp.stack([a, b, jnp.cross(a, b)], axis=-1)


def _unit(x: jax.Array) -> jax.Array:
    return x * jax.lax.rsqrt((x * x).sum(-1, keepdims=True) + 1e-12)


def example(config: PoseNetConfig) -> dict:
    """The smallest arguments of `PoseNet.__call__` that fix the parameters, as shapes.

    One frame.
    """
    return {"frames_BHWC": jax.ShapeDtypeStruct((1, config.height, config.width, 3), jnp.float32)}
