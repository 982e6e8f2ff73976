"""Training a captioner: Qwen3-VL learns to answer with the caption of a clip (VERTIGO's cinematic VLM)."""

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from shotverse_jax import lora, weights
from shotverse_jax.config import CaptionerTrainConfig
from shotverse_jax.cost import flops
from shotverse_jax.cost.accelerators import ideal_step_seconds
from shotverse_jax.data.captioner_source import CaptionerSource, FolderClips, StageClips
from shotverse_jax.inputs.chat import SPECIAL_TOKENS
from shotverse_jax.inputs.qwen3_vl import fit_size
from shotverse_jax.inputs.tokenizer import learned_tokenizer, pin_tokenizer
from shotverse_jax.models.qwen3_vl import Qwen3VL
from shotverse_jax.parallel.mesh import batch_share, make_mesh
from shotverse_jax.parallel.rules import create
from shotverse_jax.parallel.sequence import spread
from shotverse_jax.train import view_probe
from shotverse_jax.train.task import Loss, Outline, Task, batch_shapes, cast
from shotverse_jax.weights.folder import TOKENIZER


def build(config: CaptionerTrainConfig, folder: Path) -> Task:
    """The task of a config; `folder` gets the text tokenizer when one is learned, and a note of which one is used.

    Raises:
        ValueError: a run in `folder` that was started with another text tokenizer, a base of another size, or clips
            that cannot be used.
    """
    model, mesh = config.model, make_mesh(config.mesh)
    clips = {split: _clips(config, split) for split in ("train", "test")}
    tokenizer_file = _tokenizer(config, folder, clips["train"])
    pin_tokenizer(tokenizer_file, folder)
    trainable, frozen = split_learned(make_variables(config, mesh), config)
    # Frozen weights need no float32 copy.
    frozen = jax.tree.map(lambda leaf: leaf.astype(config.execution.dtype), frozen)
    return Task(
        config=config,
        trainable=trainable,
        frozen=frozen,
        loss=make_loss(Qwen3VL(model, spread(config.execution, mesh)), config.view_weight),
        batch_statistics=count_targets,
        source=functools.partial(_source, config, str(tokenizer_file), clips),
        export=functools.partial(_export, config, tokenizer_file),
        ideal_step_seconds=ideal_step_seconds(config.batch, lambda bucket: work(config), mesh),
    )


def make_loss(network: Qwen3VL, view_weight: float = 0.0) -> Loss:
    """The loss of a run: the mean cross-entropy of the answers' tokens, and the error of the view probe."""
    vision = network.config.vision

    def loss(variables, batch, bucket, key):
        rngs = None if key is None else {"dropout": key}
        logits_BNV, x_BTD = network.apply(variables, batch, key is None, rngs=rngs, method=answer_logits)
        targets_BN = batch["targets_BN"]
        real_BN = (targets_BN >= 0).astype(jnp.float32)
        count = jnp.sum(batch["targets_B"]) if "targets_B" in batch else jnp.sum(real_BN)
        log_probs_BNV = jax.nn.log_softmax(logits_BNV, axis=-1)
        chosen_BN = jnp.take_along_axis(log_probs_BNV, jnp.maximum(targets_BN, 0)[..., None], axis=-1)[..., 0]
        hits_BN = jnp.argmax(log_probs_BNV, axis=-1) == targets_BN
        value = -jnp.sum(chosen_BN * real_BN) / jnp.maximum(count, 1)
        whole_B = jnp.all(hits_BN | (targets_BN < 0), axis=1)
        metrics = {"accuracy": jnp.sum(hits_BN * real_BN) / jnp.maximum(count, 1), "whole": jnp.mean(whole_B)}
        if view_weight:
            tokens = batch["pixels_BFSP"].shape[2] // vision.merged_patches
            probe = variables[view_probe.COLLECTION]
            metrics["view"] = view_probe.view_loss(probe, x_BTD, batch["feature_BT"], batch["view_BFY"], tokens)
            value += view_weight * metrics["view"]
        return value, metrics

    return loss


def answer_logits(network: Qwen3VL, batch: dict, deterministic: bool = True) -> tuple[jax.Array, jax.Array]:
    """(logits [B, N, V] of the answers' tokens, embeddings x_BTD) of a batch as `CaptionerSource` makes it."""
    pixels_BFSP, feature_BT = batch["pixels_BFSP"], batch["feature_BT"]
    samples, frames, patches = pixels_BFSP.shape[:3]
    # The network counts features over the frames of all samples; a sample of the batch counts its own.
    first_B1 = jnp.arange(samples)[:, None] * (frames * patches // network.config.vision.merged_patches)
    x_BTD, deepstack_KBTD = network.embed(
        batch["ids_BT"],
        pixels_BFSP.reshape(-1, *pixels_BFSP.shape[2:]),
        batch["size_BF2"].reshape(-1, 2),
        jnp.where(feature_BT >= 0, feature_BT + first_B1, -1),
    )
    positions_3BT = jnp.moveaxis(batch["positions_B3T"], 1, 0)
    hidden_BTD = network.text(x_BTD, positions_3BT, batch["real_BT"], deterministic, deepstack_KBTD)
    # Of a large vocabulary only the logits of answers are made.
    return network.logits(jnp.take_along_axis(hidden_BTD, batch["places_BN"][..., None], axis=1)), x_BTD


def count_targets(batch: dict) -> dict:
    """{targets_B}: the mean number of answers' tokens of a sample of this batch, once for each sample."""
    real_BN = batch["targets_BN"] >= 0
    return {"targets_B": jnp.full(len(real_BN), jnp.sum(real_BN) / len(real_BN))}


def make_variables(config: CaptionerTrainConfig, mesh: Mesh) -> dict:
    """Random variables on a mesh, or those of `config.base_weights`; with fresh adapters where there are any."""
    model, key = config.model, jax.random.key(config.seed)
    if config.base_weights:
        base, params, _ = weights.load("qwen3_vl", config.base_weights, mesh=mesh)
        if (base.text, base.vision) != (model.text, model.vision):
            raise ValueError(f"the network in {config.base_weights} is another than the config's: {base}")
    else:
        params = create(lambda: weights.init("qwen3_vl", model, key), mesh)
    variables = {"params": params}
    if config.lora is not None:
        make = lambda: lora.init(jax.random.fold_in(key, 1), params["text"], config.lora)  # noqa: E731
        variables["lora"] = {"text": create(make, mesh)}
    if config.view_weight:
        probe = view_probe.init_probe(jax.random.fold_in(key, 2), model.text.hidden_size)
        variables[view_probe.COLLECTION] = probe
    return variables


def split_learned(variables: dict, config: CaptionerTrainConfig) -> tuple[dict, dict]:
    """(trainable, frozen) variables of a run."""
    params, frozen = dict(variables["params"]), {}
    if config.lora is not None:
        frozen["text"] = params.pop("text")
    if config.freeze_vision:
        frozen["vision"] = params.pop("vision")
    return {**variables, "params": params}, {"params": frozen} if frozen else {}


def work(config: CaptionerTrainConfig) -> tuple[flops.Work, ...]:
    """The operations of one sample."""
    frames, patches = _frames(config), _patches(config)
    return flops.captioner(
        config.model,
        config.text_length,
        config.answer_length,
        frames,
        patches,
        lora=config.lora,
        trained=config.lora is None,
        vision=not config.freeze_vision,
    )


def outline(config: CaptionerTrainConfig, mesh: Mesh) -> Outline:
    """The run as shapes."""
    random = dataclasses.replace(config, base_weights="", lora=None, freeze_vision=False)
    variables = jax.eval_shape(lambda: make_variables(random, mesh))
    if config.lora is not None:
        adapter = jax.eval_shape(lambda: lora.init(jax.random.key(0), variables["params"]["text"], config.lora))
        variables["lora"] = {"text": adapter}
    trainable, frozen = split_learned(variables, config)
    frames, patches = _frames(config), _patches(config)
    batch = {
        "pixels_BFSP": (frames, patches, config.model.vision.patch_values, "float32"),
        "size_BF2": (frames, 2, "int32"),
        "ids_BT": (config.text_length, "int32"),
        "real_BT": (config.text_length, "bool"),
        "feature_BT": (config.text_length, "int32"),
        "positions_B3T": (3, config.text_length, "int32"),
        "places_BN": (config.answer_length, "int32"),
        "targets_BN": (config.answer_length, "int32"),
    }
    if config.view_weight:
        batch["view_BFY"] = (frames, view_probe.VALUES, "float32")
    return Outline(
        config=config,
        trainable=trainable,
        frozen=cast(frozen, config.execution.dtype),
        loss=make_loss(Qwen3VL(config.model, spread(config.execution, mesh)), config.view_weight),
        batch_statistics=count_targets,
        batch=batch_shapes(config.batch, batch),
        bucket=None,
        work=work(config),
    )


def _frames(config: CaptionerTrainConfig) -> int:
    """Pairs of frames of the longest clip."""
    return -(-config.model.frames[1] // config.model.vision.temporal_patch_size)


def _patches(config: CaptionerTrainConfig) -> int:
    """Patches that a frame is padded to."""
    vision, (least, most) = config.model.vision, config.model.frames
    factor = vision.patch_size * vision.merge_size
    # The limit is on the pixels of all frames together, so that shorter clips may have larger frames.
    sizes = (
        fit_size(config.height, config.width, factor, config.model.video_pixels, frames)
        for frames in range(least if config.data else most, most + 1)
    )
    return config.patches or max(height * width for height, width in sizes) // vision.patch_size**2


def _clips(config: CaptionerTrainConfig, split: str) -> StageClips | FolderClips:
    if config.data:
        clips = FolderClips(config.data if split == "train" else config.test_data, config.model, config.height)
        clips.all  # noqa: B018  a folder that cannot be used ends the run before it starts
        return clips
    size = config.model.frames[1], config.height, config.width
    return StageClips(split, *size, variants=split == "train", view=bool(config.view_weight))


def _tokenizer(config: CaptionerTrainConfig, folder: Path, clips: StageClips | FolderClips) -> Path:
    """The base's tokenizer, or one that is learned from captions on the first start."""
    if config.base_weights:
        return weights.find("qwen3_vl", config.base_weights) / TOKENIZER

    def texts():
        yield from (f"<{time / 10:.1f} seconds>" for time in range(100))
        yield from (config.model.prompt, "user", "assistant", "system")
        yield from clips.captions(config.bpe_examples)

    return learned_tokenizer(folder / TOKENIZER, texts, config.model.text.vocab_size, SPECIAL_TOKENS)


def _source(
    config: CaptionerTrainConfig, tokenizer_file: str, clips: dict, split: str, num_steps: int
) -> CaptionerSource:
    host, num_hosts = batch_share(make_mesh(config.mesh))
    return CaptionerSource(
        config=config.model,
        tokenizer_file=tokenizer_file,
        clips=clips[split],
        length=config.text_length,
        answer=config.answer_length,
        patches=_patches(config),
        pairs=_frames(config),
        seed=config.seed,
        global_batch=config.batch,
        num_steps=num_steps,
        host=host,
        num_hosts=num_hosts,
    )


def _export(config: CaptionerTrainConfig, tokenizer_file: Path, variables: dict, folder: Path) -> None:
    """Writes the network with its adapter folded in."""
    params = dict(variables["params"])
    if "lora" in variables:
        params["text"] = lora.merge(params["text"], variables["lora"]["text"])
    weights.export("qwen3_vl", params, config.model, folder, tokenizer_file=tokenizer_file)
