"""Training a planner on the stage: screenplays and trajectories of the film grammar, made as they are needed."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from shotverse_jax import lora, weights
from shotverse_jax.camera.tokens.shotverse import PAD
from shotverse_jax.config import PlannerConfig, PlannerTrainConfig, from_dict
from shotverse_jax.conversion import qwen3_vl
from shotverse_jax.conversion.core import read_safetensors
from shotverse_jax.data.planner_source import PlannerSource, RecordedScenes
from shotverse_jax.files import replacing
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.inputs.tokenizer import pin_tokenizer, stage_captions, train_text_tokenizer
from shotverse_jax.models.planner import Planner, planner_loss
from shotverse_jax.parallel.mesh import batch_share, make_mesh
from shotverse_jax.parallel.rules import create
from shotverse_jax.parallel.sequence import spread
from shotverse_jax.train import path_probe
from shotverse_jax.train.state import split_frozen
from shotverse_jax.train.task import Task
from shotverse_jax.weights.folder import CONFIG, TOKENIZER, find, is_arrays, read_values


def build(values: dict, folder: Path) -> Task:
    """The task of a config's values; `folder` gets the text tokenizer when one is learned, and a note which it is.

    base_weights: folder of the pre-trained language model; or a whole planner to go on from, by folder or shipped name,
    whose pose tokens may be told otherwise (`model.tokens`); "" begins with random weights.

    Raises:
        ValueError: an unknown value, a run in `folder` that was started with another text tokenizer, a base of another
            size, or scenes that cannot be used (`data`, `test_data`).
    """
    base_weights = values.pop("base_weights")
    config = from_dict(PlannerConfig, values.pop("model"))
    run = from_dict(PlannerTrainConfig, values)
    scenes = _recorded(config, run)
    tokenizer_file = _prepare_tokenizer(config, run, folder, base_weights, scenes)
    pin_tokenizer(tokenizer_file, folder)
    mesh = make_mesh(run.mesh)
    planner = Planner(config, spread(run.execution, mesh))
    trainable, frozen = split_frozen(make_variables(planner, config, run, base_weights, mesh))

    def export(variables, folder):
        params = dict(variables["params"])
        if config.lora is not None:
            rest = {name: part for name, part in params.items() if name != "vlm"}
            weights.export_adapter(variables["lora"]["vlm"], rest, config, folder / "adapter")
            params["vlm"] = lora.merge(params["vlm"], variables["lora"]["vlm"])
        weights.export("planner", params, config, folder, tokenizer_file=tokenizer_file)

    source = functools.partial(_source, config, run, tokenizer_file, scenes)
    return Task(run, trainable, frozen, make_loss(planner, run), source, export, targets_of_whole)


def make_loss(planner: Planner, run: PlannerTrainConfig) -> Callable:
    """The loss of a run, as `Task` has it."""
    config = planner.config

    def loss_fn(variables, batch, num_shots, key):
        rngs = None if key is None else {"dropout": key}
        logits, codes = planner.apply(variables, batch, num_shots, deterministic=key is None, rngs=rngs)
        targets = jnp.sum(batch["targets_B"]) if "targets_B" in batch else None
        loss, metrics = planner_loss(logits, codes, batch["pose_ids_BN"], config.code_penalty, targets)
        if run.path_weight:
            probe = variables[path_probe.COLLECTION]
            metrics["path"] = path_probe.path_loss(probe, codes, batch["pose_ids_BN"], config, num_shots)
            loss += run.path_weight * metrics["path"]
        return loss, metrics

    return loss_fn


def targets_of_whole(batch: dict) -> dict:
    """{targets_B}: how many pose tokens a sample of this batch has to predict in the mean, for each of its samples."""
    real_BN = batch["pose_ids_BN"][:, 1:] != PAD
    return {"targets_B": jnp.full(len(real_BN), jnp.sum(real_BN) / len(real_BN))}


def _recorded(config: PlannerConfig, run: PlannerTrainConfig) -> dict[str, RecordedScenes]:
    """The scenes of a run by split; none when it is of the stage."""
    if not run.data and not run.test_data:
        return {}
    if not (run.data and run.test_data):
        raise ValueError("data and test_data go together: give the scenes to train on and the held-out ones")
    scenes = {"train": RecordedScenes(run.data, "train"), "test": RecordedScenes(run.test_data, "test")}
    if config.tokens.origin != "none" and not all(part.has_stage() for part in scenes.values()):
        raise ValueError(
            f'model.tokens.origin is "{config.tokens.origin}", but not all of these camera paths know the stage; '
            'train with model.tokens.origin="none"'
        )
    return scenes


def _prepare_tokenizer(
    planner: PlannerConfig, run: PlannerTrainConfig, folder: Path, base_weights: str, scenes: dict[str, RecordedScenes]
) -> Path:
    """The pre-trained language model's tokenizer, or one learned from the training captions on the first start."""
    if base_weights:
        return find_base(base_weights)[0] / TOKENIZER
    path = folder / TOKENIZER
    if not path.exists():
        captions = scenes["train"].captions() if scenes else stage_captions(sample_example, run.bpe_examples)
        tokenizer = train_text_tokenizer(captions, planner.text.vocab_size)
        with replacing(path) as place:
            tokenizer.save(str(place))
    return path


def make_variables(
    planner: Planner, config: PlannerConfig, run: PlannerTrainConfig, base_weights: str, mesh: Mesh
) -> dict:
    """Random variables on a mesh, with the weights of `base_weights` (see `build`), and fresh adapters where the config
    has them."""
    key = jax.random.key(run.seed)
    base, whole = find_base(base_weights) if base_weights else (None, False)

    def fresh():
        variables = {"params": weights.init("planner", config, key)}
        if base:
            del variables["params"]["vlm"]
        return variables

    variables = {"params": _planner(base, config, mesh)} if whole else create(fresh, mesh)
    if base and not whole:
        dtype = "float32" if config.lora is None else run.execution.dtype  # frozen weights need no float32 copy
        variables["params"]["vlm"] = _language_model(base, config, mesh, dtype)
    if config.lora is not None:
        vlm = variables["params"]["vlm"]
        adapter = create(lambda: lora.init(jax.random.fold_in(key, 1), vlm, config.lora), mesh)
        variables["lora"] = {"vlm": adapter}
    if run.path_weight:
        variables[path_probe.COLLECTION] = path_probe.init_probe(jax.random.fold_in(key, 2), config)
    return variables


def find_base(base_weights: str) -> tuple[Path, bool]:
    """The folder of `base_weights`, and whether a whole planner is in it. Raises ValueError when there is none."""
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
        return qwen3_vl.from_hf(read_safetensors(folder), config.text, dtype)
    text_config, params, _ = weights.load("language_model", folder, mesh=mesh, dtype=dtype)
    if text_config != config.text:
        raise ValueError(f"the language model in {folder} is another than the config's: {text_config}")
    return params


def _source(config, run, tokenizer_file: Path, scenes: dict, split: str, num_steps: int) -> PlannerSource:
    """Training batches, or for the test split as many held-out ones of all shot counts."""
    host, num_hosts = batch_share(make_mesh(run.mesh))
    sample = functools.partial(sample_example, move_weights=run.move_weights, even_angles=run.even_angles)
    weights, singles = run.shot_weights, run.single_shot_steps if split == "train" else 0
    if scenes:
        sample = scenes[split]
        weights = sample.counts(len(run.text_lengths))
        singles = singles if weights[0] else 0
    return PlannerSource(
        config=config,
        tokenizer_file=str(tokenizer_file),
        sample=sample,
        split=split,
        seed=run.seed,
        global_batch=run.batch,
        num_steps=num_steps,
        shot_weights=weights,
        text_lengths=run.text_lengths,
        single_shot_steps=singles,
        host=host,
        num_hosts=num_hosts,
    )
