"""Exported planners come back as they were, and a broken folder says what is wrong with it."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from shotverse_jax.config import PLANNERS, Execution, PlannerConfig, TrainConfig, from_dict, planner_nano
from shotverse_jax.inputs.tokenizer import train_text_tokenizer
from shotverse_jax.weights import export, init, load

CONFIG = planner_nano()


@pytest.fixture(scope="module")
def params():
    return jax.jit(lambda: init("planner", CONFIG, jax.random.key(0)))()


@pytest.fixture
def folder(params, tmp_path):
    train_text_tokenizer(["the camera pans left"], 300).save(str(tmp_path / "text.json"))
    export("planner", params, CONFIG, tmp_path / "planner", tokenizer_file=tmp_path / "text.json")
    return tmp_path / "planner"


def test_round_trip_in_bfloat16(params, folder):
    config, loaded, tokenizer = load("planner", folder)
    assert config == CONFIG
    assert jax.tree.structure(loaded) == jax.tree.structure(params)
    for ours, theirs in zip(jax.tree.leaves(loaded), jax.tree.leaves(params), strict=True):
        assert ours.dtype == np.float32
        assert (ours == np.asarray(theirs.astype(jnp.bfloat16).astype(jnp.float32))).all()
    assert tokenizer.encode("The camera").ids


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(ValueError, match=f"it has no {name}"):
        load("planner", folder)


def test_a_planner_that_does_not_exist():
    with pytest.raises(
        ValueError, match="no planner called planner_nowhere: give a folder or the name of a shipped one"
    ):
        load("planner", "planner_nowhere")


def test_weights_that_do_not_fit_are_all_listed(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["queries"] = tensors["queries"][:1]
    tensors["extra"] = tensors.pop("separator")
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ValueError, match="model.safetensors is not as it was written"):
        load("planner", folder)
    (folder / "model.sha256").unlink()
    message = r"missing separator; queries has shape \[1, 32\], expected \[2, 32\]; unexpected extra"
    with pytest.raises(ValueError, match=message):
        load("planner", folder)


def test_broken_files(folder):
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:100])
    with pytest.raises(ValueError, match="model.safetensors is not as it was written"):
        load("planner", folder)
    (folder / "model.sha256").unlink()
    with pytest.raises(ValueError, match="is not a safetensors file"):
        load("planner", folder)
    (folder / "config.json").write_text(json.dumps({"querries": 3}))
    with pytest.raises(ValueError, match="PlannerConfig has no querries"):
        load("planner", folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        load("planner", folder)


def test_nan_is_not_exported(params, tmp_path):
    broken = {**params, "queries": params["queries"].at[0, 0].set(jnp.nan)}
    with pytest.raises(ValueError, match="parameter queries holds NaN"):
        export("planner", broken, CONFIG, tmp_path / "planner", tokenizer_file=tmp_path / "text.json")
    assert not (tmp_path / "planner").exists()


@pytest.mark.parametrize("preset", sorted(PLANNERS))
def test_configs_survive_json(preset):
    config = PLANNERS[preset]()
    assert from_dict(PlannerConfig, json.loads(json.dumps(dataclasses.asdict(config)))) == config
    run = TrainConfig(execution=Execution(remat="full"))
    assert from_dict(TrainConfig, json.loads(json.dumps(dataclasses.asdict(run)))) == run
