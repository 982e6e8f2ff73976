"""Configs of the controller: they build their dataclasses, ablations change one thing, pods have their meshes."""

import dataclasses
from pathlib import Path

import pytest

from shotverse_jax.config import ControllerTrainConfig, MeshConfig, controller_14b
from shotverse_jax.fit.config_file import read
from shotverse_jax.parallel.mesh import axis_sizes
from shotverse_jax.train import read_config

FOLDER = Path(__file__).parents[2] / "configs" / "controller"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in ("__init__", "common"))


def load(name, *changes):
    run = read_config(read(str(FOLDER / f"{name}.py"), changes))
    assert isinstance(run, ControllerTrainConfig)
    return run.model, run


@pytest.mark.parametrize("name", NAMES)
def test_every_config_builds_its_dataclasses(name):
    config, run = load(name)
    assert config.expert(run.expert) and config.lora is not None


def test_a_pod_has_the_numbers_of_the_paper():
    config, run = load("pod")
    assert config == controller_14b() and config.lora.rank == 128
    assert (config.frames, config.height, config.width) == (249, 480, 832)
    assert (run.lr, run.expert, run.execution.dtype, run.execution.remat) == (
        1e-4,
        "high",
        "bfloat16",
        "save_attention",
    )
    assert load("pod_low") == (config, dataclasses.replace(run, expert="low"))


@pytest.mark.parametrize(
    ("name", "changed"),
    [("no_camera", {"camera": "none"}), ("both_cameras", {"camera": "both"}), ("rope_3d", {"rope": "wan3d"})],
)
def test_an_ablation_changes_one_thing(name, changed):
    config, run = load(name)
    if "rope" in changed:
        changed = {"dit": dataclasses.replace(controller_14b().dit, **changed)}
    assert config == dataclasses.replace(controller_14b(), **changed)
    assert run == dataclasses.replace(load("pod")[1], model=config)
    assert load(name, "--config.expert=low")[0].expert("low").camera == (name == "both_cameras")


@pytest.mark.parametrize(("devices", "changes"), [(96, ["--config.mesh.data=3"]), (64, ["--config.batch=8"])])
def test_the_meshes_of_pods_divide(devices, changes):
    config, run = load("pod", *changes)
    sizes = axis_sizes(run.mesh, devices)
    assert sizes["sequence"] == 8 and run.batch == sizes["data"] * sizes["fsdp"]
    assert config.dit.num_heads % sizes["sequence"] == 0 and config.dit.hidden_size % sizes["fsdp"] == 0
    tokens = ((config.frames - 1) // 4 + 1) * (config.height // 16) * (config.width // 16)
    assert tokens == 98280 and tokens % sizes["sequence"] == 0


def test_a_wrong_change_is_refused():
    with pytest.raises(ValueError, match="config.batches"):
        load("pod", "--config.batches=3")
    with pytest.raises(ValueError, match="there is no config file nowhere.py"):
        read("nowhere.py")
    assert MeshConfig(data=-1) == MeshConfig()
