"""`shotverse fit`: whether a training run fits a cluster that need not be there."""

import argparse
import dataclasses
import json

from shotverse_jax.commands.common import show

HELP = "Compile a training run for a cluster that need not be there: memory, traffic, time."
EXAMPLES = ("shotverse fit configs/controller/pod.py --topology cpu:96 --device h100 --config.batch=12",)
OVERRIDES = "--config."
"""Arguments that begin so are values of the config; `cli.main` hands them on as `args.overrides`."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument(
        "config", metavar="CONFIG", help="config file of launch.train; values change by --config.NAME=VALUE"
    )
    parser.add_argument("--topology", required=True, help="a TPU slice like v5p:4x4x4, or cpu:<devices> for GPUs")
    parser.add_argument("--device", help="what the devices of cpu:… stand for, e.g. h100, h200, h20")
    parser.add_argument("--mfu", type=float, default=0.4, help="share of the peak for the predicted time (default 0.4)")
    parser.add_argument("--json", action="store_true", help="machine-readable output")


def run(args: argparse.Namespace) -> int:
    """Compiles the run and shows the report; returns the exit code 0, or 1 if the run does not fit."""
    from shotverse_jax.fit.config_file import read
    from shotverse_jax.fit.report import fit, lines

    report = fit(read(args.config, args.overrides), args.topology, args.device, args.mfu)
    if args.json:
        show(json.dumps({**dataclasses.asdict(report), "seconds": report.seconds}, indent=2))
    else:
        for line in lines(report):
            show(line)
    return 1 if report.problem else 0
