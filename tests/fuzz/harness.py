"""One family of inputs, one case of it, and how the case ended."""

import contextlib
import io
import shutil
import signal
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from shotverse_jax import cli

SECONDS, MEGABYTES = 10.0, 2000.0
"""What a case may take at most."""

PATIENCE = 20
"""Seconds after which a case is stopped."""

REFUSED, ACCEPTED, DIFFERENT, TRACEBACK = "refused", "accepted", "silent difference", "traceback"


class Different(Exception):
    """A damaged input was accepted, and gave something else than it may."""


class TooLong(BaseException):
    """A case was stopped. No reader may catch this as an error of a library."""


class Family:
    """Inputs of one sort. A subclass says in its docstring what counts as a silent difference.

    Attributes:
        name: of the family.
        share: of all cases, relative to the other families.
        refuses: whether some damage must be refused; False where work goes on whatever is found.
        place: a folder for the whole inputs, which `make` fills once.
    """

    name = ""
    share = 1.0
    refuses = True

    def __init__(self, place: Path):
        self.place = place
        place.mkdir(parents=True, exist_ok=True)
        self.make()

    def make(self) -> None:
        """Writes the whole inputs to `place`."""

    def damage(self, draw: Random, folder: Path) -> Any:
        """Writes a damaged input to an empty folder; returns what `read` reads."""
        raise NotImplementedError

    def read(self, subject: Any) -> Any:
        """Reads it as the program does. Raises ValueError where it is refused."""
        raise NotImplementedError

    def check(self, subject: Any, value: Any) -> None:
        """Raises Different where what was read is not what it may be."""

    def names(self, subject: Any, folder: Path, message: str) -> bool:
        """Whether the sentence of a refusal says which file, or which option, it is about."""
        return str(folder) in message


@dataclass(frozen=True)
class Outcome:
    """How a case ended: one of the four words above, seconds, megabytes, and for a failure what happened."""

    kind: str
    seconds: float
    megabytes: float
    text: str = ""

    @property
    def failures(self) -> tuple[str, ...]:
        """The columns of the table in which it counts as a failure."""
        found = (self.kind,) if self.kind in (DIFFERENT, TRACEBACK) else ()
        found += ("over 10 s",) * (self.seconds > SECONDS)
        return found + ("over 2 GB",) * (self.megabytes > MEGABYTES)


def run_case(family: Family, seed: int, folder: Path) -> Outcome:
    """Runs a case in a folder, which is emptied before."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    subject = family.damage(Random(f"{family.name}:{seed}"), folder)
    before, begun = _resident("VmRSS", reset=True), time.monotonic()
    text = ""
    try:
        with stopped_after(PATIENCE):
            value = family.read(subject)
            family.check(subject, value)
        kind = ACCEPTED
    except ValueError as error:
        kind, text = REFUSED, str(error)
        if "\n" in text or not family.names(subject, folder, text):
            kind, text = TRACEBACK, f"the sentence has several lines, or names no file of the case: {text}"
    except Different as error:
        kind, text = DIFFERENT, str(error)
    except TooLong as error:
        kind, text = REFUSED, "".join(traceback.format_exception(error)[-12:])
    except Exception as error:  # noqa: BLE001 that is what is looked for
        kind, text = TRACEBACK, "".join(traceback.format_exception(error)[-12:])
    seconds = time.monotonic() - begun
    return Outcome(kind, seconds, max(0.0, (_resident("VmHWM") - before) / 1000), text)


@contextlib.contextmanager
def stopped_after(seconds: float) -> Iterator[None]:
    """Raises TooLong in the block when the time is over."""

    def stop(*_):
        raise TooLong(f"stopped after {seconds} s")

    old = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def _resident(name: str, reset: bool = False) -> float:
    """Kilobytes of memory of this process, now (VmRSS) or at most (VmHWM); 0 where the system does not say."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the largest so far is forgotten
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return float(status.split(f"{name}:")[1].split()[0])


class Ended(NamedTuple):
    """How a command line ended: its exit code, and what it wrote to stdout and stderr."""

    code: int
    out: str
    err: str


def command(*arguments: Any) -> str:
    """Runs a command line in this process; returns what it wrote to stdout. Errors are those of `ended`."""
    return ended(*arguments).out


def ended(*arguments: Any, good: Sequence[int] = (0,)) -> Ended:
    """Runs a command line in this process.

    good: exit codes with which it did what it was told.

    Raises:
        ValueError: it ended with exit code 2; the message is what it said.
        Different: it ended with another exit code.
    """
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as end:  # of argparse, which shows the usage first
            code, said = end.code, err.getvalue().strip().splitlines()[-1]
            raise ValueError(said) from end
    if code == 2:
        raise ValueError(err.getvalue().removesuffix("\n"))
    if code not in good:
        raise Different(f"the command ended with exit code {code}: {err.getvalue()}")
    return Ended(code, out.getvalue(), err.getvalue())


def expect(holds: bool, what: str) -> None:
    """Raises Different, with `what` in it, unless something holds."""
    if not holds:
        raise Different(what)
