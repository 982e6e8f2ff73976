"""`shotverse export-lora`: a trained adapter in the files of other programs."""

import argparse

from shotverse_jax.commands.common import Terminal, out_name
from shotverse_jax.files import check_place

HELP = "Write a trained adapter (LoRA) as other programs load it."
EXAMPLES = (
    "python -m launch.train --config=configs/controller/small_high.py --workdir=runs/high",
    "shotverse export-lora runs/high --to comfyui --out lora",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument("adapter", metavar="RUN_OR_ADAPTER", help="folder of a training run, or its export/adapter")
    parser.add_argument(
        "--to", required=True, metavar="FORMAT", help="diffsynth, comfyui, kohya, musubi, diffusers or peft"
    )
    parser.add_argument(
        "--out", type=out_name, required=True, metavar="DIR", help="folder to write; each expert has a folder in it"
    )


def run(args: argparse.Namespace) -> int:
    """Writes the adapter's files; returns the exit code 0."""
    from shotverse_jax.conversion.lora_write import export

    check_place(args.out, folder=True)
    paths = export(args.adapter, args.to, args.out)
    Terminal(args.quiet).say("wrote " + ", ".join(map(str, paths)))
    return 0
