"""Metrics on disk: one JSON object per line, and TensorBoard's event files where something is there to write them."""

import importlib
import importlib.util
import json
import os
from pathlib import Path

JSONL = "metrics.jsonl"
EVENTS = (("tensorboardX", "tensorboardX", "SummaryWriter"), ("tensorboard", "tensorboard.summary", "Writer"))
"""Who can write event files without a deep-learning framework: package, module and class; the first installed does."""


class MetricsWriter:
    """Appends records to metrics.jsonl in a folder, each flushed at once; a resumed run goes on in the same file.

    With `tensorboardX` or `tensorboard` installed the same values go to event files in `tensorboard/`. A line that a
    killed run left unfinished is removed. quiet: nothing is written, as by every process but the first.
    """

    def __init__(self, folder: str | Path, quiet: bool = False):
        self._file = self._events = None
        if quiet:
            return
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        _end_with_a_line(folder / JSONL)
        self._file = open(folder / JSONL, "a", encoding="utf-8")  # noqa: SIM115
        self._events = _event_writer(folder / "tensorboard")

    def write(self, step: int, kind: str, values: dict[str, float]) -> None:
        """One line: the step, what it is ("train", "eval", "resume", …) and the values."""
        if self._file is None:
            return
        self._file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
        self._file.flush()
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(f"{kind}/{name}", value, step)
            self._events.flush()

    def close(self) -> None:
        for file in (self._file, self._events):
            if file is not None:
                file.close()


def _event_writer(folder: Path):
    for package, module, name in EVENTS:
        if importlib.util.find_spec(package):
            return getattr(importlib.import_module(module), name)(str(folder))
    return None


def _end_with_a_line(path: Path) -> None:
    if path.exists() and (data := path.read_bytes()) and not data.endswith(b"\n"):
        os.truncate(path, data.rfind(b"\n") + 1)


def read_metrics(path: str | Path) -> list[dict]:
    """All records of a metrics file, in order."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]
