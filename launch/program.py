"""How the programs of this folder start and end: input errors are one sentence on stderr and exit code 2."""

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
from absl import app, flags, logging

from shotverse_jax.cli import INTERRUPTED, refuse, too_little_memory


def refusing(main: Callable[[Sequence[str]], int | None]) -> Callable[[Sequence[str]], int | None]:
    """The main function of a program; input errors and too little memory are one sentence and exit code 2.

    They can come at any time: much of the input is only read while a run is under way.
    """

    @functools.wraps(main)
    def guarded(arguments: Sequence[str]) -> int | None:
        try:
            return main(arguments)
        except KeyboardInterrupt:
            print(f"\n{_name(main.__code__.co_filename)}: stopped", file=sys.stderr)
            return INTERRUPTED
        except (MemoryError, RuntimeError) as error:
            if not (words := too_little_memory(error)):
                raise
            return refuse(_name(main.__code__.co_filename), words)
        except (ValueError, OSError) as error:
            return refuse(_name(main.__code__.co_filename), error)

    return guarded


def start(main: Callable[[Sequence[str]], int | None], *required: str) -> None:
    """Runs a program and exits with its code; `required` are the flags that must be given."""
    flags.mark_flags_as_required(required)
    # JAX's own options become flags of the program, for example --jax_debug_nans.
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
