"""`shotverse preview`: a trajectory seen on the stage."""

import argparse
from pathlib import Path

from shotverse_jax import limits
from shotverse_jax.commands.common import (
    Terminal,
    out_name,
    read_trajectory,
    say_notes,
    trajectory_arguments,
    use_compilation_cache,
    whole,
)
from shotverse_jax.files import check_place

HELP = "Film a trajectory on the stage."
EXAMPLES = ("shotverse preview out/last_train/trajectory.json",)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    trajectory_arguments(parser)
    parser.add_argument("--out", type=out_name, help="video to write (default: preview.mp4 beside the trajectory)")
    parser.add_argument(
        "--height",
        type=whole("the height of a preview", 64, limits.SIDE),
        default=None,
        help="height of the video in pixels",
    )


def run(args: argparse.Namespace) -> int:
    """Writes the video; returns the exit code 0."""
    trajectory = read_trajectory(args)
    even = trajectory.evenly()
    say_notes(args, even.notes[len(trajectory.notes) :])
    use_compilation_cache()
    from shotverse_jax.camera.motion_tags import tag_lines
    from shotverse_jax.views.preview import render_preview

    terminal, source = Terminal(args.quiet), Path(args.trajectory)
    out = Path(args.out) if args.out else (source if source.is_dir() else source.parent) / "preview.mp4"
    check_place(out)
    options = {"height": args.height} if args.height else {}
    render_preview(even, None, out, tags=tag_lines(even), progress=terminal, **options)
    terminal.say(f"wrote {out}")
    return 0
