"""`shotverse tags`: the camera motions of a trajectory."""

import argparse
import json

from shotverse_jax.commands.common import read_trajectory, show, trajectory_arguments

HELP = "Name the camera motions of a trajectory."
EXAMPLES = ("shotverse tags out/last_train/trajectory.json",)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    trajectory_arguments(parser)
    parser.add_argument("--json", action="store_true", help="machine-readable output")


def run(args: argparse.Namespace) -> int:
    """Shows the motions of every shot; returns the exit code 0."""
    from shotverse_jax.camera.motion_tags import describe, tag_trajectory

    trajectory = read_trajectory(args)
    rows = []
    for index, (span, shot) in enumerate(zip(trajectory.spans, tag_trajectory(trajectory), strict=True)):
        segments = [{"start": s.start, "end": s.end, "name": s.name} for s in shot]
        rows.append({"shot": index, "start": span[0], "end": span[1], "segments": segments, "caption": describe(shot)})
    if args.json:
        show(json.dumps(rows, indent=2))
        return 0
    for row in rows:
        show(f"shot {row['shot'] + 1}  frames {row['start']}-{row['end'] - 1}  {row['caption']}")
        for s in row["segments"]:
            show(f"    {row['start'] + s['start']:>5}-{row['start'] + s['end'] - 1:<5} {s['name']}")
    return 0
