"""Shared fixtures."""

import dataclasses
import os
import tempfile
from pathlib import Path

import jax
import numpy as np
import pytest

# Programs that several tests compile are compiled once, also across worker processes and runs.
jax.config.update("jax_compilation_cache_dir", str(Path(tempfile.gettempdir()) / "shotverse_jax_tests"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


@pytest.fixture(scope="session")
def reference() -> Path:
    """Folder with records of the original programs and real trajectory files; named by SHOTVERSE_REFERENCE."""
    folder = os.environ.get("SHOTVERSE_REFERENCE")
    if not folder:
        pytest.skip("SHOTVERSE_REFERENCE is not set: the records of the original programs are not here")
    return Path(folder)


@pytest.fixture
def cudnn_without_gpu(monkeypatch):
    """JAX traces and lowers cuDNN attention as for a Hopper GPU, instead of asking the devices and finding none."""
    from jax._src.cudnn import fused_attention_stablehlo as cudnn

    monkeypatch.setattr(cudnn, "check_cudnn_version", lambda: 91000)
    monkeypatch.setattr(cudnn, "check_compute_capability", lambda capability: True)
    monkeypatch.setattr(cudnn, "is_cuda_compute_capability_equal", lambda capability: capability == "9.0")


@pytest.fixture
def parity(record_property):
    """parity(what, ours, theirs) → largest difference over the RMS of theirs; of a tree that of the worst leaf.

    size=np.max takes the largest value in place of the RMS, for the gradients of embeddings, which are nearly all zero.
    The largest of every test file are printed at the end of the run.
    """

    def rms(x):
        return np.sqrt(np.mean(np.square(x)))

    def measure(what, ours, theirs, size=rms):
        def of_leaf(ours, theirs):
            ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
            return float(np.max(np.abs(ours - theirs)) / size(np.abs(theirs)))

        error = max(jax.tree.leaves(jax.tree.map(of_leaf, ours, theirs)))
        record_property("parity", (what, error))
        return error

    return measure


def pytest_terminal_summary(terminalreporter):
    largest = {}
    for report in (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")):
        for name, value in report.user_properties if report.when == "call" else ():
            if name == "parity":
                key = report.nodeid.split("::")[0], value[0]
                largest[key] = max(largest.get(key, 0.0), value[1])
    if largest:
        terminalreporter.section("parity: largest errors")
    for (file, what), error in sorted(largest.items()):
        terminalreporter.write_line(f"{error:.1e}  {what}  {file}")


@pytest.fixture(scope="session")
def controller_folder(tmp_path_factory) -> Path:
    """A controller of random weights with its text encoder and VAE: 17 frames of 32x48, made in a second."""
    from shotverse_jax.config import UMT5Config, WanDiTConfig, WanVAEConfig, controller_small
    from shotverse_jax.models.controller import Controller, example
    from shotverse_jax.weights import export, find_tokenizer, init, init_module

    folder = tmp_path_factory.mktemp("controller")
    text = UMT5Config(vocab_size=4096, hidden_size=16, num_layers=1, num_heads=2, head_dim=8, mlp_size=32)
    dit = WanDiTConfig(
        hidden_size=48, num_layers=2, num_heads=2, mlp_size=64, frequency_size=16, text_size=16, latent_channels=4
    )
    small = {"frames": 17, "height": 32, "width": 48, "steps": 4, "guidance": 2.0}
    parts = {"dit": dit, "text": str(folder / "text"), "vae": str(folder / "vae")}
    config = dataclasses.replace(controller_small(), **parts, **small)
    vae = WanVAEConfig(4, 4, (1, 1, 1, 1), 1, latent_mean=(0.1,) * 4, latent_std=(0.9,) * 4)
    for number, expert in enumerate(("high", "low")):
        params = init_module(Controller(config, text, expert), example(config), jax.random.key(number))
        params = shaken(params, number)  # nothing is off because it starts at zero
        export("controller", params["dit"], config, folder / "controller", expert=expert)
    export("text_encoder", params["text"], text, folder / "text", tokenizer_file=find_tokenizer("planner_small"))
    export("vae", init("vae", vae, jax.random.key(3)), vae, folder / "vae")
    return folder / "controller"


def shaken(tree, seed: int):
    """Random values added to every leaf."""
    leaves, shape = jax.tree.flatten(tree)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    leaves = [leaf + 0.2 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(shape, leaves)
