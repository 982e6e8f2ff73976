"""`shotverse calibrate`: the cameras of an edited film."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from shotverse_jax.commands.common import Terminal, out_name, show, whole
from shotverse_jax.files import check_place
from shotverse_jax.limits import FRAMES, SIDE

HELP = "Find the cameras of an edited film: its shots, what moves, every shot's cameras, all in one world."
EXAMPLES = (
    "shotverse calibrate film.mp4 --out out/film",
    "shotverse calibrate film.mp4 --cuts 30,76 --masks motion --lens 35mm --out out/film",
)
REJECTED = 1


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument("video", help="a video in any format that FFmpeg reads")
    parser.add_argument("--out", type=out_name, metavar="DIR", help="folder (default: out/<name of the video>)")
    settings_arguments(parser)


def settings_arguments(parser: Any) -> None:
    """Adds how cameras are found to a parser, or to a group of one."""
    parser.add_argument(
        "--cuts",
        metavar="WHAT",
        help="a detector (docs/shots.md), frames like 30,76, a file of shotverse cuts --json, or none (default: "
        "difference)",
    )
    parser.add_argument(
        "--masks",
        metavar="WHAT",
        help="none (default), motion, saliency, sam2, sam2:WORDS, sam2:BOXES.json, text, file:DIR or stage:TRAJECTORY; "
        "several with + between them (docs/shots.md)",
    )
    parser.add_argument("--fill", choices=("none", "zero"), help="zero makes masked pixels black (default: none)")
    parser.add_argument(
        "--reconstruct",
        metavar="WHAT",
        help="colmap (default), pi3, pi3:FOLDER, file:CAMERAS or stage:TRAJECTORY",
    )
    parser.add_argument(
        "--lens",
        metavar="WHAT",
        help="millimetres on a sensor of 36 mm like 35mm, with commas one for each shot; or FX,FY,CX,CY in pixels "
        "(default: estimated)",
    )
    parser.add_argument(
        "--size",
        type=whole("the size", 32, SIDE),
        metavar="PIXELS",
        help="longer side of the frames that are reconstructed (default: 640)",
    )
    parser.add_argument(
        "--frames",
        type=whole("the frames", 1, FRAMES),
        metavar="N",
        help="reconstruct at most so many frames, every second, third, … of a longer film (default: 300)",
    )
    parser.add_argument(
        "--align", dest="method", choices=("robust", "paper", "points"), help="how shots are aligned (default: robust)"
    )


def run(args: argparse.Namespace) -> int:
    """Writes the cameras; returns 0, or 1 where no shot has cameras that can be believed."""
    config, terminal = config_of(args), Terminal(args.quiet)
    out = Path(args.out or Path("out") / (Path(args.video).stem.strip(". ") or "film"))
    check_place(out, folder=True)
    from shotverse_jax.calibration import film, outputs
    from shotverse_jax.files import owned

    keys = film.identity(args.video, config)
    with owned(out):
        summary = outputs.done(out, keys["all"])
        if summary is None:
            made = film.calibrate_film(args.video, out, config, terminal, keys)
            summary = outputs.write(made, out, terminal)
        else:
            terminal.say(f"{out} is of this film and these settings already")
    return _report(summary, out, terminal)


def config_of(args: argparse.Namespace) -> Any:
    """The settings of the arguments of `settings_arguments`."""
    from shotverse_jax.config import CalibrationConfig

    names = [field.name for field in dataclasses.fields(CalibrationConfig)]
    return CalibrationConfig(**{name: getattr(args, name) for name in names if getattr(args, name) is not None})


def _report(summary: dict[str, Any], out: Path, terminal: Terminal) -> int:
    """Says what was found; returns the exit code."""
    for note in summary["notes"]:
        terminal.say(f"note: {note}")
    shots = summary["shots"]
    for world in summary["worlds"]:
        names = ", ".join(str(shot) for shot in world["shots"])
        show(f"{out / world['trajectory']}: shot {names} of {len(shots)}")
    if summary["worlds"]:
        return 0
    failed = sorted({name for shot in shots for name in shot["failed"]})
    # A result, which is said with --quiet too.
    show(
        f"no shot has cameras that can be believed ({', '.join(failed)}), so none were written; "
        f"{out / 'calibration.json'} has the numbers"
    )
    return REJECTED
