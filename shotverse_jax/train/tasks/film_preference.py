"""Preference optimisation of a controller's expert on pairs of films: Flow-DPO (arXiv 2501.13918).

Both films of a pair get the same noise at the same level. What stands for the log-probability of a film is -1/2 of the
mean square error of its velocity; the reference is the same network without its new adapter.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from shotverse_jax.config import FilmPreferenceTrainConfig
from shotverse_jax.data.controller_source import ControllerSource
from shotverse_jax.data.steps import FieldsOnly
from shotverse_jax.flow.loss import flow_loss, interpolate
from shotverse_jax.flow.noise import film_noise
from shotverse_jax.flow.schedule import draw_sigma
from shotverse_jax.models.controller import Controller
from shotverse_jax.train.preference_losses import flow_errors_to_log_probs, preference_loss
from shotverse_jax.train.state import merge
from shotverse_jax.train.task import Loss, Task
from shotverse_jax.train.tasks import controller as controller_task

REJECTED = "rejected_BTHWC"
"""In a batch, the latents of the worse films; those of the better ones are `latents_BTHWC`."""


def build(config: FilmPreferenceTrainConfig, folder: Path) -> Task:
    """The task of a config: that of the expert, whose new adapter alone learns, with another loss and other batches.

    Raises:
        ValueError: as the controller's, or the expert is "base", or both data sets have not the same films.
    """
    if config.expert == "base":
        raise ValueError('preferences train an adapter of an expert: expert is "high" or "low"')
    task = controller_task.build(config, folder, make_loss)
    trainable, frozen = dict(task.trainable), task.frozen
    # Camera encoders stay as they are: the reference has none of its own.
    if "params" in trainable:
        camera = {"params": trainable.pop("params")}
        frozen = merge(frozen, jax.tree.map(lambda x: x.astype(config.execution.dtype), camera))
    return dataclasses.replace(
        task,
        trainable=trainable,
        frozen=frozen,
        source=functools.partial(_source, task.source, config),
    )


def make_loss(controller: Controller, config: FilmPreferenceTrainConfig) -> Loss:
    """The loss of a run; without a key, every batch gets the same noise."""

    def loss(variables, batch, bucket, key):
        drawn = jax.random.key(config.seed) if key is None else key
        errors_B2 = film_errors(controller, variables, batch, drawn)
        without = {name: part for name, part in variables.items() if name != "lora"}
        reference_B2 = jax.lax.stop_gradient(film_errors(controller, without, batch, drawn))
        both = flow_errors_to_log_probs(errors_B2), flow_errors_to_log_probs(reference_B2)
        value, metrics = preference_loss("dpo", *both, beta=config.beta)
        better = jnp.mean(errors_B2[:, 0])
        moved = better - jnp.mean(reference_B2[:, 0])
        return value + config.sft_weight * better, metrics | {"preference": value, "flow": better, "flow_moved": moved}

    return loss


def film_errors(controller: Controller, variables: dict, batch: dict, key: jax.Array) -> jax.Array:
    """The mean square errors [B, 2] of the velocities of both films of every pair, at one noise level and one noise."""
    sigma_key, noise_key = jax.random.split(key)
    config, films = controller.config, (batch["latents_BTHWC"], batch[REJECTED])
    sigma_B = draw_sigma(sigma_key, len(films[0]), config.shift, config.boundary, controller.expert)
    noise_BTHWC = film_noise(noise_key, films[0].shape, config.shared_noise)
    conditions = {name: value for name, value in batch.items() if name not in ("latents_BTHWC", REJECTED)}
    errors = []
    # One after the other, in the memory of one.
    for clean_BTHWC in (film.astype(jnp.float32) for film in films):
        noisy_BTHWC = interpolate(clean_BTHWC, noise_BTHWC, sigma_B)
        velocity_BTHWC = controller.apply(variables, noisy_BTHWC, sigma_B, conditions, True)
        errors.append(jax.vmap(flow_loss)(velocity_BTHWC, clean_BTHWC, noise_BTHWC))
    return jnp.stack(errors, axis=1)


@dataclasses.dataclass(frozen=True)
class FilmPairs(FieldsOnly):
    """Batches of the better films, with the latents of the worse ones beside.

    Attributes:
        chosen, rejected: batches of both; the same steps have the same places of their records.

    Raises:
        ValueError: on access, films of different screenplays, cuts or cameras.
    """

    chosen: ControllerSource
    rejected: ControllerSource

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, step: int) -> tuple[None, dict[str, np.ndarray]]:
        (_, better), (_, worse) = self.chosen[step], self.rejected[step]
        for name, value in better.items():
            if name != "latents_BTHWC" and not np.array_equal(value, worse[name]):
                raise ValueError(
                    f"{self.chosen.folder} and {self.rejected.folder} are not of the same films in the same order: "
                    f"{name} differs; encode both from the same list"
                )
        return None, better | {REJECTED: worse["latents_BTHWC"]}


def _source(make: Any, config: FilmPreferenceTrainConfig, split: str, num_steps: int) -> FilmPairs:
    chosen = make(split, num_steps)
    rejected = config.rejected if split == "train" else config.test_rejected
    return FilmPairs(chosen, dataclasses.replace(chosen, folder=rejected))
