"""Training a planner: its data, its loss (ShotVerse Eq. 4), its previews and its shapes.

Screenplays and trajectories are written by the film grammar as they are needed, or come from recorded scenes.
"""

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from shotverse_jax import lora, weights
from shotverse_jax.camera.formats import write_trajectory
from shotverse_jax.camera.tokens.shotverse import PAD, sequence_length
from shotverse_jax.config import PlannerConfig, PlannerTrainConfig
from shotverse_jax.conversion.core import read_safetensors
from shotverse_jax.conversion.networks import NETWORKS
from shotverse_jax.cost import flops
from shotverse_jax.cost.accelerators import ideal_step_seconds
from shotverse_jax.data.planner_source import PlannerSource, RecordedScenes
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.infer.plan import Director, check, plan
from shotverse_jax.inputs.tokenizer import learned_tokenizer, load_text_tokenizer, pin_tokenizer, stage_captions
from shotverse_jax.models.planner import Planner
from shotverse_jax.parallel.mesh import batch_share, make_mesh, together
from shotverse_jax.parallel.rules import create
from shotverse_jax.parallel.sequence import spread
from shotverse_jax.screenplay import Screenplay
from shotverse_jax.train import path_probe
from shotverse_jax.train.state import split_frozen
from shotverse_jax.train.task import Loss, Outline, Preview, Task, batch_shapes, cast
from shotverse_jax.weights.folder import CONFIG, TOKENIZER, find, is_arrays, read_values

FILM = 249
"""Frames of the films that the paper's planner plans (ShotVerse §4.1); its outline has poses for this many."""


def build(config: PlannerTrainConfig, folder: Path) -> Task:
    """The task of a config; `folder` gets the text tokenizer when one is learned, and a note of which one is used.

    Raises:
        ValueError: a run in `folder` that was started with another text tokenizer, a base of another size, or scenes
            that cannot be used (`data`, `test_data`).
    """
    model = config.model
    scenes = _recorded(config)
    tokenizer_file = _prepare_tokenizer(config, folder, scenes)
    pin_tokenizer(tokenizer_file, folder)
    mesh = make_mesh(config.mesh)
    planner = Planner(model, spread(config.execution, mesh))
    trainable, frozen = split_frozen(make_variables(planner, config, mesh))
    return Task(
        config=config,
        trainable=trainable,
        frozen=frozen,
        loss=make_loss(planner, config),
        batch_statistics=count_targets,
        source=functools.partial(_source, config, tokenizer_file, scenes),
        export=functools.partial(_export, model, tokenizer_file),
        make_preview=functools.partial(_make_preview, model, tokenizer_file),
        ideal_step_seconds=ideal_step_seconds(config.batch, functools.partial(work, config), mesh),
    )


def _export(config: PlannerConfig, tokenizer_file: Path, variables: dict, folder: Path) -> None:
    """Writes the planner with its adapter folded in; in adapter/ the adapter alone, with all that was trained."""
    params = dict(variables["params"])
    if config.lora is not None:
        rest = {name: part for name, part in params.items() if name != "vlm"}
        weights.export_adapter(variables["lora"]["vlm"], rest, config, folder / "adapter")
        params["vlm"] = lora.merge(params["vlm"], variables["lora"]["vlm"])
    weights.export("planner", params, config, folder, tokenizer_file=tokenizer_file)


def _make_preview(config: PlannerConfig, tokenizer_file: Path, screenplay: Screenplay, folder: Path) -> Preview:
    """preview(step, variables), which writes the planned cameras to <step>.json and a plot of them to <step>.png."""
    # Here, as matplotlib takes half a second to import and most runs make no previews.
    from shotverse_jax.views.plot import plot_trajectory

    config, tokenizer = dataclasses.replace(config, lora=None), load_text_tokenizer(tokenizer_file)
    check(Director(config, {}, tokenizer), screenplay)  # a screenplay that is too long is refused before the first step

    def preview(step: int, variables: dict) -> None:
        # This comes before the other processes leave: gathering the shards needs all of them.
        variables = together(variables)
        if jax.process_index() != 0:
            return
        params = dict(variables["params"])
        if "lora" in variables:
            params["vlm"] = lora.merge(params["vlm"], variables["lora"]["vlm"])
        [[trajectory]] = plan(Director(config, params, tokenizer), [screenplay])
        write_trajectory(trajectory, folder / f"{step}.json", "shotverse")
        plot_trajectory(trajectory, folder / f"{step}.png")

    return preview


def make_loss(planner: Planner, config: PlannerTrainConfig) -> Loss:
    """The loss of a run; its bucket is the number of shots, which all screenplays of a batch have."""
    model = planner.config

    def loss(variables, batch, num_shots, key):
        rngs = None if key is None else {"dropout": key}
        logits, codes = planner.apply(variables, batch, num_shots, deterministic=key is None, rngs=rngs)
        targets = jnp.sum(batch["targets_B"]) if "targets_B" in batch else None
        value, metrics = planner_loss(logits, codes, batch["pose_ids_BN"], model.code_penalty, targets)
        if config.path_weight:
            probe = variables[path_probe.COLLECTION]
            metrics["path"] = path_probe.path_loss(probe, codes, batch["pose_ids_BN"], model, num_shots)
            value += config.path_weight * metrics["path"]
        return value, metrics

    return loss


def planner_loss(
    logits_BNV: jax.Array,
    codes_BPD: jax.Array,
    pose_ids_BN: jax.Array,
    code_penalty: float,
    targets: jax.Array | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """ShotVerse Eq. 4: the mean cross-entropy of the next pose token and λ times the mean square of the camera codes.

    Args:
        logits_BNV: logits[:, j] predict pose_ids[:, j + 1].
        codes_BPD: the camera codes H_plan.
        pose_ids_BN: pose tokens; targets that are PAD do not count.
        code_penalty: λ.
        targets: the number to divide the cross-entropies by; None divides by the number of targets here. Where a batch
            is computed in parts, it is the part's share of the targets of the whole batch: sequences differ in length,
            so the mean over a batch is not the mean of the means over its parts.

    Returns:
        The loss, and metrics: ce, accuracy, code_penalty (the mean square, without λ) and tokens (how many targets).
    """
    targets_BN = pose_ids_BN[:, 1:]
    real_BN = (targets_BN != PAD).astype(jnp.float32)
    tokens = jnp.sum(real_BN)
    count = jnp.maximum(tokens if targets is None else targets, 1)
    log_probs_BNV = jax.nn.log_softmax(logits_BNV[:, :-1], axis=-1)
    chosen_BN = jnp.take_along_axis(log_probs_BNV, targets_BN[..., None], axis=-1)[..., 0]
    hits_BN = jnp.argmax(log_probs_BNV, axis=-1) == targets_BN
    ce = -jnp.sum(chosen_BN * real_BN) / count
    # The paper writes a sum; but a sum over all numbers of the codes would outweigh the cross-entropy, so it is a mean.
    square = jnp.mean(jnp.square(codes_BPD))
    metrics = {
        "ce": ce,
        "accuracy": jnp.sum(hits_BN * real_BN) / count,
        "code_penalty": square,
        "tokens": tokens,
    }
    return ce + code_penalty * square, metrics


def count_targets(batch: dict) -> dict:
    """{targets_B}: the mean number of pose tokens that a sample of this batch has to predict, once for each sample."""
    real_BN = batch["pose_ids_BN"][:, 1:] != PAD
    return {"targets_B": jnp.full(len(real_BN), jnp.sum(real_BN) / len(real_BN))}


def outline(config: PlannerTrainConfig, mesh: Mesh) -> Outline:
    """The run as shapes, with a batch of the largest shot count that the run has."""
    model = config.model
    planner = Planner(model, spread(config.execution, mesh))
    config = dataclasses.replace(config, base_weights="")  # random weights have the same shapes
    trainable, frozen = split_frozen(jax.eval_shape(lambda: make_variables(planner, config, mesh)))
    shots = max(number for number, weight in enumerate(config.shot_weights, 1) if weight)
    text = config.text_lengths[shots - 1]
    batch = {
        "text_ids_BS": (text, "int32"),
        "slot_BS": (text, "int32"),
        "real_BS": (text, "bool"),
        "pose_ids_BN": (pose_tokens(model, shots), "int32"),
    }
    return Outline(
        config=config,
        trainable=trainable,
        frozen=cast(frozen, config.execution.dtype),
        loss=make_loss(planner, config),
        batch_statistics=count_targets,
        batch=batch_shapes(config.batch, batch),
        bucket=shots,
        work=work(config, shots),
    )


def work(config: PlannerTrainConfig, shots: int) -> tuple[flops.Work, ...]:
    """The operations of one sample with that many shots."""
    return flops.planner(config.model, config.text_lengths[shots - 1], pose_tokens(config.model, shots), shots)


def pose_tokens(config: PlannerConfig, shots: int) -> int:
    """The length of the pose tokens of a film of `shots` shots, whose poses are divided evenly among them."""
    tokens = config.tokens
    poses = tokens.count * shots if tokens.poses == "count" else (FILM - 1) // tokens.every + 1
    return sequence_length(tokens, [poses // shots] * (shots - 1) + [poses - poses // shots * (shots - 1)])


def _recorded(config: PlannerTrainConfig) -> dict[str, RecordedScenes]:
    """The recorded scenes of a run by split; empty when it learns from the stage."""
    if not config.data and not config.test_data:
        return {}
    if not (config.data and config.test_data):
        raise ValueError("data and test_data go together: give the scenes to train on and the held-out ones")
    scenes = {"train": RecordedScenes(config.data, "train"), "test": RecordedScenes(config.test_data, "test")}
    origin = config.model.tokens.origin
    if origin != "none" and not all(part.has_stage() for part in scenes.values()):
        raise ValueError(
            f'model.tokens.origin is "{origin}", but not all of these camera paths know the stage; '
            'train with model.tokens.origin="none"'
        )
    return scenes


def _prepare_tokenizer(config: PlannerTrainConfig, folder: Path, scenes: dict[str, RecordedScenes]) -> Path:
    """The pre-trained language model's tokenizer, or one learned from the training captions on the first start."""
    if config.base_weights:
        return find_base(config.base_weights)[0] / TOKENIZER
    of_stage = functools.partial(stage_captions, sample_example, config.bpe_examples)
    captions = scenes["train"].captions if scenes else of_stage
    return learned_tokenizer(folder / TOKENIZER, captions, config.model.text.vocab_size)


def make_variables(planner: Planner, config: PlannerTrainConfig, mesh: Mesh) -> dict:
    """Random variables on a mesh, with the weights of `config.base_weights` and fresh adapters where there are any."""
    model, key = config.model, jax.random.key(config.seed)
    base, whole = find_base(config.base_weights) if config.base_weights else (None, False)

    def fresh():
        variables = {"params": weights.init("planner", model, key)}
        if base:
            # This is inside of the compiled function, which then never makes these random weights.
            del variables["params"]["vlm"]
        return variables

    variables = {"params": _planner(base, model, mesh)} if whole else create(fresh, mesh)
    if base and not whole:
        dtype = "float32" if model.lora is None else config.execution.dtype  # frozen weights need no float32 copy
        variables["params"]["vlm"] = _language_model(base, model, mesh, dtype)
    if model.lora is not None:
        vlm = variables["params"]["vlm"]
        # Adapter and probe have keys of their own, so that neither changes the other random weights of the run.
        adapter = create(lambda: lora.init(jax.random.fold_in(key, 1), vlm, model.lora), mesh)
        variables["lora"] = {"vlm": adapter}
    if config.path_weight:
        variables[path_probe.COLLECTION] = path_probe.init_probe(jax.random.fold_in(key, 2), model)
    return variables


def find_base(base_weights: str) -> tuple[Path, bool]:
    """The folder of `base_weights`, and whether it holds a whole planner.

    Raises:
        ValueError: there is no such folder.
    """
    folder = find(("planner", "language_model"), base_weights, ())
    return folder, (folder / CONFIG).is_file() and "tokens" in read_values(folder)


def _planner(folder: Path, config: PlannerConfig, mesh: Mesh) -> dict:
    """Parameters of a planner that has the sizes of the config."""
    base_config, params, _ = weights.load("planner", folder, mesh=mesh)
    sizes = {name: getattr(base_config, name) for name in ("text", "decoder", "num_queries", "encoder", "decoder_kind")}
    if dataclasses.replace(config, **sizes) != config:
        raise ValueError(f"the planner in {folder} is of another size than the config's: {sizes}")
    return params


def _language_model(folder: Path, config: PlannerConfig, mesh: Mesh, dtype: str) -> dict:
    """Parameters of a folder as it was published, or as `shotverse convert` wrote it, read shard by shard."""
    if not is_arrays(folder / "model"):
        return NETWORKS["qwen3-vl-text"].from_torch(read_safetensors(folder), config.text, dtype)
    text_config, params, _ = weights.load("language_model", folder, mesh=mesh, dtype=dtype)
    if text_config != config.text:
        raise ValueError(f"the language model in {folder} is another than the config's: {text_config}")
    return params


def _source(
    config: PlannerTrainConfig, tokenizer_file: Path, scenes: dict[str, RecordedScenes], split: str, num_steps: int
) -> PlannerSource:
    """Training batches, or as many held-out ones of all shot counts."""
    host, num_hosts = batch_share(make_mesh(config.mesh))
    sample = functools.partial(sample_example, move_weights=config.move_weights, even_angles=config.even_angles)
    weights, singles = config.shot_weights, config.single_shot_steps if split == "train" else 0
    if scenes:
        sample = scenes[split]
        # Recorded scenes come as they are, and may have no single shot at all to begin with.
        weights = sample.counts(len(config.text_lengths))
        singles = singles if weights[0] else 0
    return PlannerSource(
        config=config.model,
        tokenizer_file=str(tokenizer_file),
        sample=sample,
        split=split,
        seed=config.seed,
        global_batch=config.batch,
        num_steps=num_steps,
        shot_weights=weights,
        text_lengths=config.text_lengths,
        single_shot_steps=singles,
        host=host,
        num_hosts=num_hosts,
    )
