"""What earlier runs of ours left: folders of batches and of trainings."""

import dataclasses
import json
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from shotverse_jax.config import PoseNetTrainConfig
from shotverse_jax.infer.batch import Made, run_batch
from shotverse_jax.inputs.items import Item
from shotverse_jax.screenplay import Screenplay, Shot
from shotverse_jax.train import read_config
from shotverse_jax.train.checkpoint import Checkpoints
from shotverse_jax.train.metrics import MetricsWriter, read_metrics
from shotverse_jax.weights.folder import read_json
from tests.fuzz import mutations
from tests.fuzz.harness import Family, expect


class Words:
    """Work of a batch without a network: the result of an item is its words."""

    settings = {"words": 1}
    group = 2
    notes = ()

    def buckets(self, items: Sequence[Item]) -> list[Any]:
        """All of them are one."""
        return [0 for _ in items]

    def make(self, items: Sequence[Item]) -> Iterator[Made]:
        """A file of words, and a record of their number."""
        for index, item in enumerate(items):
            text = f"{item.screenplay.caption} {item.seed}"

            def write(folder: Path, text: str = text) -> dict[str, Any]:
                (folder / "words.txt").write_text(text, encoding="utf-8")
                return {"count": len(text)}

            yield Made(index, write)


class Batches(Family):
    """Folders of results of which files were changed, taken away or put in.

    When the batch is started again, the records say what was made, every item that is made anew is as it was, and the
    files of items whose record is there were not looked at again: the folder is the only place that knows them.
    """

    name, share, refuses = "batches", 8, False

    def make(self) -> None:
        """A batch of three items."""
        play = Screenplay("A room.", (Shot("Pan left."),))
        self.items = [Item(f"item_{number}", play, seed=number) for number in range(3)]
        run_batch(self.items, Words(), self.place / "out")
        self.records = self._records(self.place / "out")

    @staticmethod
    def _records(out: Path) -> list[dict[str, Any]]:
        lines = (out / "results.jsonl").read_text(encoding="utf-8").rstrip("\n").split("\n")
        return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]

    def damage(self, draw: Random, folder: Path) -> Path:
        """The folder of results."""
        shutil.copytree(self.place / "out", folder / "out")
        files = mutations.files_of(folder / "out")
        if draw.random() < 0.6:
            files = [file for file in files if file.suffix == ".json"]
        mutations.of_folder(folder / "out", draw, files)
        return folder / "out"

    def read(self, subject: Path) -> Any:
        """Starts the batch again."""
        return run_batch(self.items, Words(), subject, stop=threading.Event())

    def check(self, subject: Path, value: Any) -> None:
        """The records of an uninterrupted batch, and the words of what was made now."""
        expect((value.failed, value.left) == (0, 0), f"{value}")
        expect(self._records(subject) == self.records, f"the records are {self._records(subject)}")
        for item in self.items:
            expect((subject / item.id).is_dir(), f"{item.id} is not there")


class Runs(Family):
    """Folders of training: run.json, checkpoints, metrics.

    A checkpoint that is restored has every bit of what was saved. Values of run.json that are accepted are those of the
    file. Of metrics, the lines that were not changed are as they were.
    """

    name, share = "runs", 4

    def make(self) -> None:
        """The folder of a run with two checkpoints."""
        run = self.place / "run"
        checkpoints, rng = Checkpoints(run / "checkpoints"), np.random.default_rng(0)
        self.tree = {"w": jnp.asarray(rng.normal(size=(20, 20)), jnp.float32), "n": jnp.arange(9), "step": jnp.int32(2)}
        for step in (1, 2):
            checkpoints.save(step, self.tree, wait=True)
        checkpoints.close()
        config = PoseNetTrainConfig(data="films", test_data="films", steps=20, warmup=2)
        values = json.loads(json.dumps(dataclasses.asdict(config)))
        (run / "run.json").write_text(json.dumps(values, indent=2), encoding="utf-8")
        metrics = MetricsWriter(run)
        for step in (1, 2, 3):
            metrics.write(step, "train", {"loss": 0.5 / step})
        metrics.close()

    def damage(self, draw: Random, folder: Path) -> tuple[str, Path]:
        """(the part of a run that was changed, the folder)."""
        part = draw.choice(("checkpoints", "run.json", "metrics.jsonl"))
        shutil.copytree(self.place / "run", folder / "run")
        files = [file for file in mutations.files_of(folder / "run") if part in file.relative_to(folder).parts]
        mutations.of_folder(folder / "run", draw, files, contents=0.7 if part == "checkpoints" else 0.9)
        return part, folder / "run"

    def read(self, subject: tuple[str, Path]) -> Any:
        """The part."""
        part, run = subject
        if part == "run.json":
            return read_config(read_json(run / part))
        if part == "metrics.jsonl":
            MetricsWriter(run).close()
            return read_metrics(run / part)
        checkpoints = Checkpoints(run / "checkpoints", writes=False)
        try:
            return checkpoints.restore(self.tree, 2)
        finally:
            checkpoints.close()

    def check(self, subject: tuple[str, Path], value: Any) -> None:
        """The bits that were saved, or what the text says."""
        part, run = subject
        if part == "checkpoints":
            same = jax.tree.map(lambda ours, theirs: bool((ours == theirs).all()), value, self.tree)
            expect(all(jax.tree.leaves(same)), "a parameter is another one")
        elif part == "run.json":
            said, values = read_json(run / part), json.loads(json.dumps(dataclasses.asdict(value)))
            expect(_agrees(values, said), f"the values are {values}, and the file says {said}")
        else:
            expect(all(isinstance(line, dict) for line in value), "a line of the metrics is no record")

    def names(self, subject: tuple[str, Path], folder: Path, message: str) -> bool:
        """The file; the values of run.json name their field, as they do on the command line."""
        return str(folder) in message or subject[0] == "run.json"


def _agrees(value: Any, said: Any) -> bool:
    """Whether a value is what a file says; fields that it leaves out have their defaults."""
    if isinstance(said, dict):
        return isinstance(value, dict) and all(name in value and _agrees(value[name], said[name]) for name in said)
    return value == said
