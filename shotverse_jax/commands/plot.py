"""`shotverse plot`: a trajectory drawn, as GenDoP's pictures do, on the stage, or rendered by Blender."""

import argparse
from pathlib import Path

from shotverse_jax.commands.common import Terminal, positive, read_trajectory, trajectory_arguments
from shotverse_jax.files import check_place

HELP = "Draw a trajectory: three views (.png, .svg, .pdf), or frusta rendered by Blender."
EXAMPLES = (
    "shotverse plot out/last_train/trajectory.json --out path.svg",
    "shotverse plot out/last_train/trajectory.json --style blender --out figure.py",
)
STYLES = ("views", "stage", "blender")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    trajectory_arguments(parser)
    parser.add_argument(
        "--out", metavar="FILE", help="picture, or .py for Blender's script (default: beside the source)"
    )
    parser.add_argument(
        "--style",
        choices=STYLES,
        default="views",
        help="views: front, top and side, red to purple, as GenDoP's (default); stage: around the subject, in metres; "
        "blender: frusta as in GenDoP's figures; with .py the script alone, else rendered by bpy or Blender",
    )
    parser.add_argument("--cameras", type=positive, metavar="N", help="cameras that are drawn of a shot (not of stage)")
    parser.add_argument("--title", help="line above the views (default: the caption)")


def run(args: argparse.Namespace) -> int:
    """Draws the picture; returns the exit code 0."""
    source = Path(args.trajectory)
    out = Path(args.out) if args.out else source.with_name(f"{source.name.removesuffix(source.suffix)}.png")
    check_place(out)
    trajectory = read_trajectory(args)
    cameras = {} if args.cameras is None else {"cameras": args.cameras}
    if args.style == "views":
        from shotverse_jax.views.three_views import plot_three_views

        plot_three_views(trajectory, out, args.title, **cameras)
    elif args.style == "stage":
        from shotverse_jax.camera.motion_tags import tag_lines
        from shotverse_jax.views.plot import plot_trajectory

        plot_trajectory(trajectory, out, tags=tag_lines(trajectory))
    else:
        from shotverse_jax.views.blender_figure import render_figure, write_figure

        (write_figure if out.suffix.lower() == ".py" else render_figure)(trajectory, out, **cameras)
    Terminal(args.quiet).say(f"wrote {out}")
    return 0
