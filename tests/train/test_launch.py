"""The training program and its configs."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from shotverse_jax import lora
from shotverse_jax.config import (
    ControllerConfig,
    Execution,
    LoraConfig,
    PlannerConfig,
    PlannerTrainConfig,
    TrainConfig,
    from_dict,
    planner_nano,
)
from shotverse_jax.models.planner import Planner
from shotverse_jax.train import read_config
from shotverse_jax.train.metrics import read_metrics
from shotverse_jax.train.state import init_state, make_optimizer, split_frozen
from shotverse_jax.train.step import make_train_step
from shotverse_jax.train.tasks.planner import planner_loss
from shotverse_jax.weights import init, load
from shotverse_jax.weights.trees import flatten

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(path for path in (ROOT / "configs" / "planner").glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_builds_its_dataclasses(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    run = read_config(module.get_config().to_dict())
    assert isinstance(run, PlannerTrainConfig) and isinstance(run.model, PlannerConfig)
    assert len(run.text_lengths) == len(run.shot_weights)
    assert max(run.text_lengths) <= run.model.max_text_tokens


def test_an_unknown_value_is_refused():
    with pytest.raises(
        ValueError, match="TrainConfig has no learning_rate; its fields are steps, batch, accumulate, optimizer, lr"
    ):
        from_dict(TrainConfig, {"learning_rate": 1.0})


def test_a_value_that_is_no_choice_is_refused_before_the_run_is_recorded(toy, tmp_path):
    with pytest.raises(ValueError, match="rope of WanDiTConfig is 'wan3d' or 'shotverse4d', got '4d'"):
        from_dict(ControllerConfig, {"dit": {"rope": "4d"}})
    with pytest.raises(ValueError, match="optimizer of ToyConfig is 'adamw' or 'muon', got 'muom'"):
        toy.here(tmp_path / "run", optimizer="muom")
    assert not (tmp_path / "run").exists()


def test_with_adapters_only_the_trainable_tree_moves():
    config = planner_nano()
    planner = Planner(config, Execution())
    variables = jax.jit(lambda: {"params": init("planner", config, jax.random.key(0))})()
    adapter = lora.init(jax.random.key(1), variables["params"]["vlm"], LoraConfig(rank=2, alpha=2.0))
    trainable, frozen = split_frozen({**variables, "lora": {"vlm": adapter}})
    before, before_frozen = jax.device_get((flatten(trainable), flatten(frozen)))

    def loss_fn(variables, batch, bucket, key):
        logits, codes = planner.apply(variables, batch, bucket)
        return planner_loss(logits, codes, batch["pose_ids_BN"], config.code_penalty)

    optimizer, schedule = make_optimizer(TrainConfig(steps=5, warmup=0, weight_decay=0.0))
    step = make_train_step(loss_fn, optimizer, schedule, 0.0)
    batch = {
        "text_ids_BS": np.array([[9, 0, 0]], np.int32),
        "slot_BS": np.array([[-1, 0, 1]], np.int32),
        "real_BS": np.ones((1, 3), bool),
        "pose_ids_BN": np.array([[1, 9, 10, 2]], np.int32),
    }
    state = init_state(trainable, optimizer, ema=False)
    for _ in range(2):  # B starts at zero, so A moves at the second step
        state, _ = step(state, frozen, batch, jax.random.key(0), bucket=1)
    assert not any("params/vlm" in path for path in flatten(state))
    assert all((np.asarray(x) == before_frozen[path]).all() for path, x in flatten(frozen).items())
    still = [path for path, x in flatten(state.params).items() if (np.asarray(x) == before[path]).all()]
    assert still == ["params/separator"]  # one shot has no boundary


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": "nowhere"}, "nowhere is no data set"),
        ({"bath": 3}, 'Did you mean "batch" instead of "bath"?'),
        ({"batch": "many"}, "flag --config.batch=many: invalid literal"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_input_errors_end_in_one_sentence(toy, tmp_path, values, message):
    codes, [said] = toy.run(tmp_path / "run", **values)
    assert codes == [2]
    assert message in said.splitlines()[-1] and "Traceback" not in said
    assert not (tmp_path / "run" / "checkpoints" / "1").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mesh": {"data": 7}}, "a mesh of data=7, fsdp=1, sequence=1, tensor=1 does not use all devices"),
        ({"accumulate": 3}, "a batch of 8 does not divide into accumulate=3 parts"),
    ],
    ids=["mesh", "accumulate"],
)
def test_values_that_do_not_fit_are_refused_before_a_step(toy, tmp_path, values, message):
    """As ValueErrors, which the program ends in one sentence."""
    with pytest.raises(ValueError, match=message):
        toy.here(tmp_path / "run", **values)
    assert not (tmp_path / "run" / "checkpoints" / "1").exists()


@pytest.mark.slow
def test_the_program_trains_and_exports_again_on_demand(tmp_path):
    def launch(*flags):
        command = [sys.executable, "-m", "launch.train", "--config=configs/planner/nano.py", f"--workdir={tmp_path}"]
        small = [
            "--config.steps=3",
            "--config.bpe_examples=20",
            "--config.warmup=1",
            "--config.log_every=1",
            "--config.shot_weights=(1.0,)",
        ]
        small += ["--config.text_lengths=(112,)", "--config.eval_batches=1"]
        devices = os.environ | {"JAX_NUM_CPU_DEVICES": "2"}
        done = subprocess.run(
            [*command, *small, *flags], cwd=ROOT, env=devices, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    assert "exported step 3" in launch()
    assert [r["step"] for r in read_metrics(tmp_path / "metrics.jsonl") if r["kind"] == "train"] == [1, 2, 3]
    config, params, tokenizer = load("planner", tmp_path / "export")
    assert config == planner_nano() and tokenizer.get_vocab_size() <= config.text.vocab_size
    (tmp_path / "export" / "model.safetensors").unlink()
    assert "exported step 3" in launch("--export_only")
    again = load("planner", tmp_path / "export")[1]
    assert all((a == b).all() for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(again), strict=True))
