"""Training GenDoP: its data, its loss and its weights (GenDoP core/models.py, core/provider.py, main.py)."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from shotverse_jax import weights
from shotverse_jax.camera.tokens.gendop import sequence_length
from shotverse_jax.config import GenDoPConfig, GenDoPTrainConfig
from shotverse_jax.cost import flops
from shotverse_jax.cost.accelerators import ideal_step_seconds
from shotverse_jax.data.datadop.shots import CAPTIONS
from shotverse_jax.data.gendop_source import DataDoPShots, GenDoPSource, StageShots
from shotverse_jax.inputs.clip import SPECIAL_TOKENS
from shotverse_jax.inputs.tokenizer import learned_tokenizer, pin_tokenizer
from shotverse_jax.models.gendop import CONDITIONS, GenDoP
from shotverse_jax.parallel.mesh import batch_share, make_mesh
from shotverse_jax.parallel.rules import create
from shotverse_jax.parallel.sequence import spread
from shotverse_jax.train.anchor_losses import anchor_losses
from shotverse_jax.train.task import Loss, Outline, Task, batch_shapes, cast
from shotverse_jax.train.tasks.planner import planner_loss
from shotverse_jax.weights.folder import TOKENIZER


def build(config: GenDoPTrainConfig, folder: Path) -> Task:
    """The task of a config; `folder` gets the text tokenizer when one is learned, and a note of which one is used.

    Raises:
        ValueError: a run in `folder` that was started with another text tokenizer, weights of another size, or data
            without shots.
    """
    if config.base_weights and (config.text_weights or config.vision_weights):
        raise ValueError("base_weights is a whole network; give it, or text_weights and vision_weights")
    model = config.model
    shots = {split: _shots(config, split) for split in ("train", "test")}
    tokenizer_file = _tokenizer(config, folder, shots["train"])
    if tokenizer_file:
        pin_tokenizer(tokenizer_file, folder)
    mesh = make_mesh(config.mesh)
    trainable, frozen = split_towers(make_params(config, mesh), model, config.freeze_towers)
    # Frozen weights need no float32 copy.
    frozen = jax.tree.map(lambda leaf: leaf.astype(config.execution.dtype), frozen)
    return Task(
        config=config,
        trainable={"params": trainable},
        frozen={"params": frozen} if frozen else {},
        loss=_loss(config, mesh),
        source=functools.partial(_source, config, tokenizer_file, shots),
        export=functools.partial(_export, model, tokenizer_file),
        ideal_step_seconds=ideal_step_seconds(config.batch, functools.partial(work, config), mesh),
    )


def outline(config: GenDoPTrainConfig, mesh: Mesh) -> Outline:
    """The run as shapes."""
    model = config.model
    # Random weights have the same shapes as those that a run begins with.
    config = dataclasses.replace(config, base_weights="", text_weights="", vision_weights="")
    params = jax.eval_shape(lambda: make_params(config, mesh))
    trainable, frozen = split_towers(params, model, config.freeze_towers)
    batch = {"pose_ids_BN": (sequence_length(model.tokens), "int32")} | condition_shapes(model)
    if model.tokens.anchor == "head":
        batch |= {"anchor_B3": (3, "float32"), "rotation_B33": (3, 3, "float32"), "lens_B4": (4, "float32")}
    return Outline(
        config=config,
        trainable={"params": trainable},
        frozen=cast({"params": frozen}, config.execution.dtype) if frozen else {},
        loss=_loss(config, mesh),
        batch=batch_shapes(config.batch, batch),
        bucket=None,
        work=work(config),
    )


def condition_shapes(model: GenDoPConfig) -> dict[str, tuple]:
    """{name: (*shape, dtype)} of what a network reads of one sample, as `batch_shapes` takes them."""
    text, size = model.text and model.text.max_positions, model.vision and model.vision.image_size
    shapes = {
        "text": {"text_ids_BT": (text, "int32"), "real_BT": (text, "bool")},
        "image": {"image_BHWC": (size, size, 3, "float32")},
        "depth": {"depth_BHW": (size, size, "float32")},
    }
    return {name: shape for part in model.conditions for name, shape in shapes[part].items()}


def work(config: GenDoPTrainConfig, bucket: None = None) -> tuple[flops.Work, ...]:
    """The operations of one shot."""
    return flops.gendop(config.model, sequence_length(config.model.tokens), trained=not config.freeze_towers)


def split_towers(params: dict, model: GenDoPConfig, freeze_towers: bool) -> tuple[dict, dict]:
    """(trainable, frozen) parameters of a network: all are trained, or all but the towers."""
    if not freeze_towers:
        return params, {}
    trainable, frozen = dict(params), {}
    for part in model.conditions:
        trainable[part] = dict(params[part])
        frozen[part] = {"tower": trainable[part].pop("tower")}
    return trainable, frozen


def _loss(config: GenDoPTrainConfig, mesh: Mesh) -> Loss:
    network = GenDoP(config.model, spread(config.execution, mesh))
    return make_loss(network, config.code_penalty, config.anchor_weight, config.screen_weight)


def make_loss(network: GenDoP, code_penalty: float, anchor_weight: float = 0.0, screen_weight: float = 0.0) -> Loss:
    """The loss of a run: the mean cross-entropy of all next tokens, and λ times the mean square of the prefix.

    A network with an anchor head adds both of `anchor_losses`, with their weights.
    """
    tokens = network.config.tokens

    def loss(variables, batch, bucket, key):
        rngs = None if key is None else {"dropout": key}
        logits_BNV, prefix_BPD, predicted_B3 = network.apply(variables, batch, key is None, rngs=rngs, method=_outputs)
        value, metrics = planner_loss(logits_BNV, prefix_BPD, batch["pose_ids_BN"], code_penalty)
        if predicted_B3 is None:
            return value, metrics
        true = (batch[name] for name in ("anchor_B3", "rotation_B33", "lens_B4"))
        anchor, screen = anchor_losses(predicted_B3, *true, tokens)
        value += anchor_weight * anchor + screen_weight * screen
        return value, metrics | {"anchor": anchor, "screen": screen}

    return loss


def _outputs(network: GenDoP, batch: dict, deterministic: bool) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Logits, prefix, and the predicted anchor; None without a head."""
    prefix_BPD = network.prefix(**{name: batch[name] for name in CONDITIONS if name in batch})
    logits_BLV = network.decoder(prefix_BPD, batch["pose_ids_BN"], deterministic)
    anchor_B3 = network.predict_anchor(prefix_BPD) if network.config.tokens.anchor == "head" else None
    return logits_BLV[:, prefix_BPD.shape[1] :], prefix_BPD, anchor_B3


def make_params(config: GenDoPTrainConfig, mesh: Mesh) -> dict:
    """Random parameters on a mesh, with the weights that the config names.

    Raises:
        ValueError: weights that are not there or of another size.
    """
    model = config.model
    if config.base_weights:
        return _load("gendop", config.base_weights, model, mesh)
    towers = {}
    if config.text_weights:
        towers["text"] = _load("clip_text", config.text_weights, model.text, mesh)
    if config.vision_weights:
        for part in ("image", "depth"):
            # Each has a copy of its own: they learn different things, and one buffer cannot be donated twice.
            towers[part] = _load("clip_vision", config.vision_weights, model.vision, mesh)
    if unread := towers.keys() - set(model.conditions) - {"depth"}:
        raise ValueError(f"{unread.pop()}_weights were given, but a network of {model.mode} has no tower for them")

    def fresh():
        params = weights.init("gendop", model, jax.random.key(config.seed))
        for part in towers:
            # This is inside of the compiled function, which then never makes these random weights.
            params.get(part, {}).pop("tower", None)
        return params

    params = create(fresh, mesh)
    for part in params.keys() & towers.keys():
        params[part]["tower"] = towers[part]
    return params


def _load(kind: str, folder: str, expected: Any, mesh: Mesh) -> dict:
    found, params, _ = weights.load(kind, folder, mesh=mesh)
    if found != expected:
        raise ValueError(f"the weights in {folder} are of another size or form than the config's: {found}")
    return params


def _shots(config: GenDoPTrainConfig, split: str) -> DataDoPShots | StageShots:
    if not config.data:
        if config.test_data:
            raise ValueError("test_data goes with data: give the shots to train on too")
        return StageShots(split, config.model.conditions, alone=config.model.tokens.world == "origin_global")
    folder = (config.test_data or config.data) if split == "test" else config.data
    return DataDoPShots(folder, split, CAPTIONS[config.caption], config.model.conditions)


def _tokenizer(config: GenDoPTrainConfig, folder: Path, shots: DataDoPShots | StageShots) -> str:
    """The file of the tokenizer: that of the weights, or one learned from the captions on the first start."""
    if "text" not in config.model.conditions:
        return ""
    for kind, name in (("gendop", config.base_weights), ("clip_text", config.text_weights)):
        if name:
            return str(weights.find(kind, name) / TOKENIZER)
    captions = functools.partial(shots.captions, config.bpe_examples)
    return str(learned_tokenizer(folder / TOKENIZER, captions, config.model.text.vocab_size, SPECIAL_TOKENS))


def _source(config: GenDoPTrainConfig, tokenizer_file: str, shots: dict, split: str, num_steps: int) -> GenDoPSource:
    host, num_hosts = batch_share(make_mesh(config.mesh))
    return GenDoPSource(
        config=config.model,
        tokenizer_file=tokenizer_file,
        shots=shots[split],
        seed=config.seed,
        global_batch=config.batch,
        num_steps=num_steps,
        host=host,
        num_hosts=num_hosts,
    )


def _export(model: GenDoPConfig, tokenizer_file: str, variables: dict, folder: Path) -> None:
    weights.export("gendop", variables["params"], model, folder, tokenizer_file=tokenizer_file or None)
