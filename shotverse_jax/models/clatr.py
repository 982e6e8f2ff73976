"""CLaTr, as GenDoP trained it (robincourant/CLaTr src/models/actor.py, temos.py): trajectories and texts in one space.

Post-LN transformers of torch's making (attention with q, k and v from one linear, exact GELU, eps 1e-5), sinusoidal
positions. Dropout is where the original has it, but for the probabilities of its attentions. Parameters:
traj_encoder, text_encoder (queries [2, D], project, layers), traj_decoder (layers, head); every leaf of `layers` is
stacked on axis 0.

Axes: T items of a trajectory (in the layers: of any sequence), S tokens of a text, C features of an item, N heads. An
item is a frame, or a few in a row (`CLaTrConfig.feature_size`).
"""

import functools
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

# torch's own initial values, as the original has them. The two learned tokens are drawn with deviation 1: with small
# kernels they would hide what is read, and nothing would be learned for long.
_init, _qkv_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"), nn.initializers.xavier_uniform()
_Dense = functools.partial(Linear, use_bias=True, kernel_init=_init)


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
        project = _Dense(3 * width, kernel_init=_qkv_init, name="qkv")
        q, k, v = jnp.split(project(x_BTD), 3, axis=-1)
        if memory_BSD is not None:
            # torch keeps the matrices of q, k and v as one; of a memory only k and v are used.
            _, k, v = jnp.split(project(memory_BSD), 3, axis=-1)
        q, k, v = (y.reshape(*y.shape[:2], self.config.num_heads, -1) for y in (q, k, v))
        real_B1S = None if real_BS is None else real_BS[:, None]
        mixed_BTNH = attend(q, k, v, kernel=self.execution.attention, mask_BTS=real_B1S)
        return _Dense(width, name="out_proj")(mixed_BTNH.reshape(x_BTD.shape))


class Block(nn.Module):
    """norm(x + self-attention(x)); with a memory then norm(x + attention to it); norm(x + fc2(gelu(fc1(x))))."""

    config: CLaTrConfig
    execution: Execution

    @nn.compact
    def __call__(self, x_BTD, real_BT, memory_BSD=None, deterministic: bool = True):
        config, dropout = self.config, nn.Dropout(self.config.dropout, deterministic=deterministic)
        attended_BTD = Attention(config, self.execution, name="self_attn")(x_BTD, real_BS=real_BT)
        x_BTD = LayerNorm(name="self_norm")(x_BTD + dropout(attended_BTD))
        if memory_BSD is not None:
            # The memory is a single token, the latent: there is no padding to mask.
            attended_BTD = Attention(config, self.execution, name="cross_attn")(x_BTD, memory_BSD)
            x_BTD = LayerNorm(name="cross_norm")(x_BTD + dropout(attended_BTD))
        wide_BTF = dropout(nn.gelu(_Dense(config.mlp_size, name="fc1")(x_BTD), approximate=False))
        narrow_BTD = dropout(_Dense(config.hidden_size, name="fc2")(wide_BTF))
        return LayerNorm(name="mlp_norm")(x_BTD + narrow_BTD)


class Encoder(nn.Module):
    """Reads a sequence after two learned tokens, whose states are the mean and the log-variance of the latent."""

    config: CLaTrConfig
    execution: Execution

    @nn.compact
    def __call__(self, x_BTC, real_BT, deterministic: bool = True) -> Latent:
        config, batch = self.config, len(x_BTC)
        queries_2D = self.param("queries", nn.initializers.normal(1.0), (2, config.hidden_size))
        x_BTD = _Dense(config.hidden_size, name="project")(x_BTC)
        x_BTD = jnp.concatenate([jnp.broadcast_to(queries_2D, (batch, *queries_2D.shape)), x_BTD], axis=1)
        x_BTD = (x_BTD + sinusoids(*x_BTD.shape[1:])).astype(self.execution.dtype)
        x_BTD = nn.Dropout(config.dropout, deterministic=deterministic)(x_BTD)
        real_BT = jnp.pad(real_BT, ((0, 0), (2, 0)), constant_values=True)
        layers = Block(config, self.execution, name="layers")
        static = {"deterministic": deterministic}
        x_BTD = run_stack(layers, config.num_layers, self.execution, x_BTD, real_BT, **static).astype(jnp.float32)
        return Latent(x_BTD[:, 0], x_BTD[:, 1])


class Decoder(nn.Module):
    """Features [B, T, C] of a latent, zero at padding: frames start as their positions and attend to the latent."""

    config: CLaTrConfig
    execution: Execution

    @nn.compact
    def __call__(self, latent_BD, real_BT, deterministic: bool = True) -> jax.Array:
        config, dtype = self.config, self.execution.dtype
        x_TD = jnp.asarray(sinusoids(real_BT.shape[1], config.hidden_size), dtype)
        x_BTD = jnp.broadcast_to(x_TD, (len(real_BT), *x_TD.shape))
        x_BTD = nn.Dropout(config.dropout, deterministic=deterministic)(x_BTD)
        layers, memory_B1D = Block(config, self.execution, name="layers"), latent_BD[:, None].astype(dtype)
        static = {"deterministic": deterministic}
        x_BTD = run_stack(layers, config.num_layers, self.execution, x_BTD, real_BT, memory_B1D, **static)
        features_BTC = _Dense(config.feature_size, name="head")(x_BTD.astype(jnp.float32))
        return jnp.where(real_BT[..., None], features_BTC, 0.0)


class CLaTr(nn.Module):
    """Latents of trajectories and of texts, and the way back; float32 in and out.

    A trajectory has `feature_size` numbers an item (`inputs/clatr.py` makes them), a text is the states of CLIP's
    ViT-B/32 up to its end token. traj_real_BT and text_real_BS: bool, False at padding. `deterministic`: False runs
    dropout and needs an rng named "dropout".
    """

    config: CLaTrConfig
    execution: Execution = Execution()

    def setup(self):
        self.traj_encoder = Encoder(self.config, self.execution)
        self.text_encoder = Encoder(self.config, self.execution)
        self.traj_decoder = Decoder(self.config, self.execution)

    def __call__(self, traj_BTC: jax.Array, traj_real_BT, text_BSC: jax.Array, text_real_BS) -> Reading:
        """Both latents, and the features that their means are decoded to, over the items of the trajectory."""
        traj, text = self.encode_trajectory(traj_BTC, traj_real_BT), self.encode_text(text_BSC, text_real_BS)
        return Reading(traj, text, self.decode(traj.mu_BD, traj_real_BT), self.decode(text.mu_BD, traj_real_BT))

    def encode_trajectory(self, traj_BTC: jax.Array, real_BT: jax.Array, deterministic: bool = True) -> Latent:
        """The latent of a trajectory."""
        return self.traj_encoder(traj_BTC, real_BT, deterministic)

    def encode_text(self, text_BSC: jax.Array, real_BS: jax.Array, deterministic: bool = True) -> Latent:
        """The latent of a text."""
        return self.text_encoder(text_BSC, real_BS, deterministic)

    def decode(self, latent_BD: jax.Array, real_BT: jax.Array, deterministic: bool = True) -> jax.Array:
        """Features [B, T, C] of a latent, zero where real_BT is False."""
        return self.traj_decoder(latent_BD, real_BT, deterministic)

    def read_and_sample(
        self, traj_BTC: jax.Array, text_BSC: jax.Array, text_real_BS: jax.Array, noise_2BD: jax.Array | None
    ) -> tuple[Reading, jax.Array, jax.Array]:
        """What a training step needs of whole trajectories.

        Args:
            traj_BTC: trajectories without padding.
            text_BSC, text_real_BS: as above.
            noise_2BD: the draws of the latents of trajectories and of texts, standard normal; dropout then runs. None
                takes the means, without dropout.

        Returns:
            The reading, whose features are decoded from the latents that were drawn; and these latents, [B, D] of the
            trajectories and of the texts.
        """
        still = noise_2BD is None
        real_BT = jnp.ones(traj_BTC.shape[:2], bool)
        traj, text = self.encode_trajectory(traj_BTC, real_BT, still), self.encode_text(text_BSC, text_real_BS, still)
        noise_2BD = (0.0, 0.0) if still else noise_2BD
        traj_BD, text_BD = (
            d.mu_BD + e * jnp.exp(0.5 * d.logvar_BD) for d, e in zip((traj, text), noise_2BD, strict=True)
        )
        # Both are decoded in one pass: with twice the samples it costs less than two passes.
        both_BTC = self.decode(jnp.concatenate([traj_BD, text_BD]), jnp.concatenate([real_BT, real_BT]), still)
        return Reading(traj, text, *jnp.split(both_BTC, 2)), traj_BD, text_BD


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
