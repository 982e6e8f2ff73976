"""Preference optimisation of a planner, ShotVerse's or GenDoP's: DPO and its relatives on pairs of plans (VERTIGO).

The log-probability of a plan is over the tokens that were sampled, all shots and EOS, or over those of one shot where
the pair differs in one shot only. Policy and reference run without dropout, so that at the first step they agree.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from shotverse_jax import lora, weights
from shotverse_jax.camera.tokens import gendop as gendop_tokens
from shotverse_jax.config import Execution, GenDoPConfig, PreferenceTrainConfig
from shotverse_jax.cost import flops
from shotverse_jax.cost.accelerators import ideal_step_seconds
from shotverse_jax.data.pair_source import Encoded, GenDoPPairs, PairSource, PlannerPairs, read_encoded
from shotverse_jax.files import replacing
from shotverse_jax.inputs.tokenizer import pin_tokenizer
from shotverse_jax.models.gendop import CONDITIONS, GenDoP
from shotverse_jax.models.planner import Planner
from shotverse_jax.parallel.mesh import batch_sharding, batch_share, make_mesh, together
from shotverse_jax.parallel.rules import create
from shotverse_jax.parallel.sequence import spread
from shotverse_jax.train.preference_losses import preference_loss
from shotverse_jax.train.task import Loss, Outline, Task, batch_shapes, cast
from shotverse_jax.train.tasks import gendop as gendop_task
from shotverse_jax.train.tasks import planner as planner_task
from shotverse_jax.weights.folder import TOKENIZER, kind_of, read_config

KINDS = ("planner", "gendop")
REFERENCE = "reference.npz"
"""In a run's folder: the log-probabilities of its pairs under the reference."""


@dataclasses.dataclass(frozen=True)
class Policy:
    """A network that writes plans.

    Attributes:
        kind: "planner" or "gendop".
        config: its configuration.
        network: its module.
        logits: (network, batch, ids_CN, bucket) → logits [C, N, V] of two plans for each sample of the batch, C = 2 B,
            sample by sample; those at place j predict token j + 1.
    """

    kind: str
    config: Any
    network: Planner | GenDoP
    logits: Callable[[Planner | GenDoP, dict, jax.Array, Hashable], jax.Array]

    @classmethod
    def of(cls, folder: Path, execution: Execution) -> "Policy":
        """The policy whose weights are in a folder, by what its config.json says."""
        if kind_of(folder) == "gendop":
            config = read_config(folder, GenDoPConfig)
            return cls("gendop", config, GenDoP(config, execution), _gendop_logits)
        config = read_config(folder, weights.KINDS["planner"].config)
        return cls("planner", config, Planner(config, execution), _planner_logits)


def _planner_logits(network: Planner, batch: dict, ids_CN: jax.Array, num_shots: int) -> jax.Array:
    text = {name: batch[name] for name in ("text_ids_BS", "slot_BS", "real_BS")}
    if network.config.decoder_kind == "native":
        twice = jax.tree.map(lambda x: jnp.repeat(x, 2, axis=0), text)
        return network(twice | {"pose_ids_BN": ids_CN}, num_shots)[0]
    # The screenplay is read once for both plans.
    prefix_CPD = jnp.repeat(network.prefix(text, num_shots), 2, axis=0)
    return network.decoder(prefix_CPD, ids_CN)[:, prefix_CPD.shape[1] :]


def _gendop_logits(network: GenDoP, batch: dict, ids_CN: jax.Array, bucket: None) -> jax.Array:
    prefix_BPD = network.prefix(**{name: batch[name] for name in CONDITIONS if name in batch})
    prefix_CPD = jnp.repeat(prefix_BPD, 2, axis=0)
    return network.decoder(prefix_CPD, ids_CN)[:, prefix_CPD.shape[1] :]


def log_probs(policy: Policy, variables: dict, batch: dict, bucket: Hashable) -> jax.Array:
    """log p of both plans of every pair [B, 2], float32: the sum over the tokens that count."""
    ids_CN = batch["ids_B2N"].reshape(-1, batch["ids_B2N"].shape[-1])
    logits_CNV = policy.network.apply(variables, batch, ids_CN, bucket, method=policy.logits)
    chosen_CNV = jax.nn.log_softmax(logits_CNV[:, :-1].astype(jnp.float32), axis=-1)
    chosen_CN = jnp.take_along_axis(chosen_CNV, ids_CN[:, 1:, None], axis=-1)[..., 0]
    counts_B2N = batch["counts_B2N"][..., 1:]
    return jnp.sum(chosen_CN.reshape(counts_B2N.shape) * counts_B2N, axis=-1)


def make_loss(policy: Policy, config: PreferenceTrainConfig) -> Loss:
    """The loss of a run."""

    def loss(variables, batch, bucket, key):
        tokens_B2 = jnp.maximum(jnp.sum(batch["counts_B2N"], axis=-1), 1)
        sums_B2, reference_B2 = log_probs(policy, variables, batch, bucket), batch["reference_B2"]
        per_token_B2 = sums_B2 / tokens_B2
        if config.mean_of_tokens:
            sums_B2, reference_B2 = per_token_B2, reference_B2 / tokens_B2
        options = {"beta": config.beta, "noise": config.label_noise, "margin_B": config.margin * batch["gap_B"]}
        value, metrics = preference_loss(config.loss, sums_B2, reference_B2, **options)
        ce = -jnp.mean(per_token_B2[:, 0])
        # Both plans of a pair can become less likely together; this says how far the better one has.
        moved = jnp.mean(sums_B2[:, 0] - reference_B2[:, 0])
        return value + config.sft_weight * ce, metrics | {"preference": value, "ce": ce, "chosen_moved": moved}

    return loss


def build(config: PreferenceTrainConfig, folder: Path) -> Task:
    """The task of a config; `folder` gets the log-probabilities of the pairs under the reference.

    Raises:
        ValueError: weights that are not there, a reference of another form, or lists without pairs that can be used.
    """
    base = weights.folder.find(KINDS, config.base_weights, ())
    mesh = make_mesh(config.mesh)
    policy = Policy.of(base, spread(config.execution, mesh))
    # Frozen weights need no float32 copy.
    dtype = "float32" if config.learns == "all" else config.execution.dtype
    _, params, tokenizer = weights.load(policy.kind, base, mesh=mesh, dtype=dtype)
    tokenizer_file = base / TOKENIZER if tokenizer else None
    if tokenizer_file:
        pin_tokenizer(tokenizer_file, folder)
    reader = (PlannerPairs if policy.kind == "planner" else GenDoPPairs)(policy.config, tokenizer)
    pairs = _read(config, reader)
    reference = params
    if config.reference:
        _, reference, _ = _same_form(policy, config.reference, mesh, dtype)
    values = {
        split: _reference(policy, config, base, {"params": reference}, reader, found, folder / f"{split}_{REFERENCE}")
        for split, found in pairs.items()
    }
    trainable, frozen = {"params": params}, {}
    if config.learns == "adapter":
        adapter = create(
            lambda: lora.init(jax.random.key(config.seed), weights.abstract(policy.kind, policy.config), config.lora),
            mesh,
        )
        trainable, frozen = {"lora": adapter}, {"params": params}
    return Task(
        config=config,
        trainable=trainable,
        frozen=frozen,
        loss=make_loss(policy, config),
        source=functools.partial(_source, config, reader, pairs, values),
        export=functools.partial(_export, policy, tokenizer_file),
        ideal_step_seconds=ideal_step_seconds(config.batch, functools.partial(_work, policy, pairs["train"]), mesh),
    )


def _same_form(policy: Policy, name: str, mesh: Mesh, dtype: str) -> weights.Loaded:
    found = weights.load(policy.kind, name, mesh=mesh, dtype=dtype)
    if found.config != policy.config:
        raise ValueError(f"the reference {name} is of another size or form than the planner that learns")
    return found


def _read(config: PreferenceTrainConfig, reader: PlannerPairs | GenDoPPairs) -> dict[str, tuple[Encoded, ...]]:
    """The pairs of a run by split, encoded; those that cannot be used are named in a warning."""
    lists = {"train": config.pairs, "test": config.test_pairs}
    found = {split: read_encoded(paths, reader) for split, paths in lists.items() if paths}
    if "test" not in found:
        # A pair is held out by its name, so that it stays so when the list grows.
        held = [_share_of(name) < config.test_share for name, _ in found["train"]]
        found["test"] = [pair for pair, out in zip(found["train"], held, strict=True) if out] or found["train"][:1]
        found["train"] = [pair for pair, out in zip(found["train"], held, strict=True) if not out]
    if not found["train"]:
        raise ValueError(f"of the pairs in {config.pairs} none is left to train on")
    return {split: tuple(pair for _, pair in pairs) for split, pairs in found.items()}


def _share_of(name: str) -> float:
    """A number in [0, 1) that depends on a name alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def _source(
    config: PreferenceTrainConfig,
    reader: PlannerPairs | GenDoPPairs,
    pairs: dict[str, tuple[Encoded, ...]],
    reference: dict[str, np.ndarray],
    split: str,
    num_steps: int,
) -> PairSource:
    host, num_hosts = batch_share(make_mesh(config.mesh))
    return PairSource(
        reader=reader,
        pairs=pairs[split],
        reference_P2=reference.get(split),
        seed=config.seed,
        shuffle=split == "train",
        global_batch=config.batch,
        num_steps=num_steps,
        host=host,
        num_hosts=num_hosts,
    )


def _reference(
    policy: Policy,
    config: PreferenceTrainConfig,
    base: Path,
    variables: dict,
    reader: PlannerPairs | GenDoPPairs,
    pairs: Sequence[Encoded],
    file: Path,
) -> np.ndarray:
    """The log-probabilities [P, 2] of all pairs under the reference, from the run's folder where they are there."""
    digest = _digest(config, base, pairs)
    if file.is_file():
        try:
            with np.load(file) as stored:
                if str(stored["digest"]) == digest:
                    return stored["log_probs"]
        except (ValueError, OSError, KeyError):
            pass  # a file that cannot be read is made anew
    mesh = make_mesh(config.mesh)
    placed, source = batch_sharding(mesh, config.batch), _source(config, reader, {"": tuple(pairs)}, {}, "", 0)
    run = jax.jit(functools.partial(log_probs, policy), static_argnums=2)
    found_P2 = np.zeros((len(pairs), 2), np.float32)
    for step in range(source.batches_per_epoch):
        bucket, batch = source[step]
        batch = {name: jax.make_array_from_process_local_data(placed, value) for name, value in batch.items()}
        found_P2[source.chosen(step)[1]] = np.asarray(together(run(variables, batch, bucket)))
    if jax.process_index() == 0:
        with replacing(file) as place:
            np.savez(place, digest=digest, log_probs=found_P2)
    return found_P2


def _digest(config: PreferenceTrainConfig, base: Path, pairs: Sequence[Encoded]) -> str:
    """What the reference's log-probabilities follow from: its files, the tokens of the pairs, and the arithmetic."""
    folder = weights.folder.find(KINDS, config.reference, ()) if config.reference else base
    digest = hashlib.sha256(repr((config.execution, config.learns)).encode())
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        stat = path.stat()
        digest.update(f"{path.relative_to(folder)} {stat.st_size} {stat.st_mtime_ns}".encode())
    for pair in pairs:
        for array in (*pair.ids_2, *pair.counts_2):
            digest.update(array.tobytes())
    return digest.hexdigest()


def _export(policy: Policy, tokenizer_file: Path | None, variables: dict, folder: Path) -> None:
    """Writes the planner, with its adapter folded in."""
    params = variables["params"]
    if "lora" in variables:
        params = lora.merge(params, variables["lora"])
    config = dataclasses.replace(policy.config, lora=None) if policy.kind == "planner" else policy.config
    weights.export(policy.kind, params, config, folder, tokenizer_file=tokenizer_file)


def _work(policy: Policy, pairs: Sequence[Encoded], bucket: Hashable) -> tuple[flops.Work, ...]:
    """The operations of one pair of a bucket: what is read counts once, the decoder twice."""
    same = [pair for pair in pairs if pair.bucket == bucket]
    tokens = max(len(ids_N) for pair in same for ids_N in pair.ids_2)
    text = max(len(pair.read.text_ids_S) for pair in same) if policy.kind == "planner" else 0
    return _parts(policy, text, tokens, bucket)


def _parts(policy: Policy, text: int, tokens: int, bucket: Hashable) -> tuple[flops.Work, ...]:
    if policy.kind == "gendop":
        *read, decoder = flops.gendop(policy.config, tokens)
        return (*read, decoder, decoder)
    *read, decoder = flops.planner(policy.config, text, tokens, bucket)
    # A native decoder reads the text again for each plan.
    return (*read, decoder) * 2 if policy.config.decoder_kind == "native" else (*read, decoder, decoder)


def outline(config: PreferenceTrainConfig, mesh: Mesh) -> Outline:
    """The run as shapes: a batch of the longest films and the longest texts that the planner takes."""
    policy = Policy.of(weights.folder.find(KINDS, config.base_weights, ()), spread(config.execution, mesh))
    model, shapes = policy.config, weights.abstract(policy.kind, policy.config)
    trainable, frozen = {"params": shapes}, {}
    if config.learns == "adapter":
        adapter = jax.eval_shape(lambda: lora.init(jax.random.key(0), shapes, config.lora))
        trainable, frozen = {"lora": adapter}, {"params": cast(shapes, config.execution.dtype)}
    if policy.kind == "planner":
        bucket, text = model.max_shots, model.max_text_tokens
        tokens = planner_task.pose_tokens(model, bucket)
        read = {"text_ids_BS": (text, "int32"), "slot_BS": (text, "int32"), "real_BS": (text, "bool")}
    else:
        bucket, text, tokens = None, 0, gendop_tokens.sequence_length(model.tokens)
        read = gendop_task.condition_shapes(model)
    pairs = {
        "ids_B2N": (2, tokens, "int32"),
        "counts_B2N": (2, tokens, "bool"),
        "reference_B2": (2, "float32"),
        "gap_B": ("float32",),
    }
    return Outline(
        config=config,
        trainable=trainable,
        frozen=frozen,
        loss=make_loss(policy, config),
        batch=batch_shapes(config.batch, read | pairs),
        bucket=bucket,
        work=_parts(policy, text, tokens, bucket),
    )
