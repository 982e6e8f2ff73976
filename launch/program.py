"""How the programs of this folder start and end: input errors are one sentence on stderr and exit code 2."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
from absl import app, flags, logging

from shotverse_jax.cli import refuse


def refusing(main: Callable[[Sequence[str]], int | None]) -> Callable[[Sequence[str]], int | None]:
    """The main function of a program; an input error (ValueError, OSError), wherever it comes up, is no crash of it.

    Much of the input is looked at while a run is under way: data is read then, and a batch split into parts.
    """

    @functools.wraps(main)
    def guarded(arguments: Sequence[str]) -> int | None:
        try:
            return main(arguments)
        except (ValueError, OSError) as error:
            return refuse(_name(main.__code__.co_filename), error)

    return guarded


def start(main: Callable[[Sequence[str]], int | None], *required: str) -> None:
    """Runs a program and exits with its code. required: the flags that must be given."""
    flags.mark_flags_as_required(required)
    jax.config.config_with_absl()
    app.run(main, flags_parser=_parse)


def _parse(arguments: Sequence[str]) -> list[str]:
    try:
        rest = flags.FLAGS(arguments)
    except (flags.Error, AttributeError, TypeError) as error:  # the last two: a config has no such value or type
        raise SystemExit(refuse(_name(arguments[0]), error)) from error
    # absl would show notices next: JAX's of every backend that is not there, Orbax's of every file it touches.
    if flags.FLAGS["verbosity"].using_default_value:
        flags.FLAGS.verbosity = logging.WARNING
    return rest


def _name(file: str) -> str:
    return f"launch.{Path(file).stem}"
