"""What a compiled program tells of itself: the memory it needs, and the data that its devices exchange."""

import dataclasses
import re
from collections import defaultdict
from typing import Any

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.$-]+) .*\{$")
_COLLECTIVE = re.compile(rf"= (.+?) ({'|'.join(KINDS)})(?:-done)?\(")
_CALLED = re.compile(r"(?:condition|body|calls|to_apply|\w+_computation)=%?([\w.$-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_ARRAY = re.compile(r"(?:pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")


@dataclasses.dataclass(frozen=True)
class Collective:
    """count: how often it runs in one run of the program. size: bytes of what one device has from it, all times."""

    count: int
    size: int


def collectives(text: str) -> dict[str, Collective]:
    """Collectives of a compiled program by kind, from its HLO text; those in a loop as often as it goes round.

    A loop whose number of rounds is not known counts once, and of a condition all branches do.
    """
    found, calls, entry = _computations(text)
    counts, sizes = defaultdict(int), defaultdict(int)

    def visit(name, times):
        for kind, size in found[name]:
            counts[kind] += times
            sizes[kind] += times * size
        for called, rounds in calls[name]:
            visit(called, times * rounds)

    visit(entry, 1)
    return {kind: Collective(counts[kind], sizes[kind]) for kind in KINDS if counts[kind]}


def _computations(text):
    """Of every computation: its collectives (kind, bytes) and what it calls (name, times); and which is the entry."""
    found, calls, entry, here = defaultdict(list), defaultdict(list), None, None
    for line in text.splitlines():
        if header := _COMPUTATION.match(line):
            here = header[2]
            entry = here if header[1] else entry
            continue
        if match := _COLLECTIVE.search(line):
            found[here].append((match[2], _bytes(match[1])))
        trips = _TRIPS.search(line)
        branches = _BRANCHES.search(line)
        called = _CALLED.findall(line) + ([name.strip(" %") for name in branches[1].split(",")] if branches else [])
        # What reduces the elements of an all-reduce is called too, and holds no collective.
        calls[here] += [(name, int(trips[1]) if trips else 1) for name in called]
    if entry is None:
        raise ValueError("this is not the text of a compiled program: it has no entry computation")
    return found, calls, entry


def _bytes(shape: str) -> int:
    """Size of an array or of a tuple of arrays, written as in HLO: "(f32[8,16]{1,0}, bf16[4])"."""
    total = 0
    for bits, sizes in _ARRAY.findall(shape):
        count = int(bits or 8)
        for size in filter(None, sizes.split(",")):
            count *= int(size)
        total += -(-count // 8)
    return total


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes on each device. arguments: what the program is given. temporaries: the most it has beside them.

    total: all of it, results that do not lie where arguments were included.
    """

    arguments: int
    temporaries: int
    total: int

    @classmethod
    def of(cls, compiled: Any) -> "Memory":
        """Of a program that jax compiled ahead of time."""
        stats = compiled.memory_analysis()
        results = stats.output_size_in_bytes - stats.alias_size_in_bytes
        arguments, temporaries = stats.argument_size_in_bytes, stats.temp_size_in_bytes
        code = stats.generated_code_size_in_bytes
        return cls(arguments, temporaries, arguments + results + temporaries + code)
