"""Training CameraCLIP: clips and texts in one space ("Can video generation replace cinematographers?", 2412.12223)."""

import dataclasses
import functools
import math
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from shotverse_jax import weights
from shotverse_jax.cinematic.clip_source import VALUES, CameraClipSource, FolderSamples, StageSamples
from shotverse_jax.cinematic.facts import KINDS, agreement
from shotverse_jax.config import CameraCLIPConfig, CameraCLIPTrainConfig
from shotverse_jax.cost import flops
from shotverse_jax.cost.accelerators import ideal_step_seconds
from shotverse_jax.inputs.camera_clip import prepare
from shotverse_jax.inputs.clip import SPECIAL_TOKENS
from shotverse_jax.inputs.tokenizer import learned_tokenizer, pin_tokenizer
from shotverse_jax.models.camera_clip import CameraCLIP, join_stack, split_stack
from shotverse_jax.parallel.mesh import batch_share, make_mesh
from shotverse_jax.parallel.rules import create
from shotverse_jax.parallel.sequence import spread
from shotverse_jax.train import view_probe
from shotverse_jax.train.contrast_losses import first, multi_positive
from shotverse_jax.train.task import Loss, Outline, Task, batch_shapes, cast
from shotverse_jax.train.wear import worn
from shotverse_jax.weights.folder import TOKENIZER

SIDES = ("image", "text")
LARGEST_SCALE = 100.0
"""What cosines are multiplied with at most, as in CLIP's own training."""


def build(config: CameraCLIPTrainConfig, folder: Path) -> Task:
    """The task of a config; `folder` gets the text tokenizer when one is learned, and a note of which one is used.

    Raises:
        ValueError: a base that is not there or of another size, clips that cannot be used, or a run in `folder` that
            was started with another tokenizer.
    """
    mesh = make_mesh(config.mesh)
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
        loss=make_loss(config, spread(config.execution, mesh)),
        source=functools.partial(_source, config, str(tokenizer_file), clips),
        export=functools.partial(_export, config, tokenizer_file),
        ideal_step_seconds=ideal_step_seconds(config.batch, lambda bucket: work(config), mesh),
    )


def outline(config: CameraCLIPTrainConfig, mesh: Mesh) -> Outline:
    """The run as shapes."""
    random = dataclasses.replace(config, base_weights="", trained="all", temperature=config.temperature or 1.0)
    variables = jax.eval_shape(lambda: make_variables(random, mesh))
    trainable, frozen = jax.eval_shape(lambda variables: split_learned(variables, config), variables)
    batch = {
        "frames_BTHWC": (config.model.frames, config.height, config.width, 3, "uint8"),
        "ids_BS": (_length(config), "int32"),
        "real_BS": (_length(config), "bool"),
        "facts_BK": (len(KINDS), "int32"),
        "said_BK": (len(KINDS), "int32"),
    }
    if config.view_weight:
        batch["motion_BFY"] = (config.model.frames - 1, VALUES, "float32")
    return Outline(
        config=config,
        trainable=trainable,
        frozen=cast(frozen, config.execution.dtype),
        loss=make_loss(config, spread(config.execution, mesh)),
        batch=batch_shapes(config.batch, batch),
        bucket=None,
        work=work(config),
    )


def work(config: CameraCLIPTrainConfig) -> tuple[flops.Work, ...]:
    """The operations of one clip with its text."""
    return flops.camera_clip(config.model, _length(config), kept(config))


def kept(config: CameraCLIPTrainConfig) -> tuple[int, int]:
    """How many of the first blocks of the image's and of the text's tower do not learn."""
    if config.trained == "all":
        return 0, 0
    model = config.model
    return model.vision.num_layers - config.image_layers, model.text.num_layers - config.text_layers


def make_loss(config: CameraCLIPTrainConfig, execution) -> Loss:
    """The loss of a run; without a key frames are not worn.

    Its metrics: contrast, view (the error of the view probe), text_first, the share of clips whose nearest text of the
    batch is right, video_first, the same for texts, and scale, what cosines are multiplied with.
    """
    network = CameraCLIP(config.model, execution, kept(config))

    def loss(variables, batch, bucket, key):
        frames_BTHWC = batch["frames_BTHWC"]
        if key is not None and (config.blur or config.noise or config.tint):
            frames_BTHWC = (worn(frames_BTHWC / 127.5 - 1, key, config.blur, config.noise, config.tint) + 1) / 2
        params = {"params": variables["params"]}
        read = network.apply(params, prepare(config.model, frames_BTHWC), batch["ids_BS"], batch["real_BS"])
        right_BB, open_BB = agreement(batch["facts_BK"], batch["said_BK"])
        cosine_BB, scale = read.video_BJ @ read.text_NJ.T, jnp.minimum(read.scale, LARGEST_SCALE)
        value = multi_positive(scale * cosine_BB, right_BB, open_BB)
        not_wrong_BB = right_BB | open_BB
        metrics = {
            "contrast": value,
            "text_first": first(cosine_BB, not_wrong_BB),
            "video_first": first(cosine_BB.T, not_wrong_BB.T),
            "scale": scale,
        }
        if config.view_weight:
            probe = variables[view_probe.COLLECTION]
            metrics["view"] = view_probe.squared_error(probe, read.pair_BKF, batch["motion_BFY"])
            value += config.view_weight * metrics["view"]
        return value, metrics

    return loss


def make_variables(config: CameraCLIPTrainConfig, mesh: Mesh) -> dict:
    """Random variables on a mesh, or those of `config.base_weights`, whose stacks are not divided yet.

    Raises:
        ValueError: a base that is not there, or whose towers are others than the config's.
    """
    model, key = config.model, jax.random.key(config.seed)
    params = create(lambda: weights.init("camera_clip", model, key), mesh)
    if config.base_weights:
        base, found, _ = weights.load("camera_clip", config.base_weights, mesh=mesh)
        if _towers(base) != _towers(model):
            raise ValueError(f"the network in {config.base_weights} is another than the config's: {base}")
        if base.temporal == "mean" or model.temporal == "mean":
            found = {name: found[name] for name in (*SIDES, "logit_scale")}
        elif (base.code_size, base.layout_size) != (model.code_size, model.layout_size):
            raise ValueError(f"the temporal code in {config.base_weights} is another than the config's: {base}")
        params = params | found
    if config.temperature:
        params["logit_scale"] = jnp.full_like(params["logit_scale"], -math.log(config.temperature))
    variables = {"params": params}
    if config.view_weight:
        probe = view_probe.init_probe(jax.random.fold_in(key, 1), model.code_size, VALUES)
        variables[view_probe.COLLECTION] = probe
    return variables


def _towers(model: CameraCLIPConfig) -> tuple:
    return model.text, model.vision, model.joint_size


def split_learned(variables: dict, config: CameraCLIPTrainConfig) -> tuple[dict, dict]:
    """(trainable, frozen) variables of a run."""
    if config.trained == "all":
        return variables, {}
    params, frozen = dict(variables["params"]), {}
    for side, count in zip(SIDES, kept(config), strict=True):
        stay, learn = split_stack(params[side]["tower"], count)
        params[side], frozen[side] = params[side] | {"tower": learn}, {"tower": stay}
    return {**variables, "params": params}, {"params": frozen}


def _length(config: CameraCLIPTrainConfig) -> int:
    return config.text_length or config.model.text.max_positions


def _clips(config: CameraCLIPTrainConfig, split: str) -> StageSamples | FolderSamples:
    size, split = (config.model.frames, config.height, config.width), "train" if split == "train" else "val"
    if not config.data:
        return StageSamples(split, *size, config.phrases, variants=split == "train")
    clips = FolderSamples(config.data, split, *size, config.phrases, config.targets)
    clips.all  # noqa: B018  a folder that cannot be used ends the run before it starts
    return clips


def _tokenizer(config: CameraCLIPTrainConfig, folder: Path, clips: StageSamples | FolderSamples) -> Path:
    """The base's tokenizer, or one that is learned from captions on the first start."""
    if config.base_weights:
        return weights.find("camera_clip", config.base_weights) / TOKENIZER
    captions = functools.partial(clips.captions, config.bpe_examples)
    return learned_tokenizer(folder / TOKENIZER, captions, config.model.text.vocab_size, SPECIAL_TOKENS)


def _source(config: CameraCLIPTrainConfig, tokenizer_file: str, clips: dict, split: str, steps: int):
    host, num_hosts = batch_share(make_mesh(config.mesh))
    return CameraClipSource(
        tokenizer_file=tokenizer_file,
        length=_length(config),
        clips=clips[split],
        probe=bool(config.view_weight),
        seed=config.seed,
        global_batch=config.batch,
        num_steps=steps,
        host=host,
        num_hosts=num_hosts,
    )


def _export(config: CameraCLIPTrainConfig, tokenizer_file: Path, variables: dict, folder: Path) -> None:
    """Writes the network, its towers in one stack each."""
    params = dict(variables["params"])
    for side in SIDES:
        params[side] = params[side] | {"tower": join_stack(params[side]["tower"])}
    weights.export("camera_clip", params, config.model, folder, tokenizer_file=tokenizer_file)
