"""Runs that were started with earlier code go on as they would have gone on then (`tests/golden/runs`)."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from shotverse_jax.data.records import write_dataset
from shotverse_jax.train import build, export, read_config, train
from shotverse_jax.train.metrics import read_metrics
from shotverse_jax.weights import load, load_adapter

RUNS = Path(__file__).parents[1] / "golden" / "runs"
PROMPT = (
    "[global caption] A man. This scene contains 2 shots. [per shot caption] Push in. [shot cut] The camera pans left."
)


def films(folder):
    """The films that the controller of the fixture was trained on."""
    rng = np.random.default_rng(0)
    pose_T34 = np.tile(np.eye(3, 4, dtype=np.float32), (3, 1, 1))
    pose_T34[:, :, 3] = rng.normal(size=(3, 3))
    film = {"pose_T34": pose_T34, "shot_T": np.array([0, 0, 1], np.int32), "prompt": PROMPT}
    rows = [
        {
            "latents": rng.normal(size=(3, 2, 4, 4)).astype(np.float16),
            "subject_THW": np.repeat(rng.integers(0, 2, (3, 16, 4), np.uint8), 8, axis=2),
        }
        for _ in range(4)
    ]
    write_dataset(folder, [film | row for row in rows], {})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["planner", "controller"])
def test_a_run_of_earlier_code_goes_on(name, tmp_path, monkeypatch):
    shutil.copytree(RUNS, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)  # the runs name their data and their base model by relative paths
    films("films")
    config = read_config(json.loads(Path(name, "run.json").read_text()))
    task = build(config, name)
    state = train(task, name)
    assert int(state.step) == config.steps == 6

    found, expected = read_metrics(Path(name, "metrics.jsonl")), read_metrics(Path(name, "expected.jsonl"))
    assert [(r["step"], r["kind"]) for r in found if r["kind"] == "resume"] == [(3, "resume")]
    later = [r for r in expected if r["step"] > 3]
    assert [(r["step"], r["kind"]) for r in found[1:]] == [(r["step"], r["kind"]) for r in later]
    for ours, theirs in zip(found[1:], later, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
    assert read_config(json.loads(Path(name, "run.json").read_text())) == config

    export(task, state, "export")
    if name == "planner":
        assert load("planner", "export").config == config.model
    else:
        assert config.expert == "high"  # "stage" in the file
        assert load("controller", "export", expert="high").config.expert("high") == config.model.expert("high")
        assert load_adapter("export/adapter", "high")[2]  # the camera encoders
