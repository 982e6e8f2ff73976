"""`shotverse eval track-a`: planned cameras against reference cameras and captions."""

import argparse
import csv
import io
import json
from typing import Any

from shotverse_jax.commands.clatr import network_arguments
from shotverse_jax.commands.common import Terminal, say_notes, show

_LEFT_OUT = 5  # of the scenes that are left out, so many are named


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of Track A to the parser of `shotverse eval`."""
    group = parser.add_argument_group("of track-a (docs/track_a.md)")
    network_arguments(group)
    group.add_argument("--no-clatr", action="store_true", help="tags only, which need no network")
    group.add_argument(
        "--upstream", action="store_true", help="beside ours, the scores as GenDoP's released evaluation counts them"
    )
    group.add_argument(
        "--tag-source", choices=("raw", "recon"), default="raw", help="tag cameras, or what CLaTr decodes"
    )
    group.add_argument(
        "--scale",
        choices=("match", "none", "unit"),
        default="match",
        help="the unit of length of both sides (match)",
    )
    group.add_argument("--latent", choices=("mean", "sample"), default="mean", help="of CLaTr's distributions")
    group.add_argument("--strict", action="store_true", help="stop at the first scene that cannot be compared")
    group.add_argument("--csv", action="store_true", help="a table for other programs")


def run(args: argparse.Namespace) -> int:
    """Scores the folders and shows the scores; returns the exit code 0."""
    if not 1 <= len(args.folders) <= 2:
        raise ValueError("give the folder of predictions and that of references: shotverse eval track-a PRED REF")
    from shotverse_jax.evaluation.features.clatr import CLaTrReader
    from shotverse_jax.evaluation.tracks import track_a
    from shotverse_jax.evaluation.tracks.pairs import read_pairs

    terminal, pred, ref = Terminal(args.quiet), args.folders[0], args.folders[-1]
    found = read_pairs(pred, ref, args.caption, args.strict)
    rest = [f"… and {len(found.left_out) - _LEFT_OUT} more"] if len(found.left_out) > _LEFT_OUT else []
    say_notes(args, (f"left out: {text}" for text in [*found.left_out[:_LEFT_OUT], *rest]))
    reader = None if args.no_clatr else CLaTrReader.load(args.clatr, args.text_tower)
    variants = {"ours": track_a.Variant(args.tag_source, args.scale, args.latent)}
    if args.upstream:
        variants["upstream"] = track_a.UPSTREAM
    terminal.say(f"{sum(pair.ref.num_shots for pair in found.pairs)} shots of {len(found.pairs)} scenes …")
    shots = {name: track_a.read_shots(found.pairs, reader, v, args.seed) for name, v in variants.items()}
    scores = {name: track_a.by_shot(shots[name], variant) for name, variant in variants.items()}
    cautions = track_a.cautions(found.counts, shots["ours"])
    say_notes(args, cautions)
    title = "none" if reader is None else reader.title
    if args.json:
        report = {"clatr": title, "scenes": len(found.pairs), "cautions": cautions, **scores}
        show(json.dumps(report | {"shots": track_a.of_each(found.pairs, shots["ours"])}, indent=2, ensure_ascii=False))
    elif args.csv:
        show(_table(title, scores))
    else:
        _show(title, scores)
    return 0


def _rows(scores: dict[str, dict[str, dict[str, float]]]) -> list[tuple[str, str, list[Any]]]:
    """(shots, metric, its value in each variant) of every score."""
    first = scores["ours"]
    return [
        (shots, metric, [values[shots].get(metric) for values in scores.values()])
        for shots in first
        for metric in first[shots]
    ]


def _table(title: str, scores: dict) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["clatr", "shots", "metric", *scores])
    writer.writerows([title, shots, metric, *values] for shots, metric, values in _rows(scores))
    return text.getvalue().rstrip("\n")


def _show(title: str, scores: dict) -> None:
    show(f"CLaTr: {title}")
    show(" ".join([f"{'':<36}", *(f"{name:>10}" for name in scores)]).rstrip())
    last = "all"
    for shots, metric, values in _rows(scores):
        if shots != last:
            show(shots)
        last = shots
        cells = (f"{value:>10}" if metric == "samples" else f"{value:>10.4f}" for value in values)
        show(" ".join([f"{metric:<36}", *cells]))
