"""`shotverse review`: what a director would say about the cameras of a trajectory."""

import argparse
import json
from pathlib import Path
from typing import Any

from shotverse_jax.commands.common import read_trajectory, show, trajectory_arguments, use_compilation_cache

HELP = "Review a trajectory: who is in frame, what was asked and what is seen, which cuts break a rule."
EXAMPLES = ("shotverse review out/last_train/trajectory.json",)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    trajectory_arguments(parser)
    parser.add_argument("--json", action="store_true", help="machine-readable output")


def run(args: argparse.Namespace) -> int:
    """Shows the review of every shot, of the cuts and of the whole; returns the exit code 0."""
    paths = _samples(Path(args.trajectory))
    reviews = {}
    use_compilation_cache()
    from shotverse_jax.stage.review import review

    for name, path in paths.items():
        reviews[name] = review(read_trajectory(argparse.Namespace(**vars(args) | {"trajectory": str(path)})))
    if args.json:
        values = {name: one.values() for name, one in reviews.items()}
        show(json.dumps(values if len(values) > 1 else next(iter(values.values())), indent=2, ensure_ascii=False))
        return 0
    for name, one in reviews.items():
        if len(reviews) > 1:
            show(f"{name}:")
        _show(one)
    return 0


def _samples(path: Path) -> dict[str, Path]:
    """The trajectories to review, by name: those of a plan's folder, or the file that is named."""
    if (path / "trajectory.json").is_file():
        return {path.name: path / "trajectory.json"}
    samples = sorted(path.glob("sample_*/trajectory.json"), key=_number)
    return {sample.parent.name: sample for sample in samples} or {path.name: path}


def _number(path: Path) -> tuple[int, str]:
    digits = path.parent.name.removeprefix("sample_")
    return (int(digits) if digits.isdecimal() else 0, digits)


def _show(review: Any) -> None:
    for shot in review.shots:
        show(f"shot {shot.number}: {shot.verdict}")
    for sentence in review.cuts:
        show(sentence)
    shares = f"off screen {review.off_screen:.1%}, mis-framed {review.misframed:.1%} of the frames"
    show(f"{shares}; score {review.score:.2f}")
