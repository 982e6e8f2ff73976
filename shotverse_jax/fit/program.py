"""Facts of a compiled program: the memory that it needs, and the data that its devices exchange."""

import dataclasses
import re
from collections import defaultdict
from typing import Any

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.$-]+) .*\{$")
_COLLECTIVE = re.compile(rf"= (.+?) ({'|'.join(KINDS)})(?:-done)?\(")
_CHANNEL = re.compile(r"channel_id=(\d+)")
_CALLED = re.compile(r"(?:calls|to_apply|\w+_computation)=%?([\w.$-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_CONDITION, _BODY = re.compile(r"condition=%?([\w.$-]+)"), re.compile(r"body=%?([\w.$-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_LIMIT = re.compile(r"= s32\[\]\S* constant\((\d+)\)")
_ARRAY = re.compile(r"(?:pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")


@dataclasses.dataclass(frozen=True)
class Collective:
    """One kind of exchange between devices.

    Attributes:
        count: how often it happens in one run of the program.
        size: bytes that one device receives from all of them.
    """

    count: int
    size: int


@dataclasses.dataclass
class _Computation:
    """One computation of an HLO module.

    Attributes:
        collectives: (kind, bytes, channel or None) of each exchange in it.
        calls: names of the computations that it calls.
        loops: (condition, body, rounds) of each loop in it; rounds is None where the text does not say it.
        limits: the integer constants in it.
        less: whether it compares by "less than". In a loop's condition, `less` with one limit gives the rounds.
    """

    collectives: list[tuple[str, int, str | None]] = dataclasses.field(default_factory=list)
    calls: list[str] = dataclasses.field(default_factory=list)
    loops: list[tuple[str, str, int | None]] = dataclasses.field(default_factory=list)
    limits: list[int] = dataclasses.field(default_factory=list)
    less: bool = False


def collectives(text: str) -> dict[str, Collective]:
    """The collectives of a compiled program by kind, from its HLO text; those in a loop count once for each round.

    The rounds of a loop are what the compiler writes beside it, or else the number that its counter is compared with
    (TPU); a loop without either counts once. All branches of a condition count. Collectives of several fusions that
    share a channel are one (TPU).
    """
    found, entry = _computations(text)
    counts, sizes = defaultdict(int), defaultdict(int)

    def visit(name, times, channels):
        here = found[name]
        for kind, size, channel in here.collectives:
            if channel is None or channels.setdefault(channel, name) == name:
                counts[kind] += times
                sizes[kind] += times * size
        for called in here.calls:
            visit(called, times, channels)
        for condition, body, rounds in here.loops:
            test = found[condition]
            if rounds is None:
                rounds = test.limits[0] if test.less and len(test.limits) == 1 else 1
            visit(body, times * rounds, {})

    visit(entry, 1, {})
    return {kind: Collective(counts[kind], sizes[kind]) for kind in KINDS if counts[kind]}


def _computations(text: str) -> tuple[dict[str, _Computation], str]:
    """(computations by name, the name of the entry)."""
    found, entry, here = defaultdict(_Computation), None, _Computation()
    for line in text.splitlines():
        if header := _COMPUTATION.match(line):
            here = found[header[2]]
            entry = header[2] if header[1] else entry
            continue
        if match := _COLLECTIVE.search(line):
            channel = _CHANNEL.search(line)
            here.collectives.append((match[2], _bytes(match[1]), channel and channel[1]))
        if body := _BODY.search(line):
            condition, trips = _CONDITION.search(line), _TRIPS.search(line)
            here.loops.append((condition[1] if condition else "", body[1], int(trips[1]) if trips else None))
        branches = _BRANCHES.search(line)
        # The function that reduces the elements of an all-reduce is in `calls` too; it holds no collective.
        here.calls += _CALLED.findall(line) + ([n.strip(" %") for n in branches[1].split(",")] if branches else [])
        here.limits += map(int, _LIMIT.findall(line))
        here.less |= "direction=LT" in line
    if entry is None:
        raise ValueError("this is not the text of a compiled program: it has no entry computation")
    return found, entry


def _bytes(shape: str) -> int:
    """Bytes of an array or of a tuple of arrays, written as in HLO: "(f32[8,16]{1,0}, bf16[4])"."""
    total = 0
    for bits, sizes in _ARRAY.findall(shape):
        # `pred` has no number in its name; it takes a byte.
        count = int(bits or 8)
        for size in filter(None, sizes.split(",")):
            count *= int(size)
        total += -(-count // 8)
    return total


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes on each device.

    Attributes:
        arguments: the arguments of the program.
        temporaries: the most that it has beside arguments and results at any time.
        total: everything, with the code and with results that do not reuse the memory of arguments.
    """

    arguments: int
    temporaries: int
    total: int

    @classmethod
    def of(cls, compiled: Any) -> "Memory":
        """The memory of a program that JAX compiled ahead of time."""
        stats = compiled.memory_analysis()
        # The new state takes the memory of the old one, which is among the arguments; it must not count twice.
        results = stats.output_size_in_bytes - stats.alias_size_in_bytes
        arguments, temporaries = stats.argument_size_in_bytes, stats.temp_size_in_bytes
        code = stats.generated_code_size_in_bytes
        return cls(arguments, temporaries, arguments + results + temporaries + code)
