"""`shotverse tags`: the camera motions of a trajectory."""

import argparse
import json
from typing import Any

from shotverse_jax.commands.common import read_trajectory, show, trajectory_arguments

HELP = "Name the camera motions of a trajectory."
EXAMPLES = ("shotverse tags out/last_train/trajectory.json",)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    trajectory_arguments(parser)
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    parser.add_argument(
        "--published", action="store_true", help="the tags that scores are counted in, which leave slow motions out"
    )


def run(args: argparse.Namespace) -> int:
    """Shows the motions of every shot; returns the exit code 0."""
    trajectory = read_trajectory(args)
    rows = (_published if args.published else _spoken)(trajectory)
    if args.json:
        show(json.dumps(rows, indent=2, ensure_ascii=False))
        return 0
    for row in rows:
        show(f"shot {row['shot'] + 1}  frames {row['start']}-{row['end'] - 1}  {row['caption']}")
        for s in row["segments"]:
            frames = f"{row['start'] + s['start']:>5}-{row['start'] + s['end'] - 1:<5}"
            show(f"    {frames} {s['name']:<28} {s.get('words', '')}".rstrip())
    return 0


def _spoken(trajectory: Any) -> list[dict[str, Any]]:
    """What a person would say, with amounts."""
    from shotverse_jax.camera.motion_words import motions, sentence

    return [
        _row(
            trajectory,
            index,
            [{"start": m.start, "end": m.end, "name": m.name, "words": m.words, **m.values} for m in shot],
            sentence(shot),
        )
        for index, shot in enumerate(motions(trajectory))
    ]


def _published(trajectory: Any) -> list[dict[str, Any]]:
    """The tags of E.T. and GenDoP, with their thresholds."""
    from shotverse_jax.camera.motion_tags import describe, tag_trajectory

    return [
        _row(trajectory, index, [{"start": s.start, "end": s.end, "name": s.name} for s in shot], describe(shot))
        for index, shot in enumerate(tag_trajectory(trajectory))
    ]


def _row(trajectory: Any, index: int, segments: list[dict[str, Any]], caption: str) -> dict[str, Any]:
    start, end = trajectory.spans[index]
    return {"shot": index, "start": start, "end": end, "segments": segments, "caption": caption}
