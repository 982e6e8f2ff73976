"""How many devices finish a number of items before a deadline, what that takes on disk, and numbers for people."""

import dataclasses
import math
import re
from collections.abc import Iterator

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclasses.dataclass(frozen=True)
class Capacity:
    """What a list of items takes.

    Attributes:
        items: how many.
        deadline: seconds in which all are made.
        devices: the fewest that make them, a multiple of the devices that work together.
        storage: bytes of all results.
    """

    items: int
    deadline: float
    devices: int
    storage: float

    @classmethod
    def of(cls, items: int, deadline: float, *, each: float, together: int, devices: int, storage: float) -> "Capacity":
        """The capacity for items that come in batches.

        Args:
            items: how many.
            deadline: seconds in which all are made.
            each: seconds of a batch.
            together: items of a batch.
            devices: how many make a batch together.
            storage: bytes of an item's results.

        Raises:
            ValueError: a single batch takes longer than the deadline.
        """
        rounds = math.floor(deadline / each)
        if rounds < 1:
            raise ValueError(
                f"one batch takes {time_shown(each)}, more than the deadline of {time_shown(deadline)}; give more "
                "time, or a mesh that splits the work of an item over more devices"
            )
        groups = math.ceil(math.ceil(items / together) / rounds)
        return cls(items, deadline, groups * devices, items * storage)

    def lines(self, what: str) -> Iterator[str]:
        """The capacity in a line; what: the plural of an item's name."""
        devices = f"{self.devices:,} device{'s' * (self.devices > 1)}"
        yield (
            f"{self.items:,} {what} in {time_shown(self.deadline)}: {devices}, "
            f"{shown(self.storage, 1000, 'B', 'kB', 'MB', 'GB', 'TB', 'PB')} of results"
        )


def seconds_of(text: str) -> float:
    """Seconds of a time such as "8h", "90m", "1.5d" or "30s". Raises ValueError for another text."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if not match or not float(match[1]):
        raise ValueError(f"a time is written 30s, 90m, 8h or 2d, got {text!r}")
    return float(match[1]) * UNITS[match[2]]


def time_shown(seconds: float) -> str:
    """A time in the largest unit of which it has two, or in milliseconds: "29.4 min", "8 h"."""
    for name, size in (("days", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= (2 if name != "s" else 1) * size:
            return f"{seconds / size:.3g} {name}"
    return f"{1000 * seconds:.3g} ms"


def shown(value: float, base: int, *units: str) -> str:
    """A number with the largest unit that keeps it at least 1; each unit is `base` times the one before."""
    place = 0
    while value >= base and place < len(units) - 1:
        value, place = value / base, place + 1
    return f"{value:.4g} {units[place]}"


def bytes_shown(size: float) -> str:
    """Bytes of memory."""
    return shown(size, 1024, "B", "KiB", "MiB", "GiB")


def flop_shown(count: float) -> str:
    """Floating-point operations: "1.03 EFLOP"."""
    return shown(count, 1000, "", "K", "M", "G", "T", "P", "E") + "FLOP"
