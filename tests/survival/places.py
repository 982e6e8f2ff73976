"""Commands on disks that are full, folders that cannot be written, names that are odd, and folders that are in use."""

import contextlib
import dataclasses
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from shotverse_jax.files import UNFINISHED, Locked, locked
from tests.survival.commands import COMMANDS, NEW, OLD, Command
from tests.survival.processes import Ended, Process

BAR = re.compile(r"\d%\|")
"""A progress bar."""

PAGE = 4096
ENOUGH = 64 << 20


@dataclasses.dataclass(frozen=True)
class World:
    """What all trials share: the folder of inputs, one for trials, the address of the hub, the folder of programs."""

    inputs: Path
    folder: Path
    hub: str

    def start(self, command: Command, out: Path, seed: int, **options) -> Process:
        """Starts a command; huggingface_hub's cache is beside the result."""
        from tests.helpers.stand_in_hub import pieces, variables

        if not isinstance(out, _Text):
            command.prepare(self.inputs, out)
        cache, environment = self.folder / "hub", options.pop("environment", {})

        def prepare() -> None:
            for piece in pieces(self.hub, cache):
                setattr(*piece)

        arguments = command.arguments(self.inputs, out, seed)
        told = variables(self.hub, cache) | environment
        return Process(command.program, arguments, self.folder, told, prepare, **options)

    def run(self, command: Command, out: Path, seed: int, **options) -> Ended:
        """Runs a command to its end."""
        return self.start(command, out, seed, **options).wait()


def can_mount() -> bool:
    """Whether this user may mount disks."""
    return os.geteuid() == 0 and shutil.which("mount") is not None


class Disk:
    """A small disk of memory, mounted on a folder."""

    def __init__(self, place: Path):
        self.place = place

    def mount(self, *options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "none", str(self.place)], check=True)

    def free(self, size: int) -> None:
        """Leaves so many bytes free."""
        used = os.statvfs(self.place)
        used = (used.f_blocks - used.f_bfree) * used.f_frsize
        self.remount(f"size={max(PAGE, used + size)}")

    def remount(self, option: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{option}", str(self.place)], check=True)


@contextlib.contextmanager
def disk(place: Path) -> Iterator[Disk]:
    """A disk with room enough."""
    place.mkdir(exist_ok=True)
    made = Disk(place)
    made.mount(f"size={ENOUGH}")
    try:
        yield made
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def refused(ended: Ended) -> list[str]:
    """What is wrong with a refusal: it is exit code 2 and one sentence."""
    said = ended.err.rpartition("\nshotverse")[2] if ended.err.startswith("usage: ") else ended.err  # argparse's own
    shown = (line.split("\r")[-1].strip() for line in said.split("\n"))
    lines = [line for line in shown if line and not BAR.search(line)]
    problems = [] if ended.code == 2 else [f"exit code {ended.code}"]
    if "Traceback" in ended.err or len(lines) != 1:
        problems.append("it says: " + " / ".join(line[:200] for line in lines[:3] + lines[-3:]))
    return problems


@dataclasses.dataclass
class Trial:
    """A trial: what it was, how it ended and what is wrong with it."""

    command: str
    place: str
    said: str
    problems: list[str]


def full_disks(world: World, names: list[str], shares: tuple[float, ...] = (0.0, 0.25, 0.6, 0.9)) -> Iterator[Trial]:
    """Every command on a disk that has room for a share of its result, with the old result on it and without."""
    for name in names:
        command = COMMANDS[name]
        with disk(world.folder / "disk") as place:
            out = place.place / f"out{command.file}"
            command.prepare(world.inputs, out)
            given = _taken(place.place)
            ended = world.run(command, out, NEW)
            if ended.code:
                yield Trial(name, "enough room", ended.err, [f"exit code {ended.code}"])
                continue
            new = command.same(out)
            size = _taken(place.place) - given
            _clear(place.place, world)
            old: dict = {}
            for share in shares:
                if command.replaces and not old:
                    world.run(command, out, OLD)
                    old = command.same(out)
                command.prepare(world.inputs, out)
                place.free(int(share * size))
                before = _names(place.place)
                ended = world.run(command, out, NEW)
                place.remount(f"size={ENOUGH}")
                where = f"{share:.0%} of the result has room"
                if ended.code == 0 and command.same(out) == new:  # it takes less room than its files, or they were old
                    yield Trial(name, where, "it was enough", [])
                    old = {}
                else:
                    problems = refused(ended) + _untouched(command, out, old, new, place.place, before)
                    yield Trial(name, where, ended.err.strip(), problems)
                if not command.replaces:
                    again = world.run(command, out, NEW)
                    if again.code or command.same(out) != new:
                        yield Trial(name, "and with room again", again.err, [f"exit code {again.code}, other bytes"])
                    _clear(place.place, world)


def _taken(place: Path) -> int:
    return sum(-(-f.stat().st_size // PAGE) * PAGE for f in place.rglob("*") if f.is_file())


def _clear(place: Path, world: World) -> None:
    for path in (*place.iterdir(), world.folder / "hub"):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _names(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*")}


def _untouched(command: Command, out: Path, old: dict, new: dict, place: Path, before: set[str]) -> list[str]:
    """What is wrong with what a failed command left."""
    if command.replaces:
        added = _names(place) - before
        now = command.same(out)
        return [f"it left {sorted(added)[:4]}"] * bool(added) + ["the old result is not as it was"] * (now != old)
    hidden = [name for name in _names(place) - before if "/." in f"/{name}" and ".writing" in name]
    return [f"it left {hidden[:3]}"] * bool(hidden) + command.kept(out, new, {})


def full_temporary(world: World, names: list[str]) -> Iterator[Trial]:
    """Every command with a full disk for temporary files: it works, or says so."""
    for name in names:
        command = COMMANDS[name]
        with disk(world.folder / "temporary") as place:
            (place.place / "filled").write_bytes(b"x" * PAGE)
            place.remount(f"size={PAGE}")
            out = world.folder / f"out{command.file}"
            ended = world.run(command, out, NEW, environment={"TMPDIR": str(place.place)})
            yield Trial(name, "no room for temporary files", ended.err.strip(), refused(ended) if ended.code else [])
            _remove(out, world)


def _remove(out: Path, world: World) -> None:
    for path in (out, world.folder / "hub"):
        if path.is_symlink() or path.is_file():
            path.unlink()
        else:
            shutil.rmtree(path, ignore_errors=True)


def unwritable(world: World, names: list[str]) -> Iterator[Trial]:
    """Every command where nothing can be written: a disk for reading alone, a path below a file, the other kind."""
    for name in names:
        command = COMMANDS[name]
        if can_mount():
            with disk(world.folder / "disk") as place:
                out = place.place / f"out{command.file}"
                command.prepare(world.inputs, out)
                place.remount("ro")
                yield _refusal(world, name, "a disk for reading alone", out)
                place.remount("rw")
        (world.folder / "file").write_text("mine")
        yield _refusal(world, name, "below a file", world.folder / "file" / f"out{command.file}")
        other = world.folder / f"other{command.file}"
        if command.file:
            other.mkdir()
            yield _refusal(world, name, "--out is a folder", other)
        else:
            other.write_text("mine")
            yield _refusal(world, name, "--out is a file", other)
        _remove(other, world)


def _refusal(world: World, name: str, where: str, out: Path) -> Trial:
    before = {path: path.read_bytes() if path.is_file() else None for path in world.folder.rglob("*")}
    begun = time.monotonic()
    ended = world.run(COMMANDS[name], out, NEW)
    seconds = time.monotonic() - begun
    after = {path: path.read_bytes() if path.is_file() else None for path in world.folder.rglob("*")}
    problems = refused(ended)
    problems += [f"it changed {[str(p) for p in after.items() ^ before.items()][:2]}"] * (after != before)
    return Trial(name, where, f"{ended.err.strip()} ({seconds:.1f} s)", problems)


def second_processes(world: World, names: list[str]) -> Iterator[Trial]:
    """A second process of every long command is refused while the first works, and the first is not disturbed."""
    for name in names:
        command = COMMANDS[name]
        if not command.long:
            continue
        whole = world.folder / "whole"
        world.run(command, whole, NEW)
        shutil.rmtree(world.folder / "hub", ignore_errors=True)
        new, out = command.same(whole), world.folder / "out"
        first = world.start(command, out, NEW)
        problems, ended = [], _stopped_at_work(first, world.folder, out)
        begun = time.monotonic()
        second = world.run(command, out, NEW)
        seconds = time.monotonic() - begun
        if ended is None:
            os.killpg(first.pid, signal.SIGCONT)
            ended = first.wait().code
        else:
            problems.append("the first process ended before the second")
        problems += refused(second)
        if ended or command.same(out) != new:
            problems.append(f"the first was disturbed: exit code {ended}")
        yield Trial(name, "a second process", f"{second.err.strip()} ({seconds:.1f} s)", problems)
        for path in (whole, out):
            _remove(path, world)


def _stopped_at_work(first: Process, folder: Path, out: Path) -> int | None:
    """Stops a process at a moment when it has its lock; returns its exit code if it ended before that.

    It makes a folder first and locks it then: one that was stopped between the two would leave the lock to the second.
    """
    while (ended := first.ended()) is None:
        # A data set like DataDoP is locked by its splits, which are folders in it.
        places = [*(path for path in folder.iterdir() if path.name.startswith(".")), out, *out.glob("*")]
        if any(path.is_dir() for path in places):
            try:
                os.killpg(first.pid, signal.SIGSTOP)
            except ProcessLookupError:  # it has no group of its own yet
                continue
            _, status = os.waitpid(first.pid, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                return os.waitstatus_to_exitcode(status)
            if any(_is_locked(path) for path in places if path.is_dir()):
                return None
            os.killpg(first.pid, signal.SIGCONT)
        time.sleep(0.001)
    return ended


def _is_locked(folder: Path) -> bool:
    try:
        with locked(folder):
            return False
    except Locked:
        return True


NAMES: dict[str, Callable[[Path], str]] = {
    "": lambda folder: "",
    ".": lambda folder: ".",
    "..": lambda folder: "..",
    "...txt": lambda folder: "...txt",
    "a newline": lambda folder: "a\nb",
    "a control character": lambda folder: "a\x1bb",
    "a slash at its end": lambda folder: "out/",
    "a link to a folder": lambda folder: _link(folder, "target"),
    "a broken link": lambda folder: _link(folder, "nothing"),
    "a long name": lambda folder: "x" * 300,
}


def _link(folder: Path, target: str) -> str:
    if target == "target":
        (folder / target).mkdir()
        (folder / target / "mine").write_text("mine")
    (folder / "link").symlink_to(target)
    return "link"


def odd_names(world: World, names: list[str]) -> Iterator[Trial]:
    """Every command with odd names of its result: a result, or one sentence."""
    for name in names:
        command = COMMANDS[name]
        if command.given:  # its result is a folder that is there, whose name it does not choose
            continue
        for what, make in NAMES.items():
            stand = world.folder / "parent" / "stand"
            stand.mkdir(parents=True)
            own = dataclasses.replace(world, folder=stand)
            given = make(stand)
            before = {str(p.relative_to(stand.parent)) for p in stand.parent.rglob("*")}
            ended = own.run(command, _Text(given), NEW)
            made = {str(p.relative_to(stand.parent)) for p in stand.parent.rglob("*")} - before
            made = {path for path in made if not path.startswith("stand/hub")}
            problems = refused(ended) + [f"it left {sorted(made)[:3]}"] * bool(made) if ended.code else []
            problems += [f"hidden: {p}" for p in made if "/." in f"/{p}" and ".writing" in p or UNFINISHED in p]
            said = ended.err.strip() or "made " + ", ".join(map(ascii, sorted(made)[:3]))
            yield Trial(name, f"--out {what}", said, problems)
            shutil.rmtree(world.folder / "parent")


class _Text(str):
    """The text of --out as it is, where a path would be tidied up."""
