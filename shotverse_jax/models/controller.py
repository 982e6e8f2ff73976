"""ShotVerse's controller: one expert of the video transformer with its text encoder (§3.2)."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from shotverse_jax.config import ControllerConfig, Execution, UMT5Config
from shotverse_jax.models.umt5 import UMT5Encoder
from shotverse_jax.models.wan_dit import WanDiT

TIMESTEPS = 1000
"""The video transformer sees the noise level sigma in [0, 1] as the time 1000 sigma, as Wan does."""

Batch = dict[str, jax.Array]
"""What `data/controller_source.py` makes: latents_BTHWC, shot_BT, camera_BTP; of the prompt ids_BS (or context_BSD, its
states, made before), real_BS and window_BKS; and subject_BTHW where the loss has a weight for subjects."""


class Controller(nn.Module):
    """One expert: the video transformer and its text encoder. Parameters `dit` and `text`; adapters, if any, `dit`.

    expert: "high" or "low", the expert of those noise levels, or "base", the model that both start from.
    """

    config: ControllerConfig
    text_config: UMT5Config
    expert: Literal["high", "low", "base"]
    execution: Execution = Execution()

    def setup(self):
        self.dit = WanDiT(self.config.expert(self.expert), self.execution)
        self.text = UMT5Encoder(self.text_config, self.execution)

    def __call__(self, noisy_BTHWC: jax.Array, sigma_B: jax.Array, batch: Batch, deterministic: bool = True):
        """velocity_BTHWC of noisy latents at noise levels sigma_B (0 to 1), float32.

        deterministic: False runs the adapters' dropout and needs an rng named "dropout".
        """
        # Films that were recorded with their text states need no text encoder here, which saves its memory and time.
        stored = batch.get("context_BSD")
        context_BSD = self.context(batch["ids_BS"], batch["real_BS"]) if stored is None else stored
        return self.velocity(noisy_BTHWC, sigma_B, context_BSD, batch, deterministic=deterministic)

    def context(self, ids_BS: jax.Array, real_BS: jax.Array) -> jax.Array:
        """Text states [B, S, D], zero at padding."""
        return self.text(ids_BS, real_BS)

    def velocity(self, noisy_BTHWC, sigma_B, context_BSD, batch: Batch, *, shot_lengths=None, deterministic=True):
        """`__call__` with text states that `context` made before, so that a sampling loop makes them once.

        shot_lengths: latent frames of each shot, static; sparse attention needs it.
        """
        # The low-noise expert has no camera encoder (ShotVerse §5.1), and WanDiT refuses a camera that it cannot read.
        return self.dit(
            noisy_BTHWC,
            TIMESTEPS * sigma_B,
            context_BSD,
            batch["shot_BT"],
            batch["window_BKS"],
            batch["camera_BTP"] if self.dit.config.camera else None,
            shot_lengths=shot_lengths,
            deterministic=deterministic,
        )


def example(config: ControllerConfig) -> dict:
    """The smallest arguments of `Controller.__call__` that fix the parameters, as shapes.

    One latent frame of one patch, one token.
    """
    dit = config.dit
    return {
        "noisy_BTHWC": jax.ShapeDtypeStruct((1, 1, *dit.patch[1:], dit.latent_channels), jnp.float32),
        "sigma_B": jax.ShapeDtypeStruct((1,), jnp.float32),
        "batch": {
            "shot_BT": jax.ShapeDtypeStruct((1, 1), jnp.int32),
            "camera_BTP": jax.ShapeDtypeStruct((1, 1, 12), jnp.float32),
            "ids_BS": jax.ShapeDtypeStruct((1, 1), jnp.int32),
            "real_BS": jax.ShapeDtypeStruct((1, 1), bool),
            "window_BKS": jax.ShapeDtypeStruct((1, 1, 1), bool),
        },
    }
