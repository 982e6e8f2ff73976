"""Training a controller on encoded films: the base model, then each of its two experts (ShotVerse §5.1)."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

from shotverse_jax import lora, weights
from shotverse_jax.config import TEXT_ENCODERS, ControllerConfig, ControllerTrainConfig, UMT5Config, from_dict
from shotverse_jax.data.controller_source import ControllerSource
from shotverse_jax.data.records import SETTINGS, read_settings
from shotverse_jax.inputs.tokenizer import pin_tokenizer
from shotverse_jax.models.camera_encoder import add_camera, split_camera
from shotverse_jax.models.controller import Controller, controller_loss, example
from shotverse_jax.parallel.mesh import batch_share, make_mesh
from shotverse_jax.parallel.rules import create
from shotverse_jax.parallel.sequence import spread
from shotverse_jax.train.task import Task
from shotverse_jax.weights.folder import has


def build(values: dict, folder: Path) -> Task:
    """The task of a config's values.

    Stage "base" trains the transformer and a text encoder with it (`TEXT_ENCODERS[model.text]`, which reads with the
    tokenizer of `text_tokenizer`). Stages "high" and "low" adapt the base model of `base_weights`, a folder or shipped
    name, or go on from its expert of that name where it has no base model; they read with the encoder `model.text`.
    Where the films were recorded with its states (`launch/encode.py --text`), these take its place and it is not
    loaded.

    Raises:
        ValueError: an unknown value, or states of another encoder or for another negative prompt.
    """
    base_weights, tokenizer = values.pop("base_weights"), values.pop("text_tokenizer")
    config = from_dict(ControllerConfig, values.pop("model"))
    run = from_dict(ControllerTrainConfig, values)
    key, mesh = jax.random.key(run.seed), make_mesh(run.mesh)
    states = has_states(config, run)
    if run.expert == "base":
        text_config, tokenizer_file = TEXT_ENCODERS[config.text](), weights.find_tokenizer(tokenizer)
        controller = Controller(config, text_config, "base", run.execution)
        trainable, frozen = create(lambda: {"params": weights.init_module(controller, example(config), key)}, mesh), {}
    else:
        place = {"mesh": mesh, "dtype": run.execution.dtype}  # frozen weights need no float32 copy
        if states:
            text_config, text_params, tokenizer_file = UMT5Config(), None, None
        else:
            text_config, text_params, _ = weights.load("text_encoder", config.text, **place)
            tokenizer_file = weights.find_tokenizer(config.text)
        controller = Controller(config, text_config, run.expert, run.execution)
        base_folder = weights.find("controller", base_weights)
        begin = "base" if has(base_folder, "base.safetensors") else run.expert
        _, base, _ = weights.load("controller", base_folder, expert=begin, **place)
        trainable, frozen = adapt(config, controller, base, text_params, key, mesh)
    if tokenizer_file is not None:
        pin_tokenizer(tokenizer_file, folder)
    controller = dataclasses.replace(controller, execution=spread(run.execution, mesh))

    def export(variables, folder):
        params = variables["params"]
        if run.expert == "base":
            weights.export("text_encoder", params["text"], text_config, folder / "text", tokenizer_file=tokenizer_file)
            weights.export("controller", params["dit"], config, folder, expert="base")
        else:
            adapter = variables["lora"]["dit"]
            weights.export("controller", lora.merge(params["dit"], adapter), config, folder, expert=run.expert)
            weights.export_adapter(adapter, split_camera(params["dit"])[1], config, folder / "adapter", run.expert)

    source = functools.partial(_source, config, run, tokenizer_file, states)
    return Task(run, trainable, frozen, make_loss(controller, run), source, export)


def make_loss(controller: Controller, run: ControllerTrainConfig) -> Callable:
    """The loss of a run, as `Task` has it; without a key every batch draws the same noise."""

    def loss_fn(variables, batch, layout, key):
        drawn = jax.random.key(run.seed) if key is None else key
        return controller_loss(
            controller, variables, batch, drawn, run.loss_weight, run.subject_weight, deterministic=key is None
        )

    return loss_fn


def has_states(config: ControllerConfig, run: ControllerTrainConfig) -> bool:
    """Whether a run reads the text states that its films were recorded with; "base" trains the encoder and never does.

    Raises ValueError for states of another encoder or for another negative prompt.
    """
    if run.expert == "base":
        return False
    made = [read_settings(folder) for folder in (run.data, run.test_data) if (Path(folder) / SETTINGS).is_file()]
    if not any("text" in settings for settings in made):
        return False
    wanted = {"text": Path(config.text).name, "negative": config.negative}
    for settings in made:
        if (there := {name: settings.get(name) for name in wanted}) != wanted:
            raise ValueError(f"films were recorded with the text states of {there}, and the controller has {wanted}")
    return True


def adapt(
    config: ControllerConfig, controller: Controller, base: dict, text: dict | None, key, mesh
) -> tuple[dict, dict]:
    """(trainable, frozen): adapters and camera encoders; the base model and the text encoder, if it is needed.

    A base that has camera encoders goes on with them.
    """
    if config.lora is None:
        raise ValueError("the experts are trained as adapters of the base model; give config.lora a rank")
    fresh = config.expert(controller.expert).camera and not split_camera(base)[1]
    dit = add_camera(base) if fresh else base
    adapter = create(lambda: lora.init(key, dit, config.lora), mesh)
    rest, camera = split_camera(dit)
    camera = jax.tree.map(lambda x: x.astype(jnp.float32), camera)
    trainable = {"lora": {"dit": adapter}} | ({"params": {"dit": camera}} if camera else {})
    return trainable, {"params": {"dit": rest} | ({} if text is None else {"text": text})}


def _source(config, run, tokenizer_file: Path | None, states: bool, split: str, num_steps: int) -> ControllerSource:
    """Training batches, or for the test split as many of held-out films, whose prompts all stay."""
    host, num_hosts = batch_share(make_mesh(run.mesh))
    return ControllerSource(
        config=config,
        folder=run.data if split == "train" else run.test_data,
        tokenizer_file=str(tokenizer_file),
        seed=run.seed,
        global_batch=run.batch,
        num_steps=num_steps,
        text_dropout=run.text_dropout if split == "train" else 0.0,
        rows=run.max_shots,
        host=host,
        num_hosts=num_hosts,
        states=states,
        subjects=run.subject_weight != 1,
    )
