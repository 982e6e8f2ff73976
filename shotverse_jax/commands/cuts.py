"""`shotverse cuts`: where the shots of a film begin and end."""

import argparse
import json
from typing import Any

from shotverse_jax.calibration.detectors import DETECTORS
from shotverse_jax.commands.common import Terminal, number, show, use_compilation_cache

HELP = "Find the cuts, fades and dissolves of a film."
EXAMPLES = ("shotverse cuts film.mp4", "shotverse cuts film.mp4 --detector transnetv2 --threshold 0.3 --json")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument("video", help="a video in any format that FFmpeg reads")
    parser.add_argument(
        "--detector",
        choices=tuple(DETECTORS),
        default="difference",
        help="who looks (default: difference; docs/shots.md)",
    )
    parser.add_argument(
        "--threshold",
        type=number("the threshold", -100, 255),
        metavar="X",
        help="a higher one finds fewer cuts; its unit and default are the detector's",
    )
    parser.add_argument("--json", action="store_true", help="machine-readable output")


def run(args: argparse.Namespace) -> int:
    """Shows the transitions of a video; returns the exit code 0."""
    from shotverse_jax.calibration.shots import find_shots

    if args.detector == "transnetv2":
        use_compilation_cache()
    terminal = Terminal(args.quiet)
    options = {} if args.threshold is None else {"threshold": args.threshold}
    shots = find_shots(args.video, args.detector, terminal, **options)
    if args.json:
        show(json.dumps(values(shots, args.detector), indent=2))
        return 0
    for one in shots.transitions:
        at = f"{one.start}" if one.kind == "cut" else f"{one.start}-{one.end}"
        times = " to ".join(f"{shots.second(frame):.3f}" for frame in dict.fromkeys((one.start, one.end)))
        show(f"{one.kind} at frame {at}, {times} s ({one.score:.2f})")
    terminal.say(_summary(shots))
    return 0


def values(shots: Any, detector: str) -> dict[str, Any]:
    """Returns shots as values for JSON. Frames are counted from 0, ends are exclusive, boxes are left, top, size."""
    info = shots.info
    return {
        "detector": detector,
        "frames": info.frames,
        "fps": info.fps,
        "width": info.width,
        "height": info.height,
        "picture": list(shots.picture),
        "cuts": shots.cuts,
        "shots": [list(span) for span in shots.spans],
        "transitions": [
            {
                "kind": one.kind,
                "start": one.start,
                "end": one.end,
                "seconds": [round(shots.second(frame), 6) for frame in (one.start, one.end)],
                "score": round(one.score, 4),
            }
            for one in shots.transitions
        ],
    }


def _summary(shots: Any) -> str:
    info, box = shots.info, shots.picture
    count = len(shots.spans)
    text = f"{count} shot{'s' * (count != 1)} in {info.frames} frame{'s' * (info.frames != 1)}"
    if (box.width, box.height) != (info.width, info.height):
        text += f"; bars around the picture, which is {box.width}x{box.height} of {info.width}x{info.height}"
    return text
