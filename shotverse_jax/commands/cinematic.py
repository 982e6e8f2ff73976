"""`shotverse cinematic`: cinematic language, twenty classes of framings, angles and movements of the camera."""

import argparse

from shotverse_jax import limits
from shotverse_jax.commands.common import Terminal, number, out_name, show, use_compilation_cache, whole
from shotverse_jax.files import check_place

HELP = "Clips that show one class of cinematic language each, rendered of the stage."
EXAMPLES = ("shotverse cinematic data --out clips --clips 100",)
ACTIONS = ("data",)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument(
        "action", choices=ACTIONS, help="data: a folder of clips with class and caption, split by source"
    )
    parser.add_argument("--out", type=out_name, required=True, help="folder of the clips; one that was begun goes on")
    parser.add_argument(
        "--clips",
        type=whole("the clips", 3, limits.COUNT),
        default=100,
        help="clips of each class: 80, 10 and 10 %% for training, validation and test (default 100)",
    )
    parser.add_argument("--classes", metavar="NAME,…", help="names of the classes (default: all twenty)")
    parser.add_argument("--height", type=whole("the height", 16, limits.SIDE), default=96, help="pixels (default 96)")
    parser.add_argument("--width", type=whole("the width", 16, limits.SIDE), default=144, help="pixels (default 144)")
    parser.add_argument(
        "--fps", type=number("the rate", *limits.RATES), default=8.0, help="frames a second (default 8)"
    )


def run(args: argparse.Namespace) -> int:
    """Writes the folder; returns the exit code 0."""
    check_place(args.out, folder=True)
    use_compilation_cache()
    from shotverse_jax.cinematic.dataset import write_stage_clips
    from shotverse_jax.cinematic.phrases import CLASSES

    classes = [name.strip() for name in args.classes.split(",")] if args.classes else tuple(CLASSES)
    size = {"height": args.height, "width": args.width, "fps": args.fps}
    clips = write_stage_clips(args.out, args.clips, classes, **size, progress=Terminal(args.quiet))
    show(f"{args.out}: {len(clips)} clips of {len(set(classes))} classes, from {args.clips} sources")
    return 0
