"""The `shotverse` command: a table of commands. Input errors end with one sentence on stderr and exit code 2."""

import argparse
import sys

from shotverse_jax.commands import (
    batch,
    bench,
    calibrate,
    caption,
    cinematic,
    clatr,
    convert,
    cuts,
    datadop,
    eval,
    explain,
    export,
    export_lora,
    film,
    fit,
    gendop,
    get,
    inspect,
    plan,
    plot,
    preference,
    preview,
    review,
    score,
    tags,
    verify,
)
from shotverse_jax.text_files import printable

INTERRUPTED = 130

COMMANDS = {
    "plan": plan,
    "film": film,
    "batch": batch,
    "gendop": gendop,
    "datadop": datadop,
    "plot": plot,
    "preview": preview,
    "review": review,
    "caption": caption,
    "score": score,
    "cuts": cuts,
    "calibrate": calibrate,
    "bench": bench,
    "explain": explain,
    "export": export,
    "export-lora": export_lora,
    "tags": tags,
    "verify": verify,
    "get": get,
    "convert": convert,
    "inspect": inspect,
    "fit": fit,
    "eval": eval,
    "preference": preference,
    "clatr": clatr,
    "cinematic": cinematic,
}


def main(argv: list[str] | None = None) -> int:
    """Runs a command line; returns the exit code: 0 done, 1 a check failed, 2 bad input, 130 after Ctrl-C."""
    parser = _parser()
    args, args.overrides = parser.parse_known_args(argv)
    # Few commands take values of a config; anywhere else an unknown argument is a mistake.
    known = getattr(COMMANDS[args.command], "OVERRIDES", None)
    if wrong := [text for text in args.overrides if known is None or not text.startswith(known)]:
        parser.error(f"unrecognized arguments: {' '.join(wrong)}")
    try:
        return args.run(args)
    except KeyboardInterrupt:
        print(f"\nshotverse {args.command}: stopped", file=sys.stderr)  # noqa: T201
        return INTERRUPTED
    except (MemoryError, RuntimeError) as error:
        if not (words := too_little_memory(error)):
            raise
        return refuse(f"shotverse {args.command}", words)
    except (ValueError, OSError) as error:
        if isinstance(error, BrokenPipeError):  # who reads our output has seen enough
            return 0
        return refuse(f"shotverse {args.command}", error)


def too_little_memory(error: Exception) -> str:
    """Returns what to do where an error, of NumPy or of JAX's devices, is that of too little memory; else ""."""
    said = " ".join(str(error).split())[:200]
    if isinstance(error, MemoryError):
        return (
            f"there is too little memory on this machine{': ' * bool(said)}{said}; ask for less at once (size, frames, "
            "samples, batch), or take a larger machine (shotverse fit says what a run needs)"
        )
    if "RESOURCE_EXHAUSTED" in said:  # XLA's word, in an error that is a RuntimeError like any other of its errors
        return (
            f"there is too little memory on the device: {said}; ask for less at once (size, frames, samples), let "
            "weights wait on the host (--offload), or use more devices (--mesh); shotverse fit says what a run needs"
        )
    return ""


def refuse(program: str, error: Exception | str) -> int:
    """Says in one sentence on stderr what is wrong with the input; returns the exit code for that, 2."""
    print(printable(f"{program}: {' '.join(str(error).split())}"), file=sys.stderr)  # noqa: T201
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="shotverse",
        description="From a screenplay to multi-shot camera trajectories.",
        epilog="example: shotverse film examples/red_coat.txt",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=command.HELP,
            description=command.HELP,
            epilog="example: " + "\n         ".join(command.EXAMPLES),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.add_argument("--quiet", action="store_true", help="say nothing but errors")
        sub.set_defaults(run=command.run)
        command.arguments(sub)
    return parser


if __name__ == "__main__":
    sys.exit(main())
