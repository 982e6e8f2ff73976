"""The small inputs of the table of commands, made once in a folder, and the hub on loopback that `get` asks."""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from tests.survival.commands import NEW, OLD, rows
from tests.survival.processes import asked, fork

PLAY = "A woman in a red coat waits in a hall.\n\nThe camera pans left. (1 s)\n\nThe camera pushes in on her. (1 s)\n"


CLIPS = 12
"""Shots of DataDoP's folders."""


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
    small_models.planner(folder, "roomy", shots=4, text=1024)
    small_models.controller(folder)
    small_models.camera_clip(folder)
    _styles(folder)
    (folder / "play.txt").write_text(PLAY)
    for seed in (OLD, NEW):
        rows(folder / f"plan_{seed}.jsonl", 8, seed)
        rows(folder / f"film_{seed}.jsonl", 3, seed)
        path = sample_example(seed, "test").trajectory
        write_trajectory(path, folder / f"path_{seed}.json", "shotverse")
        _adapter(folder / f"adapter_{seed}", seed)
    _gendop(folder)
    _paths(folder)
    _films(folder)
    config = UMT5Config(vocab_size=4096, hidden_size=128, num_layers=24, num_heads=4, head_dim=32, mlp_size=256)
    params = small_models.drawn(NETWORKS["umt5"].abstract(config), 0)
    save_file(core.to_torch(NETWORKS["umt5"].table(config, None), params), folder / "encoder.safetensors")


def _styles(folder: Path) -> None:
    """An adapter of a class."""
    from shotverse_jax import weights
    from shotverse_jax.conversion.styles import write_styles
    from shotverse_jax.lora import Lora
    from tests.helpers import small_models

    high = weights.load("controller", folder / "controller", expert="high").params
    write_styles(folder / "styles.safetensors", [Lora("low angle", 1.0, {"high": small_models.change(high, 0)})])


def _gendop(folder: Path) -> None:
    """A GenDoP of captions and a CLaTr, MonST3R's results of some clips, and DataDoP's folders of them by stages."""
    from shotverse_jax import cli
    from tests.helpers import clips, small_models

    small_models.gendop(folder)
    small_models.clatr(folder)
    for number in range(CLIPS):
        place = folder / "Monst3r" / f"1_{number // 10:04d}" / f"shot_{number % 10:04d}" / "NULL"
        clips.monst3r(place, count=20, black=1, move=1.0 + number)
    data = folder / "captioned"
    cli.main(["datadop", "build", str(folder / "Monst3r"), "--out", str(data), "--split", "train", "--quiet"])
    for stage, ending in (("cleaned", ""), ("reconstructed", "_transforms_cleaning.json")):
        shutil.copytree(data, folder / stage, ignore=shutil.ignore_patterns(f"*{ending}") if ending else None)
    cli.main(["datadop", "caption", str(data), "--quiet"])


def _paths(folder: Path) -> None:
    """Camera paths for CLaTr: more than a part of `clatr_files.PART`."""
    import numpy as np

    from shotverse_jax.camera.formats import write_trajectory
    from shotverse_jax.camera.trajectory import Trajectory

    pose_T34 = np.tile(np.eye(3, 4), (5, 1, 1))
    for number in range(600):
        pose_T34[:, 0, 3] = np.linspace(0, number, 5)
        path = Trajectory(pose_T34, [9, 9, 4, 3], 8, 6, np.zeros(5, int), captions=("The camera moves right.",))
        write_trajectory(path, folder / "paths" / f"path_{number:03d}.json", "shotverse")


def _films(folder: Path) -> None:
    """Two films of each item of the lists, and their cameras."""
    import numpy as np

    from shotverse_jax.camera.formats import write_trajectory
    from shotverse_jax.camera.trajectory import Trajectory
    from shotverse_jax.inputs.items import read_items
    from shotverse_jax.preference.films import CAMERAS, FILM
    from shotverse_jax.views.video import write_video

    rows = []
    for number, item in enumerate(read_items(folder / f"film_{OLD}.jsonl")):
        layout = item.screenplay.layout()
        shot_T = np.concatenate([np.full(end - start, shot) for shot, (start, end) in enumerate(layout.spans)])
        for sample in range(2):
            pose_T34 = np.tile(np.eye(3, 4), (len(shot_T), 1, 1))
            pose_T34[:, :, 3] = [number - 1, 1.5, -3 - 2 * sample]
            path = Trajectory(pose_T34, [40, 40, 20, 12], 40, 24, shot_T, fps=item.screenplay.fps)
            place = folder / "films" / item.id / f"sample_{sample}"
            place.mkdir(parents=True)
            write_trajectory(path, place / CAMERAS, "shotverse")
            write_video(place / FILM, (np.full((24, 40, 3), 90 * sample, np.uint8) for _ in shot_T), 16.0)
            if path.num_shots > 1:
                name, files = f"{item.id}_{sample}", f"films/{item.id}/sample_{sample}"
                row = {"id": name, "video": f"{files}/{FILM}", "reconstruct": f"file:{files}/{CAMERAS}"}
                rows.append(row | {"cuts": str(layout.cuts[0])})
    (folder / "films.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


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
