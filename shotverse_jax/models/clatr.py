"""CLaTr, as GenDoP trained it (robincourant/CLaTr src/models/actor.py, temos.py): trajectories and texts in one space.

Post-LN transformers of torch's making (attention with q, k and v from one linear, exact GELU, eps 1e-5), sinusoidal
positions. It is for inference: there is no dropout. Parameters: traj_encoder, text_encoder (queries [2, D], project,
layers), traj_decoder (layers, head); every leaf of `layers` is stacked on axis 0.

Axes: T frames of a trajectory (in the layers: of any sequence), S tokens of a text, C features of a frame, N heads.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from shotverse_jax.config import CLaTrConfig, Execution
from shotverse_jax.nn.attention import attend
from shotverse_jax.nn.linear import Linear
from shotverse_jax.nn.norm import LayerNorm
from shotverse_jax.nn.stack import run_stack


class Latent(NamedTuple):
    """A Gaussian in the latent space: its mean and its log-variance, each [B, D]."""

    mu_BD: jax.Array
    logvar_BD: jax.Array


class Reading(NamedTuple):
    """Latents of trajectories and of texts, and the features [B, T, C] that their means are decoded to."""

    traj: Latent
    text: Latent
    traj_recon_BTC: jax.Array
    text_recon_BTC: jax.Array


def sinusoids(length: int, width: int) -> np.ndarray:
    """Positions [length, width], float32: sin and cos of t / 10000^(2k / width) in channels 2k and 2k + 1."""
    angle_TF = np.arange(length)[:, None] * 10000.0 ** (-np.arange(0, width, 2) / width)
    return np.stack([np.sin(angle_TF), np.cos(angle_TF)], axis=-1).reshape(length, width).astype(np.float32)


class Attention(nn.Module):
    """torch's MultiheadAttention: of x to itself or to a memory, whose real items (True in real_BS) are seen."""

    config: CLaTrConfig
    execution: Execution

    @nn.compact
    def __call__(self, x_BTD, memory_BSD=None, real_BS=None):
        width = self.config.hidden_size
        project = Linear(3 * width, use_bias=True, name="qkv")
        q, k, v = jnp.split(project(x_BTD), 3, axis=-1)
        if memory_BSD is not None:
            # torch keeps the matrices of q, k and v as one; of a memory only k and v are used.
            _, k, v = jnp.split(project(memory_BSD), 3, axis=-1)
        q, k, v = (y.reshape(*y.shape[:2], self.config.num_heads, -1) for y in (q, k, v))
        real_B1S = None if real_BS is None else real_BS[:, None]
        mixed_BTNH = attend(q, k, v, kernel=self.execution.attention, mask_BTS=real_B1S)
        return Linear(width, use_bias=True, name="out_proj")(mixed_BTNH.reshape(x_BTD.shape))


class Block(nn.Module):
    """norm(x + self-attention(x)); with a memory then norm(x + attention to it); norm(x + fc2(gelu(fc1(x))))."""

    config: CLaTrConfig
    execution: Execution

    @nn.compact
    def __call__(self, x_BTD, real_BT, memory_BSD=None):
        config = self.config
        attended_BTD = Attention(config, self.execution, name="self_attn")(x_BTD, real_BS=real_BT)
        x_BTD = LayerNorm(name="self_norm")(x_BTD + attended_BTD)
        if memory_BSD is not None:
            # The memory is a single token, the latent: there is no padding to mask.
            attended_BTD = Attention(config, self.execution, name="cross_attn")(x_BTD, memory_BSD)
            x_BTD = LayerNorm(name="cross_norm")(x_BTD + attended_BTD)
        wide_BTF = nn.gelu(Linear(config.mlp_size, use_bias=True, name="fc1")(x_BTD), approximate=False)
        return LayerNorm(name="mlp_norm")(x_BTD + Linear(config.hidden_size, use_bias=True, name="fc2")(wide_BTF))


class Encoder(nn.Module):
    """Reads a sequence after two learned tokens, whose states are the mean and the log-variance of the latent."""

    config: CLaTrConfig
    execution: Execution

    @nn.compact
    def __call__(self, x_BTC, real_BT) -> Latent:
        config, batch = self.config, len(x_BTC)
        queries_2D = self.param("queries", nn.initializers.normal(1.0), (2, config.hidden_size))
        x_BTD = Linear(config.hidden_size, use_bias=True, name="project")(x_BTC)
        x_BTD = jnp.concatenate([jnp.broadcast_to(queries_2D, (batch, *queries_2D.shape)), x_BTD], axis=1)
        x_BTD = (x_BTD + sinusoids(*x_BTD.shape[1:])).astype(self.execution.dtype)
        real_BT = jnp.pad(real_BT, ((0, 0), (2, 0)), constant_values=True)
        layers = Block(config, self.execution, name="layers")
        x_BTD = run_stack(layers, config.num_layers, self.execution, x_BTD, real_BT).astype(jnp.float32)
        return Latent(x_BTD[:, 0], x_BTD[:, 1])


class Decoder(nn.Module):
    """Features [B, T, C] of a latent, zero at padding: frames start as their positions and attend to the latent."""

    config: CLaTrConfig
    execution: Execution

    @nn.compact
    def __call__(self, latent_BD, real_BT) -> jax.Array:
        config, dtype = self.config, self.execution.dtype
        x_TD = jnp.asarray(sinusoids(real_BT.shape[1], config.hidden_size), dtype)
        x_BTD = jnp.broadcast_to(x_TD, (len(real_BT), *x_TD.shape))
        layers = Block(config, self.execution, name="layers")
        x_BTD = run_stack(layers, config.num_layers, self.execution, x_BTD, real_BT, latent_BD[:, None].astype(dtype))
        features_BTC = Linear(config.feature_size, use_bias=True, name="head")(x_BTD.astype(jnp.float32))
        return jnp.where(real_BT[..., None], features_BTC, 0.0)


class CLaTr(nn.Module):
    """Latents of trajectories and of texts, and the way back; float32 in and out.

    A trajectory has `feature_size` numbers a frame (`evaluation/features/clatr.py` makes them), a text is the states of
    CLIP's ViT-B/32 up to its end token. traj_real_BT and text_real_BS: bool, False at padding.
    """

    config: CLaTrConfig
    execution: Execution = Execution()

    def setup(self):
        self.traj_encoder = Encoder(self.config, self.execution)
        self.text_encoder = Encoder(self.config, self.execution)
        self.traj_decoder = Decoder(self.config, self.execution)

    def __call__(self, traj_BTC: jax.Array, traj_real_BT, text_BSC: jax.Array, text_real_BS) -> Reading:
        """Both latents, and the features that their means are decoded to, over the frames of the trajectory."""
        traj, text = self.encode_trajectory(traj_BTC, traj_real_BT), self.encode_text(text_BSC, text_real_BS)
        return Reading(traj, text, self.decode(traj.mu_BD, traj_real_BT), self.decode(text.mu_BD, traj_real_BT))

    def encode_trajectory(self, traj_BTC: jax.Array, real_BT: jax.Array) -> Latent:
        """The latent of a trajectory."""
        return self.traj_encoder(traj_BTC, real_BT)

    def encode_text(self, text_BSC: jax.Array, real_BS: jax.Array) -> Latent:
        """The latent of a text."""
        return self.text_encoder(text_BSC, real_BS)

    def decode(self, latent_BD: jax.Array, real_BT: jax.Array) -> jax.Array:
        """Features [B, T, C] of a latent, zero where real_BT is False."""
        return self.traj_decoder(latent_BD, real_BT)


def example(config: CLaTrConfig) -> dict:
    """The smallest arguments of `CLaTr.__call__` that fix the parameters, as shapes.

    One frame and one token.
    """
    return {
        "traj_BTC": jax.ShapeDtypeStruct((1, 1, config.feature_size), jnp.float32),
        "traj_real_BT": jax.ShapeDtypeStruct((1, 1), bool),
        "text_BSC": jax.ShapeDtypeStruct((1, 1, config.text_size), jnp.float32),
        "text_real_BS": jax.ShapeDtypeStruct((1, 1), bool),
    }
