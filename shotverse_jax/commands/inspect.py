"""`shotverse inspect`: what a checkpoint is and holds."""

import argparse

from shotverse_jax.commands.common import show

HELP = "Tell what a checkpoint is and holds."
EXAMPLES = ("shotverse inspect shotverse_jax/pretrained/controller_small/high.safetensors",)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="file or folder, of others or ours")


def run(args: argparse.Namespace) -> int:
    """Shows what the checkpoint is; returns the exit code 0."""
    from shotverse_jax.conversion.commands import inspect

    for line in inspect(args.checkpoint):
        show(line)
    return 0
