"""Long commands, killed at random moments while they work.

Work begins with the first file that a command writes at the place of its result, and ends with the process: start-up
and imports are no work. After every kill, what stands must be whole, or say that it is unfinished; the same command
then goes on, and may be killed again, until a run ends by itself with the bytes of an uninterrupted one.
"""

import dataclasses
import os
import random
import shutil
import time
from pathlib import Path

from tests.survival.commands import COMMANDS, NEW, OLD, Command
from tests.survival.places import World

LONGER = 1.15
"""The latest moment of a kill, as a share of the time that an uninterrupted run works."""

LONG_AGO = 60.0
"""Seconds by which the clock goes on after a kill: what is swept must have been left for a while."""


@dataclasses.dataclass
class Row:
    """What happened to a command.

    Attributes:
        kills: how often it was killed, always while it worked.
        real: kills of processes that were started anew.
        whole: kills after which everything was whole.
        ended: runs that ended by themselves after kills, one for each fresh folder.
        same: those of them with the bytes of an uninterrupted run.
        left: those of them after which scratch files were left.
        seconds: of work of an uninterrupted run.
        problems: sentences.
    """

    command: str
    kills: int = 0
    real: int = 0
    whole: int = 0
    ended: int = 0
    same: int = 0
    left: int = 0
    seconds: float = 0.0
    problems: list[str] = dataclasses.field(default_factory=list)


def killed(world: World, name: str, moments: int, seed: int = 0, real: int = 0) -> Row:
    """Kills a command at so many random moments of its work; `real` of them are processes that are started anew."""
    command, row, draw = COMMANDS[name], Row(name), random.Random(f"{name} {seed}")
    new = _uninterrupted(world, command, row, NEW)
    old = _uninterrupted(world, command, row, OLD) if command.replaces else {}
    if new != _uninterrupted(world, command, row, NEW):
        row.problems.append("two uninterrupted runs differ")
    old_there = False
    while row.kills < moments:
        if (folder := world.folder / "trial").exists():
            shutil.rmtree(folder)
        folder.mkdir()
        own, old_there = dataclasses.replace(world, folder=folder), command.replaces and not old_there
        out = folder / "out"
        if old_there:
            own.run(command, out, OLD)
        before = old if old_there else {}
        again = True
        while again and row.kills < moments:
            fresh = row.real < real
            if not _kill(own, command, row, draw, fresh, new):
                break
            row.real += fresh
            problems = command.kept(out, new, before)
            row.whole += not problems
            row.problems += [f"after kill {row.kills}: {problem}" for problem in problems]
            _age(folder)
            again = draw.random() < 0.6  # sometimes nothing kills the next run
        else:
            whole = command.same(out) == new
            ended = own.run(command, out, NEW)
            if ended.code and not whole:  # a conversion that is whole is not made again
                row.problems.append(f"going on, it ended with exit code {ended.code}: {ended.err[-300:]}")
        _compare(folder, command, row, new)
        if len(row.problems) > 20:
            break
    return row


def _uninterrupted(world: World, command: Command, row: Row, seed: int) -> dict:
    """The result of a run that nothing interrupts; the last one, whose programs are all there, is measured."""
    folder = world.folder / "whole"
    folder.mkdir()
    own = dataclasses.replace(world, folder=folder)
    command.prepare(world.inputs, folder / "out")
    before, begun = _mark(folder), None
    process = own.start(command, folder / "out", seed)
    while (code := process.ended()) is None:
        if begun is None and _mark(folder) != before:
            begun = time.monotonic()
        time.sleep(0.002)
    row.seconds = time.monotonic() - (begun or time.monotonic())
    if code:
        raise RuntimeError(f"{row.command} ends with exit code {code}: {process.said()}")
    result = command.same(folder / "out")
    shutil.rmtree(folder)
    return result


def _kill(world: World, command: Command, row: Row, draw: random.Random, fresh: bool, new: dict) -> bool:
    """Starts a command and kills it at a random moment of its work; False: it had ended by itself before."""
    command.prepare(world.inputs, world.folder / "out")
    before, begun = _mark(world.folder), None
    process = world.start(command, world.folder / "out", NEW, fresh=fresh)
    delay = draw.uniform(0, LONGER * row.seconds)
    while begun is None or time.monotonic() < begun + delay:
        if (code := process.ended()) is not None:
            if code and command.same(world.folder / "out") != new:  # a whole conversion is not made again
                row.problems.append(f"it ended with exit code {code}: {process.said()[1][-300:]}")
            return False
        if begun is None and _mark(world.folder) != before:
            begun = time.monotonic()
        time.sleep(0.001)
    if not process.kill():
        return False
    row.kills += 1
    return True


def _compare(folder: Path, command: Command, row: Row, new: dict) -> None:
    """Compares the result of a run that ended by itself, after kills, with that of one that nothing interrupted."""
    found = command.same(folder / "out")
    row.ended += 1
    row.same += found == new
    if found != new:
        names = sorted(name for name in {**found, **new} if found.get(name) != new.get(name))
        row.problems.append(f"other bytes at the end: {names[:5]}")
    left = [str(path.relative_to(folder)) for path in _scratch(folder)]
    row.left += bool(left)
    row.problems += [f"scratch left over: {left[:3]}"] * bool(left)


def _scratch(folder: Path) -> list[Path]:
    """Hidden files and unfinished folders at the place of a result."""
    found = [path for path in folder.rglob("*") if path.name.startswith(".") or "orbax-checkpoint-tmp" in path.name]
    return [path for path in found if "hub" not in path.relative_to(folder).parts[:1] and path.name != ".zarray"]


def _mark(folder: Path) -> tuple:
    """What changes when a command writes: the names at the place of its result, and the size of what it appends to."""
    names = []
    for place, folders, found in os.walk(folder):
        folders[:] = [name for name in folders if name not in ("hub", "tensorboard")]
        names += [os.path.join(place, name) for name in (*folders, *found) if name != "out"]
    metrics = folder / "out" / "metrics.jsonl"
    return tuple(sorted(names)), metrics.stat().st_size if metrics.exists() else 0


def _age(folder: Path) -> None:
    """Lets scratch folders be as old as they would be if somebody started the command again later."""
    for path in folder.rglob(".*"):
        if path.is_dir():
            then = path.stat().st_mtime - LONG_AGO
            os.utime(path, (then, then))
