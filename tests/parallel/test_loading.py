"""Weights go from disk straight to their shards; eight devices are eight threads of a child process."""

import dataclasses
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from shotverse_jax.config import MeshConfig, planner_nano
from shotverse_jax.infer.cinematographer import Cinematographer
from shotverse_jax.infer.plan import Director
from shotverse_jax.inputs.tokenizer import train_text_tokenizer
from shotverse_jax.parallel.mesh import make_mesh
from shotverse_jax.weights import abstract, export, folder, load
from shotverse_jax.weights.trees import flatten


def as_arrays(path):
    """Puts an Orbax checkpoint of plain zarr arrays in the place of a safetensors file."""
    values = {name: np.asarray(value) for name, value in folder.open_weights(path).items()}
    tree = {}
    for name, value in values.items():
        *parents, leaf = name.split("/")
        node = tree
        for part in parents:
            node = node.setdefault(part, {})
        node[leaf] = value
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=False, use_zarr3=False)) as checkpointer:
        checkpointer.save(path.with_suffix("").absolute(), tree)
    path.unlink()
    path.with_suffix(".sha256").unlink(missing_ok=True)  # of the file


@pytest.fixture(scope="module")
def planner(tmp_path_factory, drawn):
    place, config = tmp_path_factory.mktemp("planner"), planner_nano()
    train_text_tokenizer(["the camera pans left"], 300).save(str(place / "text.json"))
    params = drawn(abstract("planner", config), 0)
    export("planner", params, config, place / "file", tokenizer_file=place / "text.json")
    export("planner", params, config, place / "arrays", tokenizer_file=place / "text.json")
    as_arrays(place / "arrays" / "model.safetensors")
    return place


@pytest.mark.parametrize("kind", ["file", "arrays"])
def test_a_planner_on_eight_devices(planner, kind):
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "8"}
    command = [sys.executable, __file__, str(planner / kind)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["equal"] and found["dtypes"] == ["bfloat16"]
    assert found["shard"] == [2, 8, 32]  # of the text model's q_proj [2, 32, 64], over fsdp=4 and tensor=2
    # Nothing is read but what a device holds: at most a part of lm_head, which fsdp alone splits.
    assert found["largest_read"] == 32 * 260 // 4


def on_eight_devices(path):
    """Loads a planner with a mesh, noting how large the parts are that are read from disk."""
    reads, whole = [], load("planner", path)[1]
    stored = folder.Stored.__getitem__

    def noted(self, index):
        part = stored(self, index)
        reads.append(part.size)
        return part

    folder.Stored.__getitem__ = noted
    params = load("planner", path, mesh=make_mesh(MeshConfig(data=1, fsdp=4, tensor=2)), dtype="bfloat16")[1]
    pairs = zip(jax.tree.leaves(params), jax.tree.leaves(whole), strict=True)
    return {
        "equal": all((np.asarray(ours) == theirs.astype(jnp.bfloat16)).all() for ours, theirs in pairs),
        "dtypes": sorted({str(leaf.dtype) for leaf in jax.tree.leaves(params)}),
        "shard": flatten(params)["vlm/layers/self_attn/q_proj/kernel"].addressable_shards[0].data.shape,
        "largest_read": max(reads),
    }


def test_a_director_and_a_cinematographer_from_folders_of_arrays(planner, controller_folder, tmp_path):
    mesh = make_mesh(MeshConfig())
    file, arrays = Director.load(planner / "file"), Director.load(planner / "arrays")
    placed = Director.load(planner / "arrays", mesh=mesh)
    assert file.tokenizer.get_vocab_size() == arrays.tokenizer.get_vocab_size()
    for a, b, c in zip(*map(jax.tree.leaves, (file.params, arrays.params, placed.params)), strict=True):
        assert (a == b).all() and (a == np.asarray(c)).all() and c.sharding.mesh == mesh

    there = Cinematographer.load(controller_folder)
    copied = tmp_path / "controller"
    copied.mkdir()
    for name in ("config.json", "high.safetensors", "low.safetensors"):
        (copied / name).write_bytes((controller_folder / name).read_bytes())
    for name in ("high", "low"):
        as_arrays(copied / f"{name}.safetensors")
    here = Cinematographer.load(copied, mesh, dtype="bfloat16")
    assert here.design.execution.dtype == "bfloat16" and here.config == there.config
    for a, b in zip(jax.tree.leaves((there.high, there.text)), jax.tree.leaves((here.high, here.text)), strict=True):
        assert b.dtype == jnp.bfloat16 and (a == np.asarray(b, np.float32)).all()


def test_the_language_model_that_a_planner_starts_from(planner, tmp_path):
    config, params, _ = load("planner", planner / "file")
    text = planner / "text.json"
    export("language_model", params["vlm"], config.text, tmp_path / "text", tokenizer_file=text)
    as_arrays(tmp_path / "text" / "model.safetensors")
    text_config, vlm, _ = load("language_model", tmp_path / "text", mesh=make_mesh(MeshConfig()), dtype="bfloat16")
    assert text_config == config.text and jax.tree.structure(vlm) == jax.tree.structure(params["vlm"])
    for ours, theirs in zip(jax.tree.leaves(vlm), jax.tree.leaves(params["vlm"]), strict=True):
        assert ours.dtype == jnp.bfloat16 and (np.asarray(ours, np.float32) == theirs).all()


def test_arrays_that_do_not_fit_are_all_listed(planner, tmp_path):
    broken = tmp_path / "broken"
    config = dataclasses.replace(planner_nano(), num_queries=3)
    export("planner", {"queries": jnp.zeros((2, 32))}, config, broken, tokenizer_file=planner / "text.json")
    with pytest.raises(ValueError, match=r"missing separator.*queries has shape \[2, 32\], expected \[3, 32\]"):
        load("planner", broken, mesh=make_mesh(MeshConfig()))
    with pytest.raises(ValueError, match="file is a planner, not a controller"):
        load("controller", planner / "file", expert="high", mesh=make_mesh(MeshConfig()))


if __name__ == "__main__":
    print(json.dumps(on_eight_devices(sys.argv[1])))
