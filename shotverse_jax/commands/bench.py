"""`shotverse bench`: a data set of multi-shot scenes, built of films, and checked."""

import argparse
import functools
import threading
from pathlib import Path
from typing import Any

from shotverse_jax.commands import batch, calibrate
from shotverse_jax.commands.common import Terminal, number, out_name, show, size, whole
from shotverse_jax.files import check_place
from shotverse_jax.limits import FRAMES, RATES

HELP = "Build a data set of multi-shot scenes with cameras and captions from films (ShotVerse-Bench), or check one."
EXAMPLES = (
    "shotverse bench build films --out bench",
    "shotverse bench build films.csv --out bench --masks motion --captions qwen3-vl-2b --workers 16 --ray auto",
    "shotverse bench check bench",
)
FAULTY, FAILED = 1, 3


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument("action", choices=("build", "check"))
    parser.add_argument(
        "source", metavar="FILMS|DIR", help="of build: a folder of films or a table of them; of check: a bench"
    )
    parser.add_argument("--out", type=out_name, metavar="DIR", help="of build: folder of the bench")
    scenes = parser.add_argument_group("scenes")
    scenes.add_argument(
        "--length", type=whole("the frames of a scene", 17, FRAMES), help="frames of a scene, 4t+1 (default 249)"
    )
    scenes.add_argument("--scene-size", type=size, metavar="HEIGHTxWIDTH", help="of a scene (default 480x843)")
    scenes.add_argument("--fps", type=number("the rate", *RATES), help="frames per second of a scene (default 16)")
    scenes.add_argument(
        "--proportion", type=_proportion, metavar="A:B:C", help="scenes of 2, 3 and 4 shots (default 6:3:1)"
    )
    scenes.add_argument(
        "--least", type=number("the seconds", 0.01, 1000), help="seconds of a shot at least (default 1)"
    )
    scenes.add_argument(
        "--test", type=number("the share", 0, 0.9), help="share of the scenes for testing (default 1/11)"
    )
    scenes.add_argument(
        "--depth",
        type=number("the depth", 0, 1e6),
        help="median distance that scenes without a unit of length are scaled to, 0 leaves them (default 5)",
    )
    scenes.add_argument(
        "--captions",
        metavar="WHO",
        help="template (default) says what the camera does; the name of a Qwen3-VL, or the address of an "
        "OpenAI-compatible server, adds what is seen",
    )
    scenes.add_argument("--captions-model", metavar="NAME", help="the model at that address")
    scenes.add_argument(
        "--records",
        choices=("cameras", "video"),
        help="what the ArrayRecord files hold (default: cameras and captions)",
    )
    calibrate.settings_arguments(parser.add_argument_group("cameras, for films of which the table says nothing else"))
    batch.workers_arguments(parser.add_argument_group("workers"))


def _proportion(text: str) -> tuple[int, int, int]:
    parts = text.split(":")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 7 for part in parts):
        raise argparse.ArgumentTypeError(f"a proportion is three whole numbers like 6:3:1, got {text[:60]}")
    return tuple(int(part) for part in parts)


def run(args: argparse.Namespace) -> int:
    """Does the action; returns 0, or 1 for a bench with faults, 3 if something failed, 143 if it was stopped."""
    if args.action == "check":
        return _check(args)
    if not args.out:
        raise ValueError("bench build needs --out, the folder of the bench")
    check_place(args.out, folder=True)
    config = config_of(args)
    from shotverse_jax.bench.films import read_films

    films, terminal, stop = read_films(args.source, config.calibration), Terminal(args.quiet), threading.Event()
    from shotverse_jax.bench import build

    run_ = functools.partial(_run, args, terminal, stop)
    try:
        made = build.build(films, args.out, config, run_, terminal)
    except build.Stopped:
        terminal.say("stopped; the same line goes on")
        return batch.STOPPED
    numbers = made["statistics"]
    parts = [f"{sum(counts.values())} scenes for {name}" for name, counts in numbers["scenes"].items()]
    show(f"{args.out}: {' and '.join(parts)}, {numbers['rejected']} rejected, {numbers['spare']} to spare; index.html")
    return FAILED if numbers["failed"] or numbers["films"]["failed"] else 0


def _run(args: argparse.Namespace, terminal: Terminal, stop: threading.Event, items: Any, job: Any, out: Path) -> Any:
    own = argparse.Namespace(out=str(out), workers=args.workers, ray=args.ray)
    return batch.run_job(own, list(items), job, terminal, stop)


def config_of(args: argparse.Namespace) -> Any:
    """The settings of the arguments."""
    from shotverse_jax.config import BenchConfig

    names = ("fps", "proportion", "least", "test", "depth", "captions", "captions_model", "records")
    values = {name: getattr(args, name) for name in names} | {"frames": args.length}
    values["height"], values["width"] = args.scene_size or (None, None)
    given = {name: value for name, value in values.items() if value is not None}
    return BenchConfig(**given, calibration=calibrate.config_of(args))


def _check(args: argparse.Namespace) -> int:
    from shotverse_jax.bench.check import check

    faults = check(args.source, Terminal(args.quiet))
    for words in faults:
        show(words)
    if not faults:
        Terminal(args.quiet).say(f"{args.source}: no fault was found")
    return FAULTY if faults else 0
