"""Metrics on disk: one JSON object a line, and TensorBoard's event files if a package that writes them is installed."""

import importlib
import importlib.util
import json
from pathlib import Path

from shotverse_jax.files import end_with_a_line, reading

JSONL = "metrics.jsonl"
EVENTS = (("tensorboardX", "tensorboardX", "SummaryWriter"), ("tensorboard", "tensorboard.summary", "Writer"))
"""Packages that write event files without a deep-learning framework: (package, module, class), best first."""


class MetricsWriter:
    """Appends records to metrics.jsonl in a folder; a resumed run continues the same file.

    Each record is flushed at once, and a line that a killed run left unfinished is removed. With `tensorboardX` or
    `tensorboard` installed, the same values are written to event files in `tensorboard/`.

    Args:
        folder: made if it is not there.
        quiet: writes nothing; for all processes but the first.

    Raises:
        ValueError: the files cannot be written.
    """

    def __init__(self, folder: str | Path, quiet: bool = False):
        self._file = self._events = None
        if quiet:
            return
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            end_with_a_line(folder / JSONL)
            self._file = open(folder / JSONL, "a", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise ValueError(f"{folder / JSONL} cannot be written: {error.strerror or error}") from error
        self._events = _event_writer(folder / "tensorboard")

    def write(self, step: int, kind: str, values: dict[str, float]) -> None:
        """Writes one line: the step, its kind ("train", "eval" or "resume") and the values."""
        if self._file is None:
            return
        self._file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
        self._file.flush()
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(f"{kind}/{name}", value, step)
            self._events.flush()

    def close(self) -> None:
        """Closes the files."""
        for file in (self._file, self._events):
            if file is not None:
                file.close()


def _event_writer(folder: Path):
    for package, module, name in EVENTS:
        if importlib.util.find_spec(package):
            return getattr(importlib.import_module(module), name)(str(folder))
    return None


def read_metrics(path: str | Path) -> list[dict]:
    """All records of a metrics file, in order.

    Raises:
        ValueError: there is no such file, or a line of it is no record.
    """
    with reading(path, "metrics, a record in JSON a line"):
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines]
        if not all(isinstance(record, dict) for record in records):
            raise ValueError(f"{path} has a line that is no record")
    return records
