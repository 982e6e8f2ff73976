"""`shotverse gendop`: GenDoP's camera paths of captions, pictures and depth maps, one or a whole split of DataDoP."""

import argparse
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shotverse_jax.commands.batch import report, stop_on_signals
from shotverse_jax.commands.common import (
    Terminal,
    placement_arguments,
    placement_of,
    samples,
    seed,
    use_compilation_cache,
)
from shotverse_jax.config import MODES
from shotverse_jax.files import check_place, reading

HELP = "Make GenDoP's camera paths of a caption, a picture and its depth, or of a split of DataDoP."
EXAMPLES = (
    'shotverse gendop --model gendop-text-motion --text "The camera moves right." --out outputs',
    "shotverse gendop --model gendop-text-rgbd --data DataDoP --split test --out outputs/text_rgbd",
)
PUBLISHED = {"text": "gendop-text-motion", "depth+image+text": "gendop-text-rgbd"}
"""The models that are taken where none is named, if `shotverse get` has fetched them."""

KEYS = {"motion": "Movement", "directorial": "Concise Interaction"}
"""Further names of captions, beside those of `data.datadop.shots.CAPTIONS`."""

NO_CAPTION = "No caption provided"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument("--mode", choices=tuple(MODES), help="what the path is made of (default: what is given)")
    parser.add_argument("--model", metavar="FOLDER", help="name or folder of a GenDoP that `convert` or `get` made")
    parser.add_argument("--text", help="the caption")
    parser.add_argument("--text-path", metavar="FILE", help="captions: DataDoP's .json, or a text file, one a line")
    parser.add_argument("--text-key", metavar="KEY", help="caption of the .json or the data set, e.g. Movement")
    parser.add_argument("--image", metavar="FILE", help="picture of the first frame")
    parser.add_argument("--depth", metavar="FILE", help="its depth: .npy, .png (thousandths) or .exr")
    parser.add_argument("--data", metavar="DATADOP", help="a data set like DataDoP: all shots of --split are made")
    parser.add_argument("--split", default="test", help="part of the data set (default test)")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of results")
    parser.add_argument("--name", help="name of the results, e.g. text_motion/case1 (default: of the file, else case)")
    parser.add_argument("--samples", type=samples, default=1, metavar="N", help="paths of each, in folders sample_*")
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="another seed, another path (default 0)")
    parser.add_argument(
        "--pred-scale",
        choices=("none", "exp", "pow10"),
        default="none",
        help="unit: GenDoP's files', the longest way is 1 (default none); exp of its pictures; pow10 as predicted",
    )
    parser.add_argument(
        "--sampling", choices=("top_k", "greedy", "nucleus"), default="top_k", help="how to pick tokens (default top_k)"
    )
    flag = argparse.BooleanOptionalAction
    parser.add_argument("--plot", action=flag, default=True, help="draw the path in three views (default)")
    parser.add_argument("--preview", action=flag, help="film the path on the stage (default: not for many)")
    placement_arguments(parser, offload=False)


def run(args: argparse.Namespace) -> int:
    """Makes the paths; returns 0, or of several 3 if one failed, or 143 if it was stopped by SIGTERM."""
    # Mistakes in the arguments are found before JAX is imported.
    terminal = Terminal(args.quiet)
    mode = args.mode or (None if args.data else _given(args))
    model = args.model or PUBLISHED.get(mode)
    if model is None:
        raise ValueError("say which network with --model: a folder that `convert` made, or a name that `get` fetched")
    check_place(args.out, folder=True)
    use_compilation_cache(least=0.0)
    from shotverse_jax.infer.batch import run_batch
    from shotverse_jax.infer.decode import SAMPLERS
    from shotverse_jax.infer.gendop import GenDoPPlanner, look
    from shotverse_jax.infer.gendop_work import GenDoPWork
    from shotverse_jax.infer.job import identity

    made = look(model)
    mode = mode or made.mode
    key = _key(args.text_key) or ("Concise Interaction" if made.directorial or mode != "text" else "Movement")
    cases = list(_data(args, mode, key) if args.data else _alone(args, mode, key, terminal))
    planner = GenDoPPlanner.load(model, **placement_of(args)).conditioned(mode)
    work = GenDoPWork(
        planner,
        {"model": identity(model)},
        sampling=SAMPLERS[args.sampling],
        pred_scale=args.pred_scale,
        plot=args.plot,
        preview=(len(cases) == 1 and not args.data) if args.preview is None else args.preview,
    )
    if len(cases) == 1 and not args.data:
        return _make_one(work, cases[0], args, terminal)
    stop = threading.Event()
    stop_on_signals(stop)
    summary = run_batch(cases, work, args.out, stop=stop, progress=terminal)
    return report(summary, args.out, stop.is_set())


def _make_one(work: Any, case: Any, args: argparse.Namespace, terminal: Terminal) -> int:
    from shotverse_jax.infer.batch import Worker

    for note in work.notes:
        terminal.say(f"note: {note}")
    [problem] = work.buckets([case])
    if isinstance(problem, Exception):
        raise problem
    [record] = Worker(work, Path(args.out)).run([case])
    if record["error"]:
        raise ValueError(record["error"])
    for number, words in enumerate(record["tags"]):
        terminal.say(f"{f'sample {number}: ' if args.samples > 1 else ''}{words}")
    folder = "sample_*/" if args.samples > 1 else ""
    terminal.say(f"wrote {args.out}/{folder}{case.id}_transforms_pred.json and the files beside it")
    return 0


def _given(args: argparse.Namespace) -> str:
    """The mode of what is given."""
    text = args.text is not None or args.text_path is not None
    from shotverse_jax.infer.gendop import mode_of

    return mode_of(text, args.image is not None, args.depth is not None)


def _key(name: str | None) -> str | None:
    from shotverse_jax.data.datadop.shots import CAPTIONS

    return None if name is None else {**CAPTIONS, **KEYS}.get(name.lower(), name)


def _alone(args: argparse.Namespace, mode: str, key: str, terminal: Terminal) -> Iterator[Any]:
    """The cases of --text, --text-path, --image and --depth."""
    conditions = mode.split("+")
    for condition, value in (("image", args.image), ("depth", args.depth)):
        if condition in conditions and value is None:
            raise ValueError(f"the mode {mode} needs --{condition} FILE")
        if condition not in conditions and value is not None:
            terminal.say(f"note: the mode {mode} does not read --{condition}")
    if "text" in conditions and args.text is None and args.text_path is None:
        raise ValueError(f"the mode {mode} needs --text or --text-path")
    if "text" not in conditions and (args.text or args.text_path):
        terminal.say(f"note: the mode {mode} does not read captions")
    captions, stem = [NO_CAPTION], None
    if args.text_path is not None:
        captions, stem = _captions(Path(args.text_path), key if "text" in conditions and args.text is None else None)
    if args.text is not None and "text" in conditions:
        if len(captions) > 1:
            raise ValueError("give --text or a text file of captions, not both")
        captions = [args.text]
    name = args.name or stem or _stem(args.image) or "case"
    _check_name(name)
    copied = args.text_path if str(args.text_path).lower().endswith(".json") else None
    source = str(args.text_path)[: -len("_caption.json")] if str(args.text_path).endswith("_caption.json") else None
    for number, caption in enumerate(captions, 1):
        files = {"source": source, "captions": copied}
        files |= {part: getattr(args, part) for part in ("image", "depth") if part in conditions}
        try:
            yield _case(name if len(captions) == 1 else f"{name}_{number}", caption, args, files)
        except ValueError as error:
            place = "--text" if args.text_path is None or args.text is not None else args.text_path
            raise ValueError(f"{place}: {error}") from error


def _captions(path: Path, key: str | None) -> tuple[list[str], str]:
    """(captions, name for the results) of a file; the caption of a .json is that of the key, if one is asked for."""
    from shotverse_jax.data.datadop.shots import read_captions
    from shotverse_jax.text_files import decode

    if path.suffix.lower() == ".json":
        captions = read_captions(path)
        if key is not None and not captions.get(key, "").strip():
            raise ValueError(f"{path} has no caption {key!r}; it has {', '.join(captions) or 'none'}")
        return [captions[key] if key else NO_CAPTION], _stem(path)
    with reading(path, "captions"):
        lines = [line for line in decode(path.read_bytes()).text.split("\n") if line.strip()]
    if not lines:
        raise ValueError(f"{path} holds no caption")
    return lines, path.stem


def _stem(path: str | Path | None) -> str | None:
    """The name of a file without its ending and the part that says what it is, as in case1_rgb.png."""
    return Path(path).stem.removesuffix("_caption").removesuffix("_rgb") if path is not None else None


def _data(args: argparse.Namespace, mode: str, key: str) -> Iterator[Any]:
    """The cases of a data set; a shot that cannot be used is a `Refused`."""
    from shotverse_jax.data.datadop.shots import list_shots, read_captions
    from shotverse_jax.inputs.items import Refused

    if given := [name for name in ("text", "text_path", "image", "depth", "name") if getattr(args, name) is not None]:
        raise ValueError(f"--data has all of a shot; leave out --{given[0].replace('_', '-')}")
    shots, conditions = list_shots(args.data, args.split, "caption"), mode.split("+")
    if not shots:
        raise ValueError(f"{args.data} has no shots: expected {args.split}/<video>/<shot>_caption.json")
    for shot in shots:
        name, caption = f"{args.split}/{shot.name}", NO_CAPTION
        files = {"source": str(shot.stem)}
        files |= {
            part: str(shot.path(own)) for part, own in (("image", "rgb"), ("depth", "depth")) if part in conditions
        }
        try:
            if "text" in conditions:
                caption = read_captions(shot.path("caption")).get(key, "")
                if not caption.strip():
                    raise ValueError(f"{shot.path('caption')} has no caption {key!r}")
            yield _case(name, caption, args, files)
        except ValueError as error:
            yield Refused(name, str(error))


def _check_name(name: str) -> None:
    if Path(name).is_absolute() or ".." in Path(name).parts or not Path(name).name.strip(". "):
        raise ValueError(f"a name of results is like case1 or text_motion/case1, got {name!r}")


def _case(name: str, caption: str, args: argparse.Namespace, files: dict[str, str | None]) -> Any:
    from shotverse_jax.inputs.cases import Case
    from shotverse_jax.screenplay import Screenplay, Shot

    _check_name(name)
    return Case(name, Screenplay("", (Shot(caption),)), seed=args.seed, samples=args.samples, **files)
