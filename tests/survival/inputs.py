"""The small inputs of the table of commands, made once in a folder, and the hub on loopback that `get` asks."""

import contextlib
import dataclasses
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from tests.survival.commands import NEW, OLD, rows
from tests.survival.processes import asked, fork

PLAY = "A woman in a red coat waits in a hall.\n\nThe camera pans left. (1 s)\n\nThe camera pushes in on her. (1 s)\n"


def make(folder: Path) -> None:
    """Writes all inputs, in a child."""
    asked(_make, folder)


def _make(folder: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    from shotverse_jax.camera.formats import write_trajectory
    from shotverse_jax.config import UMT5Config
    from shotverse_jax.conversion import core
    from shotverse_jax.conversion.networks import NETWORKS
    from shotverse_jax.data.records import write_dataset
    from shotverse_jax.grammar.samples import sample_example
    from tests.helpers import small_models

    rng = np.random.default_rng(0)
    write_dataset(folder / "numbers", [{"x": rng.normal(size=16).astype(np.float32)} for _ in range(40)], {})
    small_models.planner(folder)
    small_models.controller(folder)
    (folder / "play.txt").write_text(PLAY)
    for seed in (OLD, NEW):
        rows(folder / f"plan_{seed}.jsonl", 8, seed)
        rows(folder / f"film_{seed}.jsonl", 3, seed)
        path = sample_example(seed, "test").trajectory
        write_trajectory(path, folder / f"path_{seed}.json", "shotverse")
        _adapter(folder / f"adapter_{seed}", seed)
    config = UMT5Config(vocab_size=4096, hidden_size=128, num_layers=24, num_heads=4, head_dim=32, mlp_size=256)
    params = small_models.drawn(NETWORKS["umt5"].abstract(config), 0)
    save_file(core.to_torch(NETWORKS["umt5"].table(config, None), params), folder / "encoder.safetensors")


def _adapter(folder: Path, seed: int) -> None:
    """The adapter of an expert, as a training run exports it."""
    import jax
    import numpy as np

    from shotverse_jax import lora
    from shotverse_jax.config import LoraConfig, WanDiTConfig, controller_small
    from shotverse_jax.conversion.networks import NETWORKS
    from shotverse_jax.weights import export_adapter

    dit = WanDiTConfig(24, 2, 2, 40, 8, 10, 4, camera=False)
    rank = LoraConfig(rank=3, alpha=1.5, targets=("q_proj", "ffn_in"))
    abstract = NETWORKS["wan-dit"].abstract(dit)
    shapes, rng = jax.eval_shape(lambda: lora.init(jax.random.key(0), abstract, rank)), np.random.default_rng(seed)
    adapter = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)
    config = dataclasses.replace(controller_small(), dit=dit, camera="none", lora=rank)
    export_adapter(adapter, {}, config, folder, "high")


def _serve(address: Path) -> int:
    from tests.helpers.stand_in_hub import StandInHub, repositories

    hub = StandInHub()
    hub.repositories = repositories()
    address.with_suffix(".new").write_text(hub.url)
    os.replace(address.with_suffix(".new"), address)
    signal.pause()
    return 0


@contextlib.contextmanager
def hub(folder: Path) -> Iterator[str]:
    """A hub in a child; yields its address."""
    address = folder / "hub.url"
    child = fork(lambda: _serve(address))
    try:
        while not address.exists():
            time.sleep(0.01)
        yield address.read_text()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
