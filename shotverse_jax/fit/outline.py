"""Training runs as shapes: what `train/tasks/` builds, without a weight, a tokenizer or a data set."""

import dataclasses
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from shotverse_jax.camera.tokens.shotverse import sequence_length
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
from shotverse_jax.models.controller import Controller, example
from shotverse_jax.models.planner import Planner
from shotverse_jax.models.wan_vae import space_factor, time_factor
from shotverse_jax.parallel.sequence import spread
from shotverse_jax.train.state import split_frozen
from shotverse_jax.train.tasks import controller as controller_run
from shotverse_jax.train.tasks import planner as planner_run
from shotverse_jax.weights import abstract, init_module
from shotverse_jax.weights.folder import CONFIG, read_config

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
    whole: Callable[[dict], dict] | None = None


def outline(values: dict, mesh: Mesh, kernel: str | None = None) -> Outline:
    """The run of a config's values on a mesh, with another attention kernel than the config's if one is given.

    Raises:
        ValueError: a task other than controller and planner, an unknown value, or a text encoder of unknown size.
    """
    task, config, run = _read(values)
    if kernel is not None:
        run = dataclasses.replace(run, execution=dataclasses.replace(run.execution, attention=kernel))
    return task.outline(config, run, mesh)


def work(values: dict, layout: Hashable) -> tuple[flops.Work, ...]:
    """The work that one sample of a config's run is, in a batch of that layout (of a planner the number of shots).

    Raises:
        ValueError: as `outline`.
    """
    task, config, run = _read(values)
    return task.work(config, run, layout)


def _read(values: dict) -> tuple["_Task", Any, Any]:
    """What task it is, the config of its network and that of its run."""
    values = {name: value for name, value in values.items() if name not in ("base_weights", "text_tokenizer")}
    task = values.pop("task")
    if task not in TASKS:
        raise ValueError(f"the runs that can be fitted are those of {' and '.join(TASKS)}; this config's is {task}")
    return TASKS[task], from_dict(TASKS[task].config, values.pop("model")), from_dict(TASKS[task].run, values)


def _controller(config: ControllerConfig, run: ControllerTrainConfig, mesh: Mesh) -> Outline:
    key, states = jax.random.key(0), controller_run.has_states(config, run)
    text = UMT5Config() if states else _text_config(config.text)
    controller = Controller(config, text, run.expert, run.execution)
    if run.expert == "base":
        trainable, frozen = jax.eval_shape(lambda: {"params": init_module(controller, example(config), key)}), {}
    else:
        base = abstract("controller", config, expert="base")
        words = None if states else abstract("text_encoder", text)
        trainable, frozen = jax.eval_shape(
            lambda base, words: controller_run.adapt(config, controller, base, words, key, mesh),
            *_cast((base, words), run.execution.dtype),
        )
    controller = dataclasses.replace(controller, execution=spread(run.execution, mesh))
    frames, *sides = latents(config)
    batch = {
        "latents_BTHWC": (frames, *sides, config.dit.latent_channels, "float16"),
        "shot_BT": (frames, "int32"),
        "camera_BTP": (frames, 12, "float32"),
        "real_BS": (config.text_length, "bool"),
        "window_BKS": (run.max_shots, config.text_length, "bool"),
    }
    if states:
        batch["context_BSD"] = (config.text_length, config.dit.text_size, "float16")
    else:
        batch["ids_BS"] = (config.text_length, "int32")
    loss_fn, parts = controller_run.make_loss(controller, run), _controller_work(config, run)
    return Outline(run, trainable, frozen, loss_fn, _batch(run.batch, batch), None, parts)


def _controller_work(
    config: ControllerConfig, run: ControllerTrainConfig, layout: None = None
) -> tuple[flops.Work, ...]:
    base = run.expert == "base"
    adapters = None if base else config.lora
    video = flops.dit(config.expert(run.expert), *latents(config), config.text_length, lora=adapters, trained=base)
    if controller_run.has_states(config, run):
        return video
    return *video, flops.umt5(_text_config(config.text), config.text_length, trained=base)


def latents(config: ControllerConfig) -> tuple[int, int, int]:
    """Frames, height and width of a film's latents."""
    vae = VAES.get(config.vae, WanVAEConfig)()
    space = space_factor(vae)
    return (config.frames - 1) // time_factor(vae) + 1, config.height // space, config.width // space


def _text_config(name: str) -> UMT5Config:
    if name in TEXT_ENCODERS:
        return TEXT_ENCODERS[name]()
    if (Path(name) / CONFIG).is_file():
        return read_config(Path(name), UMT5Config)
    raise ValueError(f"model.text is {name}: give the folder of a text encoder, or one of {', '.join(TEXT_ENCODERS)}")


def _planner(config: PlannerConfig, run: PlannerTrainConfig, mesh: Mesh) -> Outline:
    """With the most shots that the run has."""
    planner = Planner(config, spread(run.execution, mesh))
    variables = jax.eval_shape(lambda: planner_run.make_variables(planner, config, run, "", mesh))
    trainable, frozen = split_frozen(variables)
    frozen = _cast(frozen, run.execution.dtype)
    shots = max(number for number, weight in enumerate(run.shot_weights, 1) if weight)
    text = run.text_lengths[shots - 1]
    batch = {
        "text_ids_BS": (text, "int32"),
        "slot_BS": (text, "int32"),
        "real_BS": (text, "bool"),
        "pose_ids_BN": (_pose_tokens(config, shots), "int32"),
    }
    loss_fn, parts = planner_run.make_loss(planner, run), _planner_work(config, run, shots)
    return Outline(
        run, trainable, frozen, loss_fn, _batch(run.batch, batch), shots, parts, planner_run.targets_of_whole
    )


def _planner_work(config: PlannerConfig, run: PlannerTrainConfig, shots: int) -> tuple[flops.Work, ...]:
    return flops.planner(config, run.text_lengths[shots - 1], _pose_tokens(config, shots), shots)


def _pose_tokens(config: PlannerConfig, shots: int) -> int:
    tokens = config.tokens
    poses = tokens.count * shots if tokens.poses == "count" else (FILM - 1) // tokens.every + 1
    return sequence_length(tokens, [poses // shots] * (shots - 1) + [poses - poses // shots * (shots - 1)])


class _Task(NamedTuple):
    """The configs of a task, and what `outline` and `work` are of it."""

    config: type
    run: type
    outline: Callable[[Any, Any, Mesh], Outline]
    work: Callable[[Any, Any, Any], tuple[flops.Work, ...]]


TASKS = {
    "controller": _Task(ControllerConfig, ControllerTrainConfig, _controller, _controller_work),
    "planner": _Task(PlannerConfig, PlannerTrainConfig, _planner, _planner_work),
}


def _batch(size: int, arrays: dict[str, tuple]) -> dict[str, jax.ShapeDtypeStruct]:
    return {name: jax.ShapeDtypeStruct((size, *shape), dtype) for name, (*shape, dtype) in arrays.items()}


def _cast(tree: Any, dtype: str) -> Any:
    """Frozen weights are read in the dtype that they are used in."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(dtype)), tree)
