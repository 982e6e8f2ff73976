"""Metrics on disk: one JSON object per line."""

import json
from pathlib import Path


class MetricsWriter:
    """Appends records to a JSON-lines file, each flushed at once; a resumed run goes on in the same file."""

    def __init__(self, path: str | Path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115

    def write(self, step: int, kind: str, values: dict[str, float]) -> None:
        """One line: the step, what it is ("train", "eval", "resume", …) and the values."""
        self._file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def read_metrics(path: str | Path) -> list[dict]:
    """All records of a metrics file, in order."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]
