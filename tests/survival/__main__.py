"""What commands outlive: being killed, full and unwritable disks, a second process, odd names.

    python -m tests.survival kills --moments 20            # every long command, killed at 20 random moments of its work
    python -m tests.survival full temporary unwritable second names
    python -m tests.survival kills --only plan,film

`commands.py` is the table of commands; one that writes a result joins by a row. Figures are printed, and the exit code
is 1 where anything is wrong. Disks of a few kilobytes are mounted for `full`, `temporary` and a part of `unwritable`,
which only the superuser may; else these are left out, and that is said.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

if __name__ == "__main__":
    # Read when JAX and huggingface_hub are imported, which is below.
    cache = tempfile.TemporaryDirectory()
    for name in ("SHOTVERSE_CACHE", "JAX_COMPILATION_CACHE_DIR"):
        os.environ.setdefault(name, cache.name)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # compiled in a fifth of the time
    os.environ["JAX_PLATFORMS"] = "cpu"

from tests.survival import inputs, kills, places
from tests.survival.commands import COMMANDS
from tests.survival.processes import import_everything

TRIALS = {
    "full": places.full_disks,
    "temporary": places.full_temporary,
    "unwritable": places.unwritable,
    "second": places.second_processes,
    "names": places.odd_names,
}
NEED_MOUNT = ("full", "temporary")
BRIEF = {
    "kills": ("convert", "get"),
    "full": ("export-usd", "export-colmap", "convert-back"),
    "unwritable": ("plan", "batch-plan", "convert", "encode", "train", "export-lora"),
    "second": ("convert", "get"),
    "names": ("export", "convert-back"),
}
"""The commands of `--brief`."""

COLUMNS = (
    "command",
    "kills during work",
    "real processes",
    "whole after",
    "runs that ended",
    "same bytes",
    "scratch",
)


def main() -> int:
    """Runs what is asked for; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", nargs="+", choices=("kills", *TRIALS))
    parser.add_argument("--moments", type=int, default=20, help="kills of every command (default 20)")
    parser.add_argument("--real", type=int, default=2, help="of these, how many processes are started anew (default 2)")
    parser.add_argument("--only", help="commands, with commas between them (default: all)")
    parser.add_argument("--brief", action="store_true", help="the few trials that the test suite runs")
    parser.add_argument("--seed", type=int, default=0, help="other moments")
    args = parser.parse_args()
    import_everything()
    names, problems = args.only.split(",") if args.only else list(COMMANDS), 0
    brief = {what: list(commands) for what, commands in BRIEF.items()} if args.brief else {}
    args.moments, args.real = (2, 0) if args.brief else (args.moments, args.real)
    with tempfile.TemporaryDirectory() as folder:
        own, trials = Path(folder) / "inputs", Path(folder) / "trials"
        own.mkdir(), trials.mkdir()
        inputs.make(own)
        with inputs.hub(own) as address:
            world = places.World(own, trials, address)
            for what in args.what:
                chosen = brief.get(what, names)
                if what == "kills":
                    problems += _kills(world, chosen, args)
                elif what in NEED_MOUNT and not places.can_mount():
                    print(f"{what}: left out, only the superuser may mount disks", flush=True)
                else:
                    problems += _trials(what, TRIALS[what](world, chosen))
    return 1 if problems else 0


def _kills(world: places.World, names: list[str], args: argparse.Namespace) -> int:
    print(" | ".join(COLUMNS), flush=True)
    wrong = 0
    for name in names:
        if COMMANDS[name].long:
            begun = time.monotonic()
            row = kills.killed(world, name, args.moments, args.seed, args.real)
            values = (row.command, row.kills, row.real, row.whole, row.ended, row.same, row.left)
            took = f"(work {row.seconds:.1f} s; {time.monotonic() - begun:.0f} s in all)"
            print(" | ".join(map(str, values)), took, flush=True)
            for problem in row.problems:
                print(f"  WRONG {name}: {problem}", flush=True)
            wrong += len(row.problems)
    return wrong


def _trials(what: str, trials) -> int:
    count = wrong = 0
    for trial in trials:
        count, wrong = count + 1, wrong + bool(trial.problems)
        print(f"{trial.command} | {trial.place} | {trial.said[:300]}", flush=True)
        for problem in trial.problems:
            print(f"  WRONG {trial.command}, {trial.place}: {problem}", flush=True)
    print(f"{what}: {count} cases, {wrong} wrong", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
