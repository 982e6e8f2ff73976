"""ShotVerse's controller: one expert of the video transformer with its text encoder, and its training loss (§3.2)."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from shotverse_jax.config import ControllerConfig, Execution, UMT5Config
from shotverse_jax.flow.loss import bell_weight, flow_loss, interpolate
from shotverse_jax.flow.noise import film_noise
from shotverse_jax.flow.schedule import TIMESTEPS, NoiseRange, draw_sigma, training_sigmas
from shotverse_jax.models.umt5 import UMT5Encoder
from shotverse_jax.models.wan_dit import WanDiT

NOISE_BINS = 4

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


def controller_loss(
    controller: Controller,
    variables: dict,
    batch: Batch,
    key: jax.Array,
    loss_weight: Literal["uniform", "diffsynth"] = "uniform",
    subject_weight: float = 1.0,
    deterministic: bool = False,
) -> tuple[jax.Array, dict]:
    """Flow matching at the noise levels of the controller's expert (the base: all) → (loss, metrics), float32.

    The metrics are errors without weight: of all samples, of each quarter of the expert's noise levels, of either
    expert's levels for the base; NaN where no sample is. And the norm of the camera encoders, if there are any.
    subject_weight: how much a latent that shows nothing but a subject counts, where one without counts 1.
    key decides noise levels, noise and, unless deterministic, the adapters' dropout.
    """
    config = controller.config
    sigma_key, noise_key, dropout_key = jax.random.split(key, 3)
    owns: NoiseRange = "both" if controller.expert == "base" else controller.expert
    clean_BTHWC = batch["latents_BTHWC"].astype(jnp.float32)
    sigma_B = draw_sigma(sigma_key, len(clean_BTHWC), config.shift, config.boundary, owns)
    noise_BTHWC = film_noise(noise_key, clean_BTHWC.shape, config.shared_noise)
    noisy_BTHWC = interpolate(clean_BTHWC, noise_BTHWC, sigma_B)
    rngs = None if deterministic else {"dropout": dropout_key}
    velocity_BTHWC = controller.apply(variables, noisy_BTHWC, sigma_B, batch, deterministic, rngs=rngs)
    weight_B = bell_weight(sigma_B, config.shift) if loss_weight == "diffsynth" else jnp.ones_like(sigma_B)
    mask_BTHW1 = None
    if subject_weight != 1:
        mask_BTHW1 = 1 + (subject_weight - 1) * batch["subject_BTHW"][..., None]
    loss = flow_loss(velocity_BTHWC, clean_BTHWC, noise_BTHWC, weight_B, mask_BTHW1)
    error_B = jax.vmap(flow_loss)(velocity_BTHWC, clean_BTHWC, noise_BTHWC)
    metrics = {"loss_unweighted": jnp.mean(error_B)}
    if owns == "both":
        high_B = sigma_B >= config.boundary
        metrics |= {"loss_high": _mean_where(high_B, error_B), "loss_low": _mean_where(~high_B, error_B)}
    grid = training_sigmas(config.shift, config.boundary, owns)
    edges = [*grid[:: -(-len(grid) // NOISE_BINS)], 0.0]
    for top, bottom in zip(edges, edges[1:], strict=False):
        name = f"loss_sigma_{max(bottom, grid[-1]):.2f}_{top:.2f}"
        metrics[name] = _mean_where((sigma_B <= top) & (sigma_B > bottom), error_B)
    if config.expert(controller.expert).camera:
        metrics["camera_norm"] = _camera_norm(variables["params"]["dit"])
    return loss, metrics


def _mean_where(mask_B: jax.Array, value_B: jax.Array) -> jax.Array:
    """The mean where the mask is; NaN where it is nowhere."""
    return jnp.sum(jnp.where(mask_B, value_B, 0.0)) / jnp.sum(mask_B)


def _camera_norm(params: dict) -> jax.Array:
    """Norm of all parameters of the camera encoders, which start at zero."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    squares = [
        jnp.sum(jnp.square(x.astype(jnp.float32))) for path, x in leaves if "camera" in jax.tree_util.keystr(path)
    ]
    return jnp.sqrt(jnp.sum(jnp.stack(squares)))


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
