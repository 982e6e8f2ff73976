"""The table of commands that write results: how each is called on small inputs, and what its result must be.

A command joins by a row of `COMMANDS`.
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.survival import readers
from tests.survival.readers import Files

OLD, NEW = 1, 2
"""The seeds of the result that is there before, and of the one that is made."""

TOY = Path(__file__).parents[1] / "train" / "toy_run.py"
"""`launch.train` with a network of a few numbers: the loop, its checkpoints and its metrics are those of every run."""


@dataclasses.dataclass(frozen=True)
class Command:
    """A row.

    Attributes:
        arguments: (inputs, out, seed) → command line without the program; `out` is the result.
        program: "shotverse", a module such as "launch.encode", or the path of a program.
        file: suffix of a result that is a file; "" for a folder.
        replaces: a second call with another seed replaces the result; else a call goes on with what is there.
        kept: (result, files of a whole one, files of the one before) → sentences about what a kill may not
            leave. The default accepts the whole and the old result, and one that says that it is unfinished.
        same: files of a result in a form in which equal results are equal.
        long: it is killed, and refuses a second process.
        given: folder of the inputs that is copied to `out` before the first call, for a command that adds files to it.
    """

    arguments: Callable[[Path, Path, int], list[str]]
    program: str = "shotverse"
    file: str = ""
    replaces: bool = True
    kept: Callable[[Path, Files, Files], list[str]] = readers.whole_or_old
    same: Callable[[Path], Files] = readers.files
    long: bool = False
    given: str = ""

    def prepare(self, inputs: Path, out: Path) -> None:
        """Copies what is given to `out`, unless something is there, or nothing can be."""
        if self.given and not os.path.lexists(out) and out.parent.is_dir():
            shutil.copytree(inputs / self.given, out)


def _play(inputs: Path) -> str:
    return str(inputs / "play.txt")


def _models(inputs: Path) -> list[str]:
    return ["--model", str(inputs / "controller"), "--planner", str(inputs / "nano")]


def _batch(task: str, more: list[str]) -> Callable[[Path, Path, int], list[str]]:
    def arguments(inputs: Path, out: Path, seed: int) -> list[str]:
        models = ["--planner", str(inputs / "nano")] if task == "plan" else [*_models(inputs), "--steps", "2"]
        return ["batch", f"{inputs}/{task}_{seed}.jsonl", "--task", task, "--out", str(out), "--quiet", *models, *more]

    return arguments


def _gendop(inputs: Path, out: Path) -> list[str]:
    return ["gendop", "--model", str(inputs / "gendop"), "--out", str(out), "--no-preview", "--quiet"]


LITTLE = {"steps": 4, "batch": 2, "warmup": 0, "ema": 0.0, "eval_every": 4, "checkpoint_every": 1}
"""Training of a round."""


def _pairs(inputs: Path) -> dict[str, Any]:
    return {"planner": inputs / "roomy", "candidates": 2, "margin": 0.0, "agreed": False, "truth": "none", "probes": 0}


def _datadop(action: str, given: str) -> Command:
    return Command(
        lambda inputs, out, seed: ["datadop", action, str(out), "--quiet"],
        replaces=False,
        kept=readers.parts,
        long=True,
        given=given,
    )


def _plot(style: str, suffix: str) -> Command:
    return Command(
        lambda inputs, out, seed: [
            *("plot", str(inputs / f"path_{seed}.json"), "--style", style, "--out", str(out), "--quiet")
        ],
        file=suffix,
    )


COMMANDS = {
    "plan": Command(
        lambda inputs, out, seed: [
            *("plan", _play(inputs), "--model", str(inputs / "nano"), "--out", str(out), "--quiet"),
            *("--seed", str(seed), "--samples", str(seed)),
        ],
        long=True,
    ),
    "film": Command(
        lambda inputs, out, seed: [
            *("film", _play(inputs), *_models(inputs), "--out", str(out), "--quiet", "--seed", str(seed)),
            *("--steps", "2", *["--compare"] * (seed == OLD)),
        ],
        long=True,
    ),
    "batch-plan": Command(_batch("plan", []), replaces=False, kept=readers.items, same=readers.batch, long=True),
    "preference-pairs": Command(
        lambda inputs, out, seed: [
            *("preference", "pairs", f"{inputs}/plan_{seed}.jsonl", "--planner", str(inputs / "nano")),
            *("--candidates", "2", "--margin", "0", "--probes", "0", "--out", str(out), "--quiet"),
        ],
        replaces=False,
        kept=readers.items,
        same=readers.batch,
        long=True,
    ),
    "preference-run": Command(
        lambda inputs, out, seed: [
            *("preference", "run", "small", "--out", str(out), "--quiet"),
            f"--config.prompts={inputs}/plan_{seed}.jsonl",
            *(f"--config.{name}={value}" for name, value in {"rounds": 1, "test_scenes": 2}.items()),
            *(f"--config.pairs.{name}={value}" for name, value in _pairs(inputs).items()),
            *(f"--config.train.{name}={value}" for name, value in LITTLE.items()),
        ],
        replaces=False,
        kept=readers.stages,
        same=readers.rounds,
        long=True,
    ),
    "cinematic-data": Command(
        lambda inputs, out, seed: [
            *("cinematic", "data", "--out", str(out), "--clips", "3", "--classes", "still,pan-left", "--quiet"),
            *("--height", "32", "--width", "48"),
        ],
        replaces=False,
        kept=readers.parts,
        long=True,
    ),
    "cinematic-compare": Command(
        lambda inputs, out, seed: [
            *("cinematic", "compare", "low angle", "--lora", str(inputs / "styles.safetensors"), "--out", str(out)),
            *("--model", str(inputs / "controller"), "--judge", str(inputs / "camera_clip"), "--poses", "none"),
            *("--films", "2", "--steps", "1", "--cfg", "1", "--seed", str(seed), "--quiet"),
        ],
        replaces=False,
        kept=readers.items,
        same=readers.batch,
        long=True,
    ),
    "preference-films": Command(
        lambda inputs, out, seed: [
            *("preference", "films", f"{inputs}/film_{seed}.jsonl", "--films", str(inputs / "films")),
            *("--margin", "0", "--probes", "0", "--out", str(out), "--quiet"),
        ],
        replaces=False,
        kept=readers.items,
        same=readers.batch,
        long=True,
    ),
    "calibrate": Command(
        lambda inputs, out, seed: [
            *("calibrate", f"{inputs}/films/play_0/sample_{seed - 1}/film.mp4", "--cuts", "none", "--out", str(out)),
            *("--reconstruct", f"file:{inputs}/films/play_0/sample_{seed - 1}/cameras.json", "--quiet"),
        ],
        replaces=False,  # stages of another film are replaced one by one, its other files at the end
        kept=readers.calibration,
        long=True,
    ),
    "bench-build": Command(
        lambda inputs, out, seed: [
            *("bench", "build", str(inputs / "films.jsonl"), "--out", str(out), "--quiet", "--length", "29"),
            *("--least", "0.5", "--scene-size", "24x40", "--proportion", "1:0:0"),
        ],
        replaces=False,
        kept=readers.bench,
        same=readers.batch,
        long=True,
    ),
    "preference-prompts": Command(
        lambda inputs, out, seed: ["preference", "prompts", "--scenes", str(20 * seed), "--out", str(out), "--quiet"],
        file=".jsonl",
    ),
    "batch-film": Command(_batch("film", []), replaces=False, kept=readers.items, same=readers.batch, long=True),
    "convert": Command(
        lambda inputs, out, seed: [
            *("convert", str(inputs / "encoder.safetensors"), "--as", "umt5"),
            *("--tokenizer", str(inputs / "text" / "tokenizer.json")),
            *("--out", str(out), "--quiet"),
        ],
        replaces=False,
        kept=readers.loadable,
        same=readers.models,
        long=True,
    ),
    "get": Command(
        lambda inputs, out, seed: ["get", "wan2.2-t2v-a14b", "--yes", "--quiet", "--out", str(out)],
        replaces=False,
        kept=readers.loadable,
        same=readers.models,
        long=True,
    ),
    "encode": Command(
        lambda inputs, out, seed: [
            *(f"--out={out}", "--clips=150", "--frames=5", "--height=16", "--width=24", "--batch=8"),
            *(f"--vae={inputs / 'vae'}", f"--text={inputs / 'text'}", "--text_length=400"),
        ],
        program="launch.encode",
        replaces=False,
        kept=readers.dataset,
        long=True,
    ),
    "train": Command(
        lambda inputs, out, seed: [
            *(f"--config={TOY}", f"--workdir={out}", f"--config.data={inputs / 'numbers'}"),
            *("--config.steps=300", "--config.checkpoint_every=15", "--config.eval_every=100"),
        ],
        program=str(TOY),
        replaces=False,
        kept=readers.run,
        same=readers.trained,
        long=True,
    ),
    "preview": Command(
        lambda inputs, out, seed: [
            *("preview", str(inputs / f"path_{seed}.json"), "--height", "64", "--out", str(out), "--quiet")
        ],
        file=".mp4",
    ),
    "export": Command(
        lambda inputs, out, seed: [
            *("export", str(inputs / f"path_{seed}.json"), "--to", "blender", "--out", str(out), "--quiet")
        ],
        file=".py",
    ),
    "export-usd": Command(
        lambda inputs, out, seed: [
            *("export", str(inputs / f"path_{seed}.json"), "--to", "usd", "--out", str(out), "--quiet")
        ],
        file=".usda",
    ),
    "export-colmap": Command(
        lambda inputs, out, seed: [
            *("export", str(inputs / f"path_{seed}.json"), "--to", "colmap", "--out", str(out), "--quiet")
        ],
    ),
    "export-lora": Command(
        lambda inputs, out, seed: [
            *("export-lora", str(inputs / f"adapter_{seed}"), "--to", "diffsynth", "--out", str(out), "--quiet")
        ],
    ),
    "convert-back": Command(
        lambda inputs, out, seed: [
            *("convert", str(inputs / "text"), "--as", "umt5", "--to", "transformers"),
            *("--out", str(out), "--quiet"),
        ],
        file=".safetensors",
        replaces=False,
    ),
    "gendop": Command(
        lambda inputs, out, seed: [
            *(*_gendop(inputs, out), "--text", "The camera moves right.", "--seed", str(seed)),
        ],
        kept=readers.items,
        same=readers.batch,
    ),
    "gendop-split": Command(
        lambda inputs, out, seed: [*_gendop(inputs, out), "--data", str(inputs / "captioned"), "--split", "train"],
        replaces=False,
        kept=readers.items,
        same=readers.batch,
        long=True,
    ),
    "datadop-build": Command(
        lambda inputs, out, seed: [
            *("datadop", "build", str(inputs / "Monst3r"), "--out", str(out), "--split", "train", "--quiet")
        ],
        replaces=False,
        kept=readers.parts,
        long=True,
    ),
    "datadop-clean": _datadop("clean", "reconstructed"),
    "datadop-caption": _datadop("caption", "cleaned"),
    "datadop-plot": _datadop("plot", "cleaned"),
    "datadop-clean-file": Command(
        lambda inputs, out, seed: [
            *("datadop", "clean", f"{inputs}/reconstructed/train/1_0000/shot_000{seed}_traj.txt"),
            *("--out", str(out), "--quiet"),
        ],
        file=".json",
    ),
    "clatr-features": Command(
        lambda inputs, out, seed: [
            *("clatr", "features", str(inputs / "paths"), "--clatr", str(inputs / "clatr")),
            *("--out", str(out), "--quiet"),
        ],
        replaces=False,
        kept=readers.parts,
        long=True,
    ),
    "plot": _plot("views", ".png"),
    "plot-vector": _plot("views", ".svg"),
    "plot-stage": _plot("stage", ".png"),
    "plot-blender": _plot("blender", ".py"),
}


def rows(path: Path, count: int, seed: int) -> None:
    """Writes a list for `batch`: screenplays of one or two shots."""
    shot = {"caption": "The camera pans left.", "duration": 1}
    items = (
        {"id": f"play_{i}", "seed": 10 * seed + i, "caption": "A woman waits.", "shots": [shot] * (1 + i % 2)}
        for i in range(count)
    )
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
