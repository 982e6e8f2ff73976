"""What the cases of a family came to, as a row of a table."""

import dataclasses
from typing import Any

COLUMNS = ("refused", "accepted", "silent difference", "traceback", "over 10 s", "over 2 GB")


@dataclasses.dataclass
class Tally:
    """The cases of a family.

    Attributes:
        name: of the family.
        cases: how many were run.
        counts: how many are in each of `COLUMNS`.
        seconds, megabytes: the most that one case took.
        seeds: of the cases that failed.
        failures: what happened in them.
    """

    name: str
    cases: int = 0
    counts: dict[str, int] = dataclasses.field(default_factory=lambda: dict.fromkeys(COLUMNS, 0))
    seconds: float = 0.0
    megabytes: float = 0.0
    seeds: list[int] = dataclasses.field(default_factory=list)
    failures: list[str] = dataclasses.field(default_factory=list)

    @property
    def failed(self) -> int:
        """Number of the cases that failed."""
        return len(self.seeds)

    def add(self, case: dict[str, Any]) -> None:
        """Counts a case: its seed, kind, seconds, megabytes, failures (names of columns) and text."""
        self.cases += 1
        for column in {case["kind"], *case["failures"]}:
            self.counts[column] += 1
        self.seconds, self.megabytes = max(self.seconds, case["seconds"]), max(self.megabytes, case["megabytes"])
        if case["failures"]:
            self.seeds.append(case["seed"])
            self.failures.append(f"{self.name}:{case['seed']} {', '.join(case['failures'])}\n{case['text']}")


def table(tallies: list[Tally]) -> str:
    """The rows of all families and their sum."""
    rows = [("family", "cases", *COLUMNS, "longest s", "peak MB")]
    for tally in tallies:
        numbers = (tally.cases, *(tally.counts[column] for column in COLUMNS))
        rows.append((tally.name, *map(str, numbers), f"{tally.seconds:.2f}", f"{tally.megabytes:.0f}"))
    if len(tallies) > 1:
        sums = [sum(int(row[column]) for row in rows[1:]) for column in range(1, 2 + len(COLUMNS))]
        most = f"{max(t.seconds for t in tallies):.2f}", f"{max(t.megabytes for t in tallies):.0f}"
        rows.append(("all", *map(str, sums), *most))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
    return "\n".join(lines)
