"""What several commands share: lines and bars in the terminal, types of arguments, folders."""

import argparse
import contextlib
import functools
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from shotverse_jax import limits
from shotverse_jax.files import check_place
from shotverse_jax.text_files import printable, read_yaml

UNITS = {"film": "film", "item": "item", "denoise": "step", "shots": "shot"}
"""What a bar counts, by its name; frames unless it is said here."""


class Terminal:
    """Shows on stderr what a command does: messages as lines, counted work as a bar. It is a progress callback.

    quiet: shows nothing.
    """

    def __init__(self, quiet: bool):
        self._quiet, self._what, self._bar = quiet, "", None

    def say(self, text: str) -> None:
        """Writes a line."""
        if not self._quiet:
            # Messages go to stderr, so that stdout holds a command's result alone and can be piped.
            print(printable(text), file=sys.stderr, flush=True)  # noqa: T201

    def __call__(self, what: str, done: int, total: int) -> None:
        """Moves the bar of `what` to done of total; without a total, `what` is a message."""
        if not total:
            self.say(what)
            return
        if self._bar is None or what != self._what:
            self._begin(what, total)
        self._bar.update(done - self._bar.n)
        if done >= total:
            self._bar.close()
            self._bar = None

    def _begin(self, what: str, total: int) -> None:
        from tqdm import tqdm

        if self._bar is not None:
            self._bar.close()
        unit = UNITS.get(what, "frame")
        self._what, self._bar = what, tqdm(total=total, desc=what, unit=unit, disable=self._quiet, leave=False)


def show(text: str) -> None:
    """Writes a line of a command's result to stdout."""
    print(printable(text))  # noqa: T201


def use_compilation_cache(least: float = 0.1) -> None:
    """Keeps compiled programs between runs; see `infer.execution.use_compilation_cache`."""
    from shotverse_jax.infer import execution

    execution.use_compilation_cache(least)


def whole(what: str, least: int, most: int) -> Callable[[str], int]:
    """The type of an argument that is a whole number in a range; `what` names it in the refusal."""
    return functools.partial(_in_range, limits.whole, int, what, least, most)


def number(what: str, least: float, most: float) -> Callable[[str], float]:
    """The type of an argument that is a number in a range."""
    return functools.partial(_in_range, limits.finite, float, what, least, most)


def out_name(text: str) -> str:
    """The type of an argument that names a file or folder to write."""
    if not text:
        raise argparse.ArgumentTypeError("the name is empty")
    return text


def _in_range(check: Callable, kind: type, what: str, least: float, most: float, text: str) -> Any:
    value: Any = text
    # What is no number is shown as it was written.
    with contextlib.suppress(ValueError):
        value = kind(text)
    return _checked(check, value, what, least, most)


positive = whole("it", 1, limits.COUNT)
"""The type of an argument that counts something."""
seed = whole("a seed", 0, limits.SEEDS - 1)
samples = whole("the samples", 1, limits.SAMPLES)
candidates = whole("the candidates", 1, limits.SAMPLES)
frames = whole("the frames of a film", 1, limits.FRAMES)
steps = whole("the steps", 1, limits.STEPS)
strength = number("the strength of guidance", -limits.GUIDANCE, limits.GUIDANCE)
"""Types of arguments; the functions that take the values check the same ranges."""


def _checked(check: Callable, *values: Any) -> Any:
    """check(*values), whose ValueError becomes the words of argparse: it shows no other error's own."""
    try:
        return check(*values)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def size(text: str) -> tuple[int, int]:
    """The type of an argument that is a height and a width, like 64x96."""
    try:
        height, width = (int(part) for part in text.lower().split("x"))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH like 64x96, got {text[:60]}") from error
    for side in (height, width):
        _checked(limits.whole, side, "height and width", 1, limits.SIDE)
    return height, width


def options(pairs: list[str]) -> dict[str, Any]:
    """Returns the values of NAME=VALUE: ["frames=81", "mirror-world=true"] → {"frames": 81, "mirror_world": True}."""
    values = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"options are written NAME=VALUE, got {limits.shown(pair)}")
        values[name.strip().replace("-", "_")] = read_yaml(value, f"the value of {limits.shown(name)}")
    return values


def out_folder(args: argparse.Namespace) -> Path:
    """Returns the folder of --out, by default out/<name of the screenplay>.

    Raises:
        ValueError: it is a file, or cannot be written.
    """
    # A name of dots alone would be another folder.
    stem = "screenplay" if args.screenplay == "-" else Path(args.screenplay).stem.strip(". ") or "screenplay"
    out = Path(args.out) if args.out else Path("out") / stem
    check_place(out, folder=True)
    return out


def screenplay_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `read_screenplay`."""
    parser.add_argument("screenplay", help="screenplay file (docs/screenplays.md); - reads standard input")
    scene_argument(parser)


def scene_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --scene."""
    parser.add_argument(
        "--scene",
        type=positive,
        metavar="N",
        help="scene of a script with several (default: the first; all are listed)",
    )


def placement_arguments(parser: argparse.ArgumentParser, offload: bool = True) -> None:
    """Adds how models run: --mesh, --dtype, --attention, and with films --offload."""
    parser.add_argument(
        "--mesh", metavar="AXES", help="devices of the model, e.g. data=2,fsdp=4,sequence=2 (default: one device)"
    )
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16"), help="of weights and activations (default: float32 on a CPU)"
    )
    parser.add_argument(
        "--attention", choices=("xla", "cudnn", "splash"), help="attention kernel (default: the fastest here)"
    )
    if offload:
        parser.add_argument(
            "--offload",
            choices=("none", "text", "experts"),
            help="weights that wait in the memory of the host (default: what does not fit the device)",
        )
        parser.add_argument(
            "--quantize", choices=("int8", "float8"), help="weights of the experts in 8 bits (docs/faster.md)"
        )


def lora_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --lora, adapters of films."""
    parser.add_argument(
        "--lora",
        action="append",
        default=[],
        metavar="[NAME=]FILE[@SCALE][:high|low]",
        help="an adapter in any format that can be read, for both experts or one; with a name it counts in the shots "
        "that ask for it; may be given several times",
    )


def compose_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds which adapters the shots of films ask for, and how they are put together; docs/cinematic.md."""
    group = parser.add_argument_group("adapters of shots")
    group.add_argument("--style", default="", metavar="LIST", help='adapters for all shots, "zoom-in, low-angle 0.6"')
    group.add_argument(
        "--words", action="store_true", help="shots that name no adapter ask for those that their captions name"
    )
    group.add_argument(
        "--ramp",
        type=whole("the frames of a ramp", 0, limits.FRAMES),
        default=0,
        metavar="FRAMES",
        help="let weights change over so many frames at a cut (default: at once)",
    )
    rule_arguments(group)


def rule_arguments(group: Any) -> None:
    """Adds how the adapters of a shot are put together: --compose and what belongs to it."""
    group.add_argument(
        "--compose",
        choices=("merge", "switch", "composite", "cliplora"),
        help="how the adapters of a shot are put together (default: merge)",
    )
    group.add_argument(
        "--every",
        type=whole("the steps from one decision to the next", 1, limits.STEPS),
        default=5,
        metavar="STEPS",
        help="steps of a turn with switch, and between decisions with cliplora (default 5)",
    )
    group.add_argument(
        "--choose",
        choices=("soft", "hard", "ahead"),
        help="with cliplora: shares by what is missing, the adapter that is missed most alone, or the best of one step "
        "with each (default: soft)",
    )
    group.add_argument(
        "--scorer", metavar="MODEL", help="with cliplora: the CameraCLIP that scores frames (default: clip_small)"
    )
    group.add_argument("--balance", action="store_true", help="make the adapters change every layer equally much")


def rule_of(args: argparse.Namespace) -> dict[str, Any]:
    """What the arguments of `rule_arguments` say, as fields of `cinematic.guidance.Compose`.

    Raises:
        ValueError: a value that the rule has no use for.
    """
    if args.compose != "cliplora" and (args.scorer or args.choose):
        raise ValueError("--scorer and --choose are for --compose cliplora")
    options = {"every": args.every, "choose": args.choose or "soft", "scorer": args.scorer, "balance": args.balance}
    return {"rule": args.compose or "merge", **options}


def compose_of(args: argparse.Namespace) -> Any:
    """What the arguments of `compose_arguments` say; None where they say nothing.

    Raises:
        ValueError: a style that cannot be read, or a rule that needs what is not there.
    """
    rule = rule_of(args)
    if not (args.style.strip() or args.compose or args.words or args.ramp or args.balance):
        return None
    from shotverse_jax.cinematic.guidance import Compose
    from shotverse_jax.conversion.adapters import parse_lora

    names = tuple(name for text in args.lora if (name := parse_lora(text).name))
    return Compose(style=args.style, words=args.words, names=names, ramp=args.ramp, **rule)


def faster_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what makes films faster and changes them a little; docs/faster.md has the errors."""
    parser.add_argument(
        "--guidance-range", type=_range, metavar="FIRST-LAST", help="part of the steps that have guidance, e.g. 0-0.75"
    )
    parser.add_argument("--one-pass", action="store_true", help="prompt and negative prompt in one forward pass")
    parser.add_argument(
        "--skip",
        type=number("the change that is skipped", 0, 1),
        metavar="X",
        help="go on without a pass while little changes, e.g. 0.05",
    )


def faster_of(args: argparse.Namespace) -> dict[str, Any]:
    """The options of films that the arguments of `faster_arguments` give; those that were not given are left out."""
    values = {"guidance_range": args.guidance_range, "one_pass": args.one_pass or None, "skip": args.skip}
    return {name: value for name, value in values.items() if value is not None}


def _range(text: str) -> tuple[float, float]:
    from shotverse_jax.infer.execution import read_range

    return _checked(read_range, text)


def placement_of(args: argparse.Namespace) -> dict[str, Any]:
    """What the arguments of `placement_arguments` give to `api.load`."""
    from shotverse_jax.infer.execution import read_mesh

    place = {"mesh": read_mesh(args.mesh), "dtype": args.dtype, "attention": args.attention}
    films = ("offload", "quantize")
    return place | {name: getattr(args, name) for name in films if hasattr(args, name)}


def trajectory_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `read_trajectory`."""
    parser.add_argument("trajectory", help="trajectory file in any format that can be read")
    read_arguments(parser)


def read_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds how a trajectory file is read: --from and --read."""
    parser.add_argument(
        "--from", dest="fmt", metavar="FORMAT", help="format of the trajectory file (default: by its name and content)"
    )
    parser.add_argument(
        "--read",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="what the trajectory file does not tell, e.g. up=z, quaternion=wxyz, width=800, fov=50, fps=24, "
        "mirror_world=true, lens=pinhole, lost=skip, tolerance=0.02 (docs/formats.md); or an option of its format",
    )


def read_trajectory(args: argparse.Namespace) -> Any:
    """Returns the trajectory that the arguments name, and says what was assumed in reading it."""
    from shotverse_jax.camera import formats

    trajectory = formats.read_trajectory(args.trajectory, args.fmt, **options(args.read))
    say_notes(args, trajectory.notes)
    return trajectory


def say_notes(args: argparse.Namespace, notes: Iterable[str]) -> None:
    """Says on stderr what was assumed, changed or left out."""
    for note in notes:
        Terminal(args.quiet).say(f"note: {note}")
