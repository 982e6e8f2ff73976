"""Training runs as shapes: what `train/tasks/` builds, without a weight, a tokenizer or a data set."""

import dataclasses
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from shotverse_jax.camera.tokenizer import sequence_length
from shotverse_jax.config import (
    TEXT_ENCODERS,
    VAES,
    ControllerConfig,
    ControllerTrainConfig,
    PlannerConfig,
    PlannerTrainConfig,
    TrainConfig,
    UMT5Config,
    WanVAEConfig,
    from_dict,
)
from shotverse_jax.fit import flops
from shotverse_jax.models.controller import Controller
from shotverse_jax.models.planner import Planner
from shotverse_jax.models.wan_vae import space_factor, time_factor
from shotverse_jax.parallel.sequence import spread
from shotverse_jax.pretrained.folder import CONFIG, read_config
from shotverse_jax.train.state import split_frozen
from shotverse_jax.train.tasks import controller as controller_run
from shotverse_jax.train.tasks import planner as planner_run

FILM = 249
"""Frames of the films that a planner is asked for (ShotVerse §4.1)."""


@dataclasses.dataclass(frozen=True)
class Outline:
    """A run: `train.task.Task` with shapes for arrays, a batch of it, and the work that one sample is."""

    run: TrainConfig
    trainable: dict
    frozen: dict
    loss_fn: Callable
    batch: dict[str, jax.ShapeDtypeStruct]
    layout: Hashable
    work: tuple[flops.Work, ...]


def outline(values: dict, mesh: Mesh, kernel: str | None = None) -> Outline:
    """The run of a config's values on a mesh, with another attention kernel than the config's if one is given.

    Raises:
        ValueError: a task other than controller and planner, an unknown value, or a text encoder of unknown size.
    """
    values = dict(values)
    task = values.pop("task")
    if task not in OUTLINES:
        raise ValueError(f"the runs that can be fitted are those of {' and '.join(OUTLINES)}; this config's is {task}")
    if kernel is not None:
        values["execution"] = {**values["execution"], "attention": kernel}
    return OUTLINES[task](values, mesh)


def _controller(values: dict, mesh: Mesh) -> Outline:
    del values["base_weights"], values["text_tokenizer"]
    config = from_dict(ControllerConfig, values.pop("model"))
    run = from_dict(ControllerTrainConfig, values)
    text = _text_config(config.text)
    controller = Controller(config, text, run.stage, run.execution)
    before = Controller(config, text, "base", run.execution)
    trainable, frozen = jax.eval_shape(lambda: controller_run.init_controller(before, jax.random.key(0))), {}
    if run.stage != "base":

        def adapted(params):
            return controller_run.adapt(config, controller, params["dit"], params["text"], jax.random.key(0), mesh)

        trainable, frozen = jax.eval_shape(adapted, _cast(trainable["params"], run.execution.dtype))
    controller = dataclasses.replace(controller, execution=spread(run.execution, mesh))
    vae = VAES.get(config.vae, WanVAEConfig)()
    latents = (
        (config.frames - 1) // time_factor(vae) + 1,
        *(n // space_factor(vae) for n in (config.height, config.width)),
    )
    batch = {
        "latents_BTHWC": (*latents, config.dit.latent_channels, "float16"),
        "shot_BT": (latents[0], "int32"),
        "camera_BTP": (latents[0], 12, "float32"),
        "ids_BS": (config.text_length, "int32"),
        "real_BS": (config.text_length, "bool"),
        "window_BKS": (run.max_shots, config.text_length, "bool"),
    }
    base = run.stage == "base"
    adapters = None if base else config.lora
    work = flops.dit(config.expert(run.stage), *latents, config.text_length, lora=adapters, trained=base)
    work = *work, flops.umt5(text, config.text_length, trained=base)
    return Outline(
        run, trainable, frozen, controller_run.make_loss(controller, run), _batch(run.batch, batch), None, work
    )


def _text_config(name: str) -> UMT5Config:
    if name in TEXT_ENCODERS:
        return TEXT_ENCODERS[name]()
    if (Path(name) / CONFIG).is_file():
        return read_config(Path(name), UMT5Config)
    raise ValueError(f"model.text is {name}: give the folder of a text encoder, or one of {', '.join(TEXT_ENCODERS)}")


def _planner(values: dict, mesh: Mesh) -> Outline:
    """With the most shots that the run has."""
    del values["base_weights"]
    config = from_dict(PlannerConfig, values.pop("model"))
    run = from_dict(PlannerTrainConfig, values)
    planner = Planner(config, spread(run.execution, mesh))
    variables = jax.eval_shape(lambda: planner_run.make_variables(planner, config, run, "", mesh))
    trainable, frozen = split_frozen(variables)
    shots = max(number for number, weight in enumerate(run.shot_weights, 1) if weight)
    text, tokens = run.text_lengths[shots - 1], config.tokens
    poses = tokens.count * shots if tokens.poses == "count" else (FILM - 1) // tokens.every + 1
    length = sequence_length(tokens, [poses // shots] * (shots - 1) + [poses - poses // shots * (shots - 1)])
    batch = {
        "text_ids_BS": (text, "int32"),
        "slot_BS": (text, "int32"),
        "text_mask_BS": (text, "bool"),
        "pose_ids_BN": (length, "int32"),
    }
    work = flops.planner(config, text, length, shots)
    frozen = _cast(frozen, run.execution.dtype)
    return Outline(run, trainable, frozen, planner_run.make_loss(planner, run), _batch(run.batch, batch), shots, work)


OUTLINES: dict[str, Callable[[dict, Mesh], Outline]] = {"controller": _controller, "planner": _planner}


def _batch(size: int, arrays: dict[str, tuple]) -> dict[str, jax.ShapeDtypeStruct]:
    return {name: jax.ShapeDtypeStruct((size, *shape), dtype) for name, (*shape, dtype) in arrays.items()}


def _cast(tree: Any, dtype: str) -> Any:
    """Frozen weights are read in the dtype that they are used in."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(dtype)), tree)
