"""Rounds of preference optimisation in one folder, each stage of which goes on where it was stopped.

probes.json                   how the judges did on scenes whose truth is known
start/scores.json             the planner before the first round
round_1/prompts.jsonl         screenplays
round_1/pairs/                candidates, scores and pairs of every screenplay; pairs.jsonl has all pairs
round_1/train/                the run, and the planner of the round in train/export
round_1/scores.json           its scores on held-out scenes
report.md                     all scores, and pictures of the plans that changed most
"""

import dataclasses
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shotverse_jax import train
from shotverse_jax.config import LoopConfig
from shotverse_jax.files import json_text, owned, read_json, replacing, write_json
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.infer.batch import run_batch
from shotverse_jax.infer.ready import load_planner
from shotverse_jax.inputs.items import Item, Refused, read_items
from shotverse_jax.preference import probes
from shotverse_jax.preference.job import SCENE, PairsJob
from shotverse_jax.preference.report import write_report
from shotverse_jax.preference.scores import score_planner
from shotverse_jax.preference.work import PAIRS, collect
from shotverse_jax.screenplay import to_text

PROMPTS, SCORES, PROBES, START = "prompts.jsonl", "scores.json", "probes.json", "start"

Progress = Callable[[str, int, int], None]


class Stopped(Exception):
    """The loop was asked to stop; it goes on when it is started again."""


def run(
    config: LoopConfig, folder: str | Path, progress: Progress | None = None, stop: threading.Event | None = None
) -> Path:
    """Runs all rounds; returns the folder of the best planner, which the report names.

    Args:
        config: what is done.
        folder: of the loop; stages that are there are not done again.
        progress: called with (message, 0, 0) and with ("item", items done, items in all).
        stop: set, it ends the loop at the next safe place.

    Raises:
        ValueError: a judge that cannot be believed, prompts that cannot be read, or no pairs.
        Stopped: `stop` was set.
    """
    folder, progress, stop = Path(folder), progress or (lambda what, done, total: None), stop or threading.Event()
    with owned(folder):
        _check_same(config, folder)
        job = PairsJob(config.pairs)
        if config.pairs.probes:
            _once(folder / PROBES, lambda: _probe(job, config.pairs.probes, progress))
        planner = config.pairs.planner
        _once(folder / START / SCORES, lambda: _score(planner, config, progress))
        for number in range(1, config.rounds + 1):
            planner = _round(config, number, planner, folder / f"round_{number}", progress, stop)
        return write_report(config, folder)


def _check_same(config: LoopConfig, folder: Path) -> None:
    """Keeps a folder to one config: stages made with other values would mix. More rounds may be added later."""
    values = json.loads(json_text(dataclasses.asdict(config)))
    file = folder / "loop.json"
    if file.is_file():
        before = read_json(file)
        differ = [name for name in values if name != "rounds" and before.get(name) != values[name]]
        if differ:
            raise ValueError(f"{folder} was begun with another {' and '.join(differ)}; take another folder")
    write_json(file, values)


def _once(file: Path, make: Callable[[], Any]) -> Any:
    """The value in a file, made first where the file is not there."""
    if not file.is_file():
        write_json(file, make())
    return read_json(file, object)


def _probe(job: PairsJob, scenes: int, progress: Progress) -> list[dict[str, Any]]:
    progress(f"trying the judges on {scenes} scenes …", 0, 0)
    found = probes.check(job.judges(), job.renderer(), scenes)
    for each in found:
        progress(each.sentence(), 0, 0)
    return [each._asdict() for each in found]


def _score(planner: str, config: LoopConfig, progress: Progress) -> dict[str, float]:
    progress(f"scoring {planner} on {config.test_scenes} held-out scenes …", 0, 0)
    return score_planner(load_planner(planner), config.test_scenes)


def _round(
    config: LoopConfig, number: int, planner: str, folder: Path, progress: Progress, stop: threading.Event
) -> str:
    """Does a round; returns the folder of its planner."""
    items = _prompts(config, number, folder)
    result = folder / "train" / "export"
    if not (result / "config.json").is_file():
        job = PairsJob(dataclasses.replace(config.pairs, planner=planner))
        progress(f"round {number}: {config.pairs.candidates} candidates of {len(items)} screenplays …", 0, 0)
        summary = run_batch(items, job.load(), folder / "pairs", stop=stop, progress=progress)
        if stop.is_set():
            raise Stopped
        pairs, used = collect(items, folder / "pairs")
        failed = f", {summary.failed} failed" * bool(summary.failed)
        progress(f"round {number}: {pairs} pairs from {used} screenplays{failed}; training …", 0, 0)
        if not pairs:
            raise ValueError(f"round {number} has no pairs: lower pairs.margin, or look at {folder / 'pairs'}")
        _train(config, planner, folder, result)
    _once(folder / SCORES, lambda: _score(str(result), config, progress))
    return str(result)


def _prompts(config: LoopConfig, number: int, folder: Path) -> list[Item | Refused]:
    if config.prompts:
        return read_items(config.prompts)
    file = folder / PROMPTS
    if not file.is_file():
        with replacing(file) as place:
            place.write_text("".join(stage_prompts(config.scenes, number)), encoding="utf-8")
    return [
        dataclasses.replace(item, seed=config.seed) if isinstance(item, Item) else item for item in read_items(file)
    ]


def stage_prompts(count: int, part: int = 0) -> list[str]:
    """Returns lines of a list of screenplays: scenes of the stage, those for training, `count` of a part."""
    lines = []
    for number in range(part * count, (part + 1) * count):
        play = sample_example(number, "train").screenplay
        lines.append(json_text({"id": f"{SCENE}{number:06d}", "screenplay": json.loads(to_text(play, "json"))}) + "\n")
    return lines


def _train(config: LoopConfig, planner: str, folder: Path, result: Path) -> None:
    values = dataclasses.replace(config.train, base_weights=planner, pairs=str(folder / "pairs" / PAIRS))
    task = train.build(values, folder / "train")
    state = train.train(task, folder / "train")
    if int(state.step) < values.steps:
        raise Stopped
    train.export(task, state, result)
