"""`shotverse explain`: how a camera file is read."""

import argparse

from shotverse_jax.commands.common import options, show, trajectory_arguments

HELP = "Tell how a trajectory file is read, and how else it might be."
EXAMPLES = ("shotverse explain out/last_train/trajectory.json",)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    trajectory_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Shows how the file is read; returns the exit code 0."""
    from shotverse_jax.camera.formats.explain import explain

    show(str(explain(args.trajectory, args.fmt, **options(args.read))))
    return 0
