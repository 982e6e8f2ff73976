"""`shotverse cinematic compare`: films with adapters beside films without."""

import argparse
import csv
import io
import json
import threading
from pathlib import Path
from typing import Any

from shotverse_jax import limits
from shotverse_jax.commands.batch import report, stop_on_signals
from shotverse_jax.commands.common import (
    Terminal,
    faster_arguments,
    faster_of,
    placement_arguments,
    placement_of,
    rule_arguments,
    rule_of,
    seed,
    show,
    steps,
    strength,
    use_compilation_cache,
    whole,
)

SHEETS = 4
"""Pairs of films of a contact sheet."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `compare` to the parser of `cinematic`; --lora has those of films."""
    group = parser.add_argument_group("compare")
    group.add_argument(
        "--films", type=whole("the films", 1, limits.COUNT), default=16, help="pairs of films of each case (default 16)"
    )
    group.add_argument("--model", help="a controller, best one without cameras (default: controller_small)")
    group.add_argument(
        "--lora", action="append", default=[], metavar="[NAME=]FILE", help="adapters, as `shotverse film` takes them"
    )
    group.add_argument("--judge", metavar="MODEL", help="the CameraCLIP that scores the films (default: clip_small)")
    group.add_argument(
        "--poses",
        metavar="MODEL",
        help="network that estimates cameras, a pose net or a Pi3, or none (default: pose_small)",
    )
    group.add_argument("--prompts", metavar="FILE", help="what films show, a line each (default: people of the stage)")
    group.add_argument("--steps", type=steps, help="denoising steps (default: the model's)")
    group.add_argument("--cfg", type=strength, help="strength of text guidance (default: the model's)")
    group.add_argument("--seed", type=seed, default=0, help="of the first film; the others follow (default 0)")
    group.add_argument("--json", action="store_true", help="the table for programs")
    group.add_argument("--csv", action="store_true", help="the table for spreadsheets")
    rule_arguments(group)
    faster_arguments(parser)
    placement_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Makes the films that are not there yet, shows the table and draws the sheets; returns the exit code."""
    if args.json and args.csv:
        raise ValueError("--json and --csv are two forms of one table; give one")
    contents = _contents(args.prompts)
    use_compilation_cache()
    from shotverse_jax.cinematic.compare import WITHOUT, Case, films_of, read_records, rows_of
    from shotverse_jax.cinematic.phrases import CLASSES
    from shotverse_jax.infer.batch import run_batch

    cases, way = [Case.read(text) for text in args.names or CLASSES], args.compose or "merge"
    terminal, stop = Terminal(args.quiet), threading.Event()
    work, crew, judges = _job(args).load(terminal.say)
    films = films_of(cases, (WITHOUT, way), args.films, crew.config, args.seed, contents)
    stop_on_signals(stop)
    summary = run_batch(films, work, args.out, stop=stop, progress=terminal)
    records = read_records(films, Path(args.out))
    rows = rows_of(records, cases, way, judges.tells)
    for case in cases:
        _draw(case, way, records, Path(args.out))
    if args.json:
        show(json.dumps([row.values() for row in rows], indent=2))
    elif args.csv:
        show(_csv(rows))
    else:
        _show(rows)
    return report(summary, args.out, stop.is_set(), terminal.say)


def _contents(path: str | None) -> tuple[str, ...]:
    """The lines of a file of prompts."""
    if path is None:
        return ()
    from shotverse_jax.files import reading
    from shotverse_jax.text_files import decode

    with reading(Path(path), "a file of prompts"):
        lines = decode(Path(path).read_bytes()).text.splitlines()
    found = tuple(line.strip().rstrip(".") for line in lines if line.strip())
    if not found:
        raise ValueError(f"{path} has no prompt")
    return found


def _job(args: argparse.Namespace) -> Any:
    from shotverse_jax.cinematic.guidance import Compose
    from shotverse_jax.evaluation.tracks.compare import CompareJob

    rule, sampling = rule_of(args), {"steps": args.steps, "guidance": args.cfg} | faster_of(args)
    return CompareJob(
        args.model,
        tuple(args.lora),
        Compose(**rule),
        args.judge,
        args.poses,
        {name: value for name, value in sampling.items() if value is not None},
        placement_of(args),
    )


def _draw(case: Any, way: str, records: list, out: Path) -> None:
    """The contact sheet of a case: films without adapters beside those with them."""
    import numpy as np

    from shotverse_jax.cinematic.compare import FILM, WITHOUT
    from shotverse_jax.views.contact_sheet import plot_beside
    from shotverse_jax.views.video import probe_video, read_video

    found = {(record["way"], record["number"]): record for record in records if record["case"] == case.label}
    numbers = [n for n in sorted({n for _, n in found}) if {(WITHOUT, n), (way, n)} <= found.keys()][:SHEETS]
    if not numbers:
        return

    def frames(record):
        path = out / record["id"] / FILM
        info = probe_video(path)
        return read_video(path, np.array([0, info.frames // 2, info.frames - 1]), info.width, info.height)

    pairs = [tuple(frames(found[each, number]) for each in (WITHOUT, way)) for number in numbers]
    captions = [found[WITHOUT, number]["caption"] for number in numbers]
    plot_beside(pairs, captions, out / f"{case.label}.png", ("without adapters", f"with them ({way})"), case.label)


def _csv(rows: list) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, rows[0].values() if rows else (), lineterminator="\n")
    table.writeheader()
    table.writerows(row.values() for row in rows)
    return text.getvalue().rstrip("\n")


def _show(rows: list) -> None:
    """The table, and how many classes are clearly above the base."""
    labels = [row.name if row.name == row.case else f"{row.case}: {row.name}" for row in rows]
    wide = max(map(len, [*labels, "class"]))
    columns = "without   with   gain ± 2 s.e."
    show(f"{'class':<{wide}}  films   CLIP: {columns}   camera: {columns}")
    for label, row in zip(labels, rows, strict=True):
        show(f"{label:<{wide}}  {row.films:5d}  {_shown(row.clip)}  {_shown(row.camera)}".rstrip())
    shares = [row.clip.clear or (row.camera is not None and row.camera.clear) for row in rows]
    show(f"clearly above the films without adapters (*): {sum(shares)} of {len(shares)}")


def _shown(share: Any) -> str:
    if share is None:
        return f"{'-':>13}{'':26}"
    error = "   -" if share.error != share.error else f"{share.error:.2f}"
    return f"{share.without:13.2f} {share.with_:6.2f}  {share.gain:+.2f} ± {error} {'*' if share.clear else ' '}"
