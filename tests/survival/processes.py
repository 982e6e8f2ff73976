"""Commands as processes of their own that start at once: children of a process that has imported everything.

A child is forked before JAX has started any thread, and is then like a process that was started anew, except that it
needs no seconds for imports. `fresh=True` starts a real one. Whatever reads results with JAX or tensorstore is asked in
a child too (`asked`): threads of theirs in this process would not be there in the next child.
"""

import io
import os
import pickle
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
COMMANDS = "shotverse"
"""A program of this name is the command line, any other a module such as "launch.encode", or the path of a file."""


def import_everything() -> None:
    """Imports what commands import, so that children have it."""
    import tensorstore  # noqa: F401

    import shotverse_jax.api
    import shotverse_jax.cli
    import shotverse_jax.conversion.hub
    import shotverse_jax.conversion.lora_write
    import shotverse_jax.data.datadop.build
    import shotverse_jax.data.datadop.captions
    import shotverse_jax.data.encode
    import shotverse_jax.data.scenes
    import shotverse_jax.data.stage_films
    import shotverse_jax.evaluation.features.clatr_files
    import shotverse_jax.infer.gendop_work
    import shotverse_jax.infer.job
    import shotverse_jax.infer.outputs
    import shotverse_jax.infer.work
    import shotverse_jax.train
    import shotverse_jax.views.preview  # noqa: F401

    warnings.filterwarnings("ignore", message=".*os.fork.*")


class Ended(NamedTuple):
    """How a process ended: its exit code, and what it wrote to stdout and stderr."""

    code: int
    out: str
    err: str


class Process:
    """A command that runs.

    Args:
        program: "shotverse", a module such as "launch.encode", or the path of a program.
        arguments: its command line.
        place: folder that it stands in.
        environment: variables in addition to those of this process.
        prepare: called in the child before the command; not with `fresh`.
        fresh: whether it is a real process.
    """

    def __init__(
        self,
        program: str,
        arguments: Sequence[str],
        place: Path,
        environment: dict[str, str] | None = None,
        prepare: Callable[[], None] | None = None,
        fresh: bool = False,
    ):
        self._out, self._err = (tempfile.TemporaryFile() for _ in range(2))  # noqa: SIM115
        arguments, environment = list(map(str, arguments)), environment or {}
        if fresh:
            module = ["-m", "shotverse_jax.cli" if program == COMMANDS else f"shotverse_jax.{program}"]
            pipes = {"stdin": subprocess.DEVNULL, "stdout": self._out, "stderr": self._err}
            told = os.environ | {"PYTHONPATH": str(ROOT)} | environment
            command = [sys.executable, *([program] if program.endswith(".py") else module), *arguments]
            self._popen = subprocess.Popen(command, cwd=place, env=told, start_new_session=True, **pipes)
            self.pid = self._popen.pid
            return

        def command() -> int:
            os.setsid()
            os.chdir(place)
            os.environ.update(environment)
            tempfile.tempdir = None
            for number, file in ((1, self._out), (2, self._err)):
                os.dup2(file.fileno(), number)
            sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(n, "w"), line_buffering=True) for n in (1, 2))
            if prepare is not None:
                prepare()
            return _run(program, arguments)

        self.pid = fork(command)

    def ended(self) -> int | None:
        """The exit code, or None while it runs."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    def wait(self) -> Ended:
        """Waits until it ends."""
        _, status = os.waitpid(self.pid, 0)
        return Ended(os.waitstatus_to_exitcode(status), *self.said())

    def said(self) -> tuple[str, str]:
        """What it wrote so far to stdout and stderr."""
        return tuple(os.pread(file.fileno(), 1 << 20, 0).decode(errors="replace") for file in (self._out, self._err))

    def kill(self) -> bool:
        """Kills it and the processes that it started; returns whether it still ran."""
        os.killpg(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def _run(program: str, arguments: list[str]) -> int:
    if program == COMMANDS:
        from shotverse_jax import cli

        return cli.main(arguments)
    sys.argv = [program, *arguments]
    try:
        if program.endswith(".py"):
            runpy.run_path(program, run_name="__main__")
        else:
            runpy.run_module(f"shotverse_jax.{program}", run_name="__main__")
    except SystemExit as end:
        return end.code or 0
    return 0


def fork(function: Callable[[], int]) -> int:
    """Runs function() in a child, whose exit code it gives; returns the child's number."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if pid := os.fork():
        return pid
    code = 1
    try:
        code = function()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code or 0)


def asked(function: Callable, *arguments: Any) -> Any:
    """function(*arguments), called in a child; a ValueError that it raises is raised here."""
    with tempfile.TemporaryFile() as file:

        def answer() -> int:
            try:
                value = True, function(*arguments)
            except ValueError as error:
                value = False, str(error)
            os.pwrite(file.fileno(), pickle.dumps(value), 0)
            return 0

        _, status = os.waitpid(fork(answer), 0)
        if status:
            raise RuntimeError(f"{function.__name__} failed in its process")
        file.seek(0)
        good, value = pickle.load(file)
    if not good:
        raise ValueError(value)
    return value
