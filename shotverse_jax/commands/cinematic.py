"""`shotverse cinematic`: cinematic language, twenty classes of framings, angles and movements of the camera."""

import argparse
import importlib.resources
from pathlib import Path

from shotverse_jax import limits
from shotverse_jax.commands import cinematic_compare
from shotverse_jax.commands.common import Terminal, number, out_name, show, use_compilation_cache, whole
from shotverse_jax.files import check_place

HELP = (
    "Clips that show one class of cinematic language each, adapters that were trained on them, films with and without."
)
EXAMPLES = (
    "shotverse cinematic data --out clips --clips 100",
    "shotverse cinematic train pan-left zoom-in --clips-from clips --out styles --config camera_diff "
    "--config.base_weights=wan2.2-t2v-a14b",
    'shotverse cinematic compare pan-left "pan-left, zoom-in" --lora styles/styles.safetensors --out out/compare',
)
ACTIONS = ("data", "train", "compare")
STOPPED = 75
OVERRIDES = "--config."
"""Arguments that begin so are values of the config of a training; `cli.main` hands them on as `args.overrides`."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument(
        "action",
        choices=ACTIONS,
        help="data: a folder of clips with class and caption, split by source; train: an adapter for each class, all "
        "in one file; compare: films with adapters beside films without, how often they show the class",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="CLASS",
        help='classes (default: all twenty); with compare also several at once, "pan-left, zoom-in 0.6"',
    )
    parser.add_argument("--out", type=out_name, required=True, help="folder of the results; one that was begun goes on")
    data = parser.add_argument_group("data")
    data.add_argument(
        "--clips",
        type=whole("the clips", 3, limits.COUNT),
        default=100,
        help="clips of each class: 80, 10 and 10 %% for training, validation and test (default 100)",
    )
    data.add_argument("--classes", metavar="NAME,…", help="names of the classes, in place of CLASS")
    data.add_argument("--height", type=whole("the height", 16, limits.SIDE), default=96, help="pixels (default 96)")
    data.add_argument("--width", type=whole("the width", 16, limits.SIDE), default=144, help="pixels (default 144)")
    data.add_argument("--fps", type=number("the rate", *limits.RATES), default=8.0, help="frames a second (default 8)")
    train = parser.add_argument_group("train")
    train.add_argument("--clips-from", metavar="FOLDER", help="folder of clips that data wrote, or of the same form")
    train.add_argument(
        "--config",
        default="camera_diff_small",
        metavar="FILE",
        help="config file, or the name of one that ships; values change by --config.NAME=VALUE",
    )
    train.add_argument(
        "--experts", choices=("high", "low", "both"), default="high", help="experts that learn (default: high)"
    )
    cinematic_compare.arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Writes the folder; returns the exit code 0, or 75 for a training that was stopped."""
    check_place(args.out, folder=True)
    if args.action != "train" and args.overrides:
        raise ValueError(f"{args.overrides[0]} is a value of a training; {args.action} has none")
    return {"data": _data, "train": _train, "compare": cinematic_compare.run}[args.action](args)


def _classes(args: argparse.Namespace) -> tuple[str, ...]:
    from shotverse_jax.cinematic.phrases import CLASSES

    if args.names and args.classes:
        raise ValueError("classes are given once, as CLASS or with --classes")
    listed = [name.strip() for name in args.classes.split(",")] if args.classes else args.names
    return tuple(listed) or tuple(CLASSES)


def _data(args: argparse.Namespace) -> int:
    use_compilation_cache()
    from shotverse_jax.cinematic.dataset import write_stage_clips

    size = {"height": args.height, "width": args.width, "fps": args.fps}
    clips = write_stage_clips(args.out, args.clips, _classes(args), **size, progress=Terminal(args.quiet))
    show(f"{args.out}: {len(clips)} clips of {len({clip.name for clip in clips})} classes, from {args.clips} sources")
    return 0


def _train(args: argparse.Namespace) -> int:
    from shotverse_jax.config import ControllerTrainConfig, from_dict
    from shotverse_jax.fit.config_file import read

    if not args.clips_from:
        raise ValueError("adapters are trained on clips; give their folder with --clips-from")
    config = from_dict(ControllerTrainConfig, read(_file(args.config), args.overrides))
    use_compilation_cache()
    from shotverse_jax.train import camera_diff

    terminal = Terminal(args.quiet)
    experts = ("high", "low") if args.experts == "both" else (args.experts,)
    try:
        path = camera_diff.train_classes(config, args.clips_from, _classes(args), args.out, experts, terminal)
    except camera_diff.Stopped as stopped:
        terminal.say(f"{stopped}; the same line goes on")
        return STOPPED
    show(f"{path}; --lora {path} gives its adapters to shots that ask for them")
    return 0


def _file(name: str) -> str:
    """The path of a config, by its path or by the name of one that ships."""
    if Path(name).suffix == ".py":
        return name
    shipped = Path(str(importlib.resources.files("shotverse_jax.configs.cinematic"))) / f"{name}.py"
    if not shipped.is_file():
        names = sorted(path.stem for path in shipped.parent.glob("camera_diff*.py"))
        raise ValueError(f"there is no config {name}: give a .py file, or one of {', '.join(names)}")
    return str(shipped)
