"""`shotverse datadop`: the steps by which DataDoP is made, each for all shots of a folder; what is there is kept."""

import argparse
import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from shotverse_jax.commands.common import Terminal, positive, printable, read_arguments, say_notes, show
from shotverse_jax.files import Unwritable, check_place, owned

HELP = "Make and check data sets like GenDoP's DataDoP: build, clean, caption, plot, check, statistics."
EXAMPLES = (
    "shotverse datadop build Monst3r --out DataDoP --split train",
    "shotverse datadop clean DataDoP --split train",
    "shotverse datadop caption DataDoP",
    "shotverse datadop check DataDoP --write",
    "shotverse datadop statistics --stage 2000",
)
ACTIONS = ("build", "clean", "caption", "plot", "check", "statistics")
SPLITS = ("train", "test")
FAILED = 3


class NoSubject(ValueError):
    """A file does not say where its subject is; the others will not either."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument(
        "action",
        choices=ACTIONS,
        help="build: shots from MonST3R's results; clean: *_transforms_cleaning.json from *_traj.txt; caption: "
        "*_caption.json; plot: *_traj_cleaning.png; check: read everything; statistics: mean and scale of tokens "
        "around the subject",
    )
    parser.add_argument(
        "source", nargs="?", help="the data set; of build MonST3R's results; of clean also one file of a path"
    )
    parser.add_argument("--split", help="part of the data set (default: all of train and test that it has)")
    parser.add_argument(
        "--out",
        help="of build: the data set to write; of clean: the file to write for one path; of statistics: a JSON file",
    )
    parser.add_argument("--strict", action="store_true", help="end at the first bad shot (default: list it, go on)")
    parser.add_argument("--overwrite", action="store_true", help="make again what is there")
    parser.add_argument(
        "--whole", action="store_true", help="of build and clean: the longest stretch, to its end (default: as GenDoP)"
    )
    parser.add_argument(
        "--endpoint", metavar="URL", help="of caption: an OpenAI-compatible server (default: a template)"
    )
    parser.add_argument("--model", metavar="NAME", help="of caption: the model there")
    parser.add_argument(
        "--key-variable", metavar="NAME", default="OPENAI_API_KEY", help="environment variable with the server's key"
    )
    parser.add_argument(
        "--frames", metavar="DIR", help="of caption: <video>/<shot>/*.jpg of the shots (default: the first frame alone)"
    )
    parser.add_argument("--write", action="store_true", help="of check: write <split>_valid.txt of the good shots")
    parser.add_argument(
        "--stage",
        type=positive,
        metavar="N",
        help="of statistics: N shots of the stage, in place of a data set",
    )
    parser.add_argument(
        "--subject-at-origin",
        action="store_true",
        help="of statistics: files that do not say where the subject is have it at the origin, and y up, as VERTIGO's",
    )
    read_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Makes the files; returns 0, or 3 if there were bad shots."""
    _check_arguments(args)
    if args.stage:
        return _statistics(args, _stage_places(args))
    if args.action == "clean" and Path(args.source).is_file():
        return _clean_file(args)
    if args.action == "build":
        return _build(args)
    shots = {split: _shots(args, split) for split in _splits(args)}
    if not any(shots.values()):
        raise ValueError(f"{args.source} has no shots: expected <split>/<video>/<shot>_…, or the same without <split>")
    if args.action == "statistics":
        every = [shot for found in shots.values() for shot in found]
        places = _folder_places(args, every)
        return _statistics(args, places) or (FAILED if len(places) < len(every) else 0)
    work, done = _work(args)
    bad = 0
    for split, found in shots.items():
        with _owned(args, split):
            good = _each(args, found, work, done)
            bad += len(found) - len(good)
            if args.action == "check":
                show(f"{split or args.source}: {len(good)} of {len(found)} shots are good")
                if args.write:
                    from shotverse_jax.data.datadop.shots import write_list

                    show(f"wrote {write_list(args.source, split, good)}")
    return FAILED if bad else 0


def _check_arguments(args: argparse.Namespace) -> None:
    statistics = args.action == "statistics"
    if not statistics and (args.stage or args.subject_at_origin):
        raise ValueError("--stage and --subject-at-origin are for statistics")
    if bool(args.source) == bool(args.stage):
        raise ValueError("give one data set" + (", or --stage N" if statistics else ""))
    if args.source and not Path(args.source).exists():
        raise ValueError(f"{args.source}: no such file or folder")
    if args.action == "caption" and bool(args.endpoint) != bool(args.model):
        raise ValueError("--endpoint and --model go together")
    if statistics and args.out:
        check_place(args.out)


def _owned(args: argparse.Namespace, split: str | None) -> contextlib.AbstractContextManager:
    """Keeps other processes that write out of a split; whoever only reads needs it not."""
    from shotverse_jax.data.datadop.shots import root_of

    writes = args.action != "check" or args.write
    return owned(root_of(args.source, split)) if writes else contextlib.nullcontext()


def _splits(args: argparse.Namespace) -> list[str | None]:
    there = [split for split in SPLITS if (Path(args.source) / split).is_dir()]
    return [args.split] if args.split else there or [None]


def _shots(args: argparse.Namespace, split: str | None) -> list[Any]:
    """The shots of a split: those of the list, or those that have the file that a step begins with."""
    from shotverse_jax.data.datadop.shots import list_shots

    # A list that is to be written anew must not decide what is in it.
    part = {"clean": "traj", "check": "traj"}.get(args.action, "transforms")
    return list_shots(args.source, split, part, listed=not args.write)


Step = tuple[Callable[[Any], Iterable[str]], Callable[[Any], bool]]
"""(makes the files of a shot and returns what is to be said, whether they are there)"""


def _work(args: argparse.Namespace) -> Step:
    return {"clean": _clean, "caption": _caption, "plot": _plot, "check": _check}[args.action](args)


def _clean(args: argparse.Namespace) -> Step:
    from shotverse_jax.data.datadop.build import clean_shot
    from shotverse_jax.data.datadop.shots import write_shot

    def work(shot):
        cleaned = clean_shot(shot, args.whole)
        write_shot(shot, cleaned=cleaned.trajectory)
        return cleaned.notes

    return work, lambda shot: shot.has("transforms")


def _plot(args: argparse.Namespace) -> Step:
    from shotverse_jax.camera.formats import read_trajectory
    from shotverse_jax.views.three_views import plot_three_views

    def work(shot):
        plot_three_views(read_trajectory(shot.path("transforms"), "nerfstudio"), shot.path("plot"), shot.name)
        return ()

    return work, lambda shot: shot.has("plot")


def _check(args: argparse.Namespace) -> Step:
    from shotverse_jax.data.datadop.shots import problems

    def work(shot):
        if found := problems(shot):
            raise ValueError("; ".join(found))
        return ()

    return work, lambda shot: False


def _caption(args: argparse.Namespace) -> Step:
    from shotverse_jax.data.datadop import captions
    from shotverse_jax.data.datadop.shots import CAPTIONS, read_captions, write_shot
    from shotverse_jax.endpoint import endpoint

    ask = endpoint(args.endpoint, args.model, args.key_variable) if args.endpoint else None

    def work(shot):
        found = captions.shot_segments(shot)
        made = captions.template(found) if ask is None else captions.asked(found, _picture(args, shot), ask)
        kept = read_captions(shot.path("caption")) if shot.has("caption") else {}
        write_shot(
            shot, captions={key: (kept | made)[key] for key in (*CAPTIONS.values(), *kept) if key in kept | made}
        )
        return ()

    def done(shot):
        wanted = [CAPTIONS["movement"]] if ask is None else list(CAPTIONS.values())
        return shot.has("caption") and all(read_captions(shot.path("caption")).get(key) for key in wanted)

    return work, done


def _picture(args: argparse.Namespace, shot: Any) -> Any:
    from shotverse_jax.data.datadop.captions import frames_grid

    frames = [shot.path("rgb")] if shot.has("rgb") else []
    if args.frames:
        folder = Path(args.frames) / shot.name
        frames = sorted(path for end in ("jpg", "jpeg", "png") for path in folder.glob(f"*.{end}"))
        if not frames:
            raise ValueError(f"{folder} has no frames")
    return frames_grid(frames) if frames else None


def _each(args: argparse.Namespace, shots: list[Any], work: Callable, done: Callable) -> list[str]:
    """Works on every shot; returns the names of those that are whole. Bad ones are listed on stderr."""
    from shotverse_jax.endpoint import NoAnswer

    terminal, good = Terminal(args.quiet), []
    for number, shot in enumerate(shots, 1):
        try:
            if args.overwrite or not done(shot):
                for note in work(shot):
                    terminal.say(f"{shot.name}: {note}")
            good.append(shot.name)
        except ValueError as error:
            # A server that refuses, a full disk and files without a subject are not of this shot alone.
            if args.strict or isinstance(error, NoAnswer | Unwritable | NoSubject):
                raise ValueError(f"{shot.name}: {error}") from error
            _list_bad(shot.name, error)
        terminal("shots", number, len(shots))
    return good


def _list_bad(name: str, error: ValueError) -> None:
    import sys

    # With --quiet too: which shots are left out is an error's message.
    print(printable(f"left out {name}: {' '.join(str(error).split())}"), file=sys.stderr)  # noqa: T201


def _build(args: argparse.Namespace) -> int:
    from shotverse_jax.data.datadop.build import build_shot, find_clips
    from shotverse_jax.data.datadop.shots import PARTS, ShotFiles

    if not args.out:
        raise ValueError("say with --out where the data set goes")
    root = Path(args.out) / args.split if args.split else Path(args.out)
    check_place(root, folder=True)
    clips = dict(find_clips(args.source))
    shots = [ShotFiles(name, root / name) for name in clips]
    parts = [part for part in PARTS if part not in ("caption", "plot")]

    def work(shot):
        return build_shot(clips[shot.name], shot, args.whole)

    with owned(root):
        good = _each(args, shots, work, lambda shot: all(shot.has(part) for part in parts))
    show(f"{root}: {len(good)} of {len(shots)} shots")
    return FAILED if len(good) < len(shots) else 0


def _stage_places(args: argparse.Namespace) -> list[Any]:
    from shotverse_jax.data.datadop.statistics import places_of
    from shotverse_jax.data.gendop_source import StageShots

    terminal, shots, found = Terminal(args.quiet), StageShots("train", (), alone=True), []
    for index in range(args.stage):
        found.append(places_of(shots(index, 0).trajectory))
        terminal("shots", index + 1, args.stage)
    return found


def _folder_places(args: argparse.Namespace, shots: list[Any]) -> list[Any]:
    from shotverse_jax.camera.formats import read_trajectory
    from shotverse_jax.data.datadop.statistics import places_of

    found = []

    def work(shot):
        path = read_trajectory(shot.path("transforms"), "nerfstudio")
        if path.stage_34 is None and not args.subject_at_origin:
            raise NoSubject(
                "it does not say where its subject is; if all files have it at the origin and y up, as VERTIGO's, "
                "say --subject-at-origin"
            )
        found.append(places_of(path, args.subject_at_origin))
        return ()

    _each(args, shots, work, lambda shot: False)
    return found


def _statistics(args: argparse.Namespace, places: list[Any]) -> int:
    from shotverse_jax.data.datadop.statistics import token_statistics
    from shotverse_jax.files import json_text, write_json

    found = token_statistics(places)
    if args.out:
        write_json(args.out, found, indent=2)
    show(json_text(found, indent=2))
    return 0


def _clean_file(args: argparse.Namespace) -> int:
    from shotverse_jax.camera.cleaning import clean
    from shotverse_jax.camera.formats import write_trajectory
    from shotverse_jax.commands.common import read_trajectory
    from shotverse_jax.data.datadop.build import clean_shot
    from shotverse_jax.data.datadop.shots import PARTS, ShotFiles

    source, ending = Path(args.source), PARTS["traj"]
    stem = Path(str(source).removesuffix(ending)) if source.name.endswith(ending) else source.with_suffix("")
    out = Path(args.out) if args.out else Path(f"{stem}{PARTS['transforms']}")
    check_place(out)
    shot = ShotFiles(stem.name, stem)
    if source == shot.path("traj") and shot.has("intrinsics"):
        cleaned = clean_shot(shot, args.whole)
    else:
        args.trajectory = args.source
        cleaned = clean(read_trajectory(args), args.whole)
    say_notes(args, cleaned.notes)
    write_trajectory(cleaned.trajectory, out, "nerfstudio", monst3r_im_id=True)
    Terminal(args.quiet).say(f"wrote {out}")
    return 0
