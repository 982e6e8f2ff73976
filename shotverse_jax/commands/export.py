"""`shotverse export`: a trajectory in another format."""

import argparse
from pathlib import Path

from shotverse_jax.commands.common import (
    Terminal,
    options,
    out_name,
    read_trajectory,
    say_notes,
    trajectory_arguments,
)
from shotverse_jax.files import check_place

HELP = "Convert a trajectory to another format."
EXAMPLES = ("shotverse export out/last_train/trajectory.json --to blender",)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    trajectory_arguments(parser)
    parser.add_argument("--to", required=True, metavar="FORMAT", help="; ".join(_written()))
    parser.add_argument("--out", type=out_name, help="file or folder to write (default: beside the trajectory)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="rate=24 resamples to that rate; or an option of the format, e.g. frames=81",
    )


def run(args: argparse.Namespace) -> int:
    """Writes the trajectory in the other format; returns the exit code 0."""
    from shotverse_jax.camera.formats import FORMATS, write_trajectory

    if args.to not in _written():
        raise ValueError(f"cannot write {args.to!r}; formats that can be written: {', '.join(_written())}")
    trajectory = read_trajectory(args)
    source = Path(args.trajectory)
    out = Path(args.out) if args.out else source.parent / f"{source.stem}.{args.to}{FORMATS[args.to].extension}"
    check_place(out, FORMATS[args.to].folder)
    say_notes(args, write_trajectory(trajectory, out, args.to, **options(args.set)))
    Terminal(args.quiet).say(f"wrote {out} ({FORMATS[args.to].convention})")
    return 0


def _written() -> tuple[str, ...]:
    """Names of the formats that can be written."""
    from shotverse_jax.camera.formats import FORMATS

    return tuple(name for name, fmt in FORMATS.items() if fmt.write)
