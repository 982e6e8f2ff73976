"""Flow-DPO of an expert: the first step, what is frozen, pairs that do not fit, and that it learns to prefer."""

import dataclasses

import jax
import numpy as np
import pytest

from shotverse_jax import weights
from shotverse_jax.config import ControllerConfig, FilmPreferenceTrainConfig, LoraConfig
from shotverse_jax.data.records import write_dataset
from shotverse_jax.train import build, read_config
from shotverse_jax.train.state import init_state, make_optimizer, merge
from shotverse_jax.train.step import make_train_step

PROMPT = (
    "[global caption] A man. This scene contains 2 shots. [per shot caption] Push in. [shot cut] The camera pans left."
)


def films(folder, level, prompt=PROMPT):
    """Four films, whose latents lie about a level; all else follows from the number."""
    rows = []
    for number in range(4):
        rng = np.random.default_rng(number)
        pose_T34 = np.tile(np.eye(3, 4, dtype=np.float32), (5, 1, 1))
        pose_T34[:, :, 3] = rng.normal(size=(5, 3))
        latents = level + 0.1 * rng.normal(size=(5, 4, 6, 4))
        shot_T = np.array([0, 0, 0, 1, 1], np.int32)
        rows.append({"latents": latents.astype(np.float16), "pose_T34": pose_T34, "shot_T": shot_T, "prompt": prompt})
    write_dataset(folder, rows, {})
    return str(folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    return (
        films(folder / "better", 1.0),
        films(folder / "worse", -1.0),
        films(folder / "other", -1.0, f"{PROMPT} Slowly."),
    )


def run_of(controller_folder, data, **values):
    model = weights.folder.read_config(controller_folder, ControllerConfig)
    model = dataclasses.replace(model, lora=LoraConfig(rank=4, alpha=8.0, targets=("q_proj", "ffn_in", "ffn_out")))
    values = {
        "steps": 25,
        "batch": 4,
        "lr": 5e-3,
        "warmup": 0,
        "ema": 0.0,
        "log_every": 40,
        "test_data": data[0],
    } | values
    values = {"data": data[0], "rejected": data[1], "test_rejected": data[1], "expert": "high"} | values
    config = FilmPreferenceTrainConfig(model=model, base_weights=str(controller_folder), **values)
    return read_config(dataclasses.asdict(config))


def measured(task, variables):
    [(_, batch)] = [next(iter(task.batches("test")))]
    return jax.jit(task.loss, static_argnums=2)(variables, batch, None, None)


@pytest.mark.slow
def test_it_learns_to_prefer(controller_folder, data, tmp_path):
    task = build(run_of(controller_folder, data), tmp_path)
    assert list(task.trainable) == ["lora"]
    value, metrics = measured(task, merge(task.trainable, task.frozen))
    assert float(metrics["preference"]) == pytest.approx(np.log(2), abs=1e-6)
    assert float(value) == pytest.approx(np.log(2) + 0.05 * float(metrics["flow"]), rel=1e-5)
    assert float(metrics["flow_moved"]) == 0
    before = jax.tree.map(np.array, task.frozen)
    optimizer, schedule = make_optimizer(task.config)
    state, step = init_state(task.trainable, optimizer, ema=False), make_train_step(task.loss, optimizer, schedule, 0.0)
    for number in range(task.config.steps):
        bucket, batch = task.source("train", task.config.steps)[number]
        state, metrics = step(state, task.frozen, batch, jax.random.key(0), bucket)
    assert float(metrics["preferred"]) == 1.0 and float(metrics["preference"]) < 0.3
    for new, old in zip(jax.tree.leaves(task.frozen), jax.tree.leaves(before), strict=True):
        np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize(
    ("values", "words"),
    [({"rejected": 2}, "window_BKS differs|ids_BS differs"), ({"expert": "base"}, '"high" or "low"')],
)
def test_what_is_refused(values, words, controller_folder, data, tmp_path):
    values = {name: data[value] if isinstance(value, int) else value for name, value in values.items()}
    with pytest.raises(ValueError, match=words):
        task = build(run_of(controller_folder, data, **values), tmp_path)
        task.source("train", 4)[0]
