"""Train a planner on the stage: python -m launch.train --config=configs/planner/small.py --workdir=runs/small

A run that was stopped goes on from its newest checkpoint when started again with the same --workdir. At the end, and
with --export_only at any time, the averaged parameters are exported to <workdir>/export as a planner folder.
"""

import json
from pathlib import Path

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from shotverse_jax import lora
from shotverse_jax.config import PlannerConfig, TrainConfig, from_dict
from shotverse_jax.conversion import qwen3_vl
from shotverse_jax.conversion.core import read_safetensors
from shotverse_jax.data.bpe import stage_captions, train_text_tokenizer
from shotverse_jax.data.loader import batches
from shotverse_jax.data.planner_source import PlannerSource
from shotverse_jax.models.planner import Planner, planner_loss
from shotverse_jax.pretrained import export_planner, init_planner
from shotverse_jax.stage.grammar import sample_example
from shotverse_jax.train import path_probe
from shotverse_jax.train.checkpoint import Checkpoints
from shotverse_jax.train.loop import train
from shotverse_jax.train.state import init_state, make_optimizer, merge, split_frozen
from shotverse_jax.train.step import make_eval_step, make_train_step

CONFIG = config_flags.DEFINE_config_file("config", None, "one of configs/planner/*.py", lock_config=True)
WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run: checkpoints, metrics, tokenizer, export")
EXPORT_ONLY = flags.DEFINE_bool("export_only", False, "export the newest checkpoint and stop")


def prepare_tokenizer(planner: PlannerConfig, run: TrainConfig, folder: Path, base_weights: str) -> Path:
    """The pre-trained language model's tokenizer, or one learned from the stage's captions on the first start."""
    if base_weights:
        return Path(base_weights) / "tokenizer.json"
    path = folder / "tokenizer.json"
    if not path.exists():
        captions = stage_captions(sample_example, run.bpe_examples)
        train_text_tokenizer(captions, planner.text.vocab_size).save(str(path))
    return path


def make_variables(planner: Planner, config: PlannerConfig, run: TrainConfig, base_weights: str) -> dict:
    """Random variables, with the language model's pre-trained weights and fresh adapters where the config has them."""
    key = jax.random.key(run.seed)
    variables = jax.jit(lambda: init_planner(planner, config, key))()
    if base_weights:
        dtype = "float32" if config.lora is None else run.execution.dtype  # frozen weights need no float32 copy
        variables["params"]["vlm"] = qwen3_vl.from_hf(read_safetensors(base_weights), config.text, dtype)
    if config.lora is not None:
        adapter = lora.init(jax.random.fold_in(key, 1), variables["params"]["vlm"], config.lora)
        variables["lora"] = {"vlm": adapter}
    if run.path_weight:
        variables[path_probe.COLLECTION] = path_probe.init_probe(jax.random.fold_in(key, 2), config)
    return variables


def make_source(
    planner: PlannerConfig, run: TrainConfig, tokenizer_file: Path, split: str, num_steps: int
) -> PlannerSource:
    """Training batches, or for the test split as many held-out ones of all shot counts."""
    return PlannerSource(
        config=planner,
        tokenizer_file=str(tokenizer_file),
        sample=sample_example,
        split=split,
        seed=run.seed,
        global_batch=run.batch,
        num_steps=num_steps,
        shot_weights=run.shot_weights,
        text_lengths=run.text_lengths,
        single_shot_steps=run.single_shot_steps if split == "train" else 0,
        host=jax.process_index(),
        num_hosts=jax.process_count(),
    )


def main(_):
    logging.set_verbosity(logging.WARNING)  # Orbax reports every file it touches
    values = CONFIG.value.to_dict()
    base_weights = values.pop("base_weights")
    config = from_dict(PlannerConfig, values.pop("model"))
    run = from_dict(TrainConfig, values)
    folder = Path(WORKDIR.value)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps(CONFIG.value.to_dict(), indent=2) + "\n", encoding="utf-8")

    tokenizer_file = prepare_tokenizer(config, run, folder, base_weights)
    planner = Planner(config, run.execution)
    params, frozen = split_frozen(make_variables(planner, config, run, base_weights))
    optimizer, schedule = make_optimizer(run)
    state = init_state(params, optimizer, ema=run.ema > 0)

    def loss_fn(variables, batch, num_shots, key):
        rngs = None if key is None else {"dropout": key}
        logits, codes = planner.apply(variables, batch, num_shots, deterministic=key is None, rngs=rngs)
        loss, metrics = planner_loss(logits, codes, batch["pose_ids_BN"], config.code_penalty)
        if run.path_weight:
            probe = variables[path_probe.COLLECTION]
            metrics["path"] = path_probe.path_loss(probe, codes, batch["pose_ids_BN"], config, num_shots)
            loss += run.path_weight * metrics["path"]
        return loss, metrics

    if EXPORT_ONLY.value:
        state = Checkpoints(folder / "checkpoints").restore(state)
    else:
        train_source = make_source(config, run, tokenizer_file, "train", run.steps)
        eval_source = make_source(config, run, tokenizer_file, "test", run.eval_batches)
        state = train(
            run,
            folder,
            state,
            frozen,
            make_train_step(loss_fn, optimizer, schedule, run.ema),
            make_eval_step(loss_fn),
            train_batches=lambda start: batches(train_source, start, run.workers),
            eval_batches=lambda: batches(eval_source),
        )
    if jax.process_index() == 0 and (EXPORT_ONLY.value or int(state.step) >= run.steps):
        variables = merge(state.averaged, frozen)
        if config.lora is not None:
            variables["params"]["vlm"] = lora.merge(variables["params"]["vlm"], variables["lora"]["vlm"])
        export_planner(variables["params"], config, tokenizer_file, folder / "export")
        print(f"exported step {int(state.step)} to {folder / 'export'}")


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    jax.config.config_with_absl()
    app.run(main)
