"""`shotverse fit`: whether a training run, a film or plans fit devices that need not be there, and their time."""

import argparse
import dataclasses
import json
from typing import Any

from shotverse_jax import limits
from shotverse_jax.commands.common import candidates, frames, number, positive, show, size, steps, strength, whole

HELP = "Say what a training run, a film or plans need of devices that need not be there: memory, time, how many."
EXAMPLES = (
    "shotverse fit configs/controller/pod.py --topology cpu:96 --device h100 --config.batch=12",
    "shotverse fit film --frames 249 --device h100 --items 10000 --deadline 8h",
    "shotverse fit plan --device h200 --items 10000 --deadline 1h",
)
OVERRIDES = "--config."
"""Arguments that begin so are values of the config; `cli.main` hands them on as `args.overrides`."""

OF_FILM = (
    "model",
    "frames",
    "size",
    "mesh",
    "dtype",
    "offload",
    "quantize",
    "steps",
    "cfg",
    "sparse",
    "latents",
    "mfu",
)
OF_PLAN = ("model", "frames", "shots", "text", "candidates", "dtype")
OF_BOTH = ("device", "items", "deadline")
OF_RUN = ("topology", "device", "mfu")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument(
        "what",
        metavar="CONFIG|film|plan",
        help="config file of launch.train, whose values change by --config.NAME=VALUE, or the word film or plan",
    )
    parser.add_argument(
        "--device", help="a100, h100, h200, h20, b200, v5e, v5p or v6e; for a run what cpu:… stands for"
    )
    parser.add_argument(
        "--mfu",
        type=number("the share of the peak", 0.001, 1),
        help="share of the peak for the predicted time (default: 0.4 of a run, measured of a film)",
    )
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    run = parser.add_argument_group("a training run")
    run.add_argument("--topology", help="a TPU slice like v5p:4x4x4, or cpu:<devices> for GPUs")
    both = parser.add_argument_group("films and plans")
    both.add_argument("--model", help="folder or name of the network; paper (default), holocine")
    both.add_argument("--frames", type=frames, help="frames of a film, 4t+1, or of a planned screenplay")
    both.add_argument("--dtype", help="of weights and activations (default bfloat16)")
    both.add_argument("--items", type=positive, help="say how many devices make so many before the deadline")
    both.add_argument("--deadline", help="for --items, like 90m, 8h or 2d (default 1d)")
    film = parser.add_argument_group("films")
    film.add_argument("--size", type=size, metavar="HxW", help="height and width in pixels (default: the model's)")
    film.add_argument("--mesh", help="devices that work together, like fsdp=2,sequence=4 (default: one)")
    film.add_argument(
        "--offload", choices=("none", "text", "experts"), help="what waits on the host (default: by memory)"
    )
    film.add_argument("--quantize", choices=("int8", "float8"), help="weights of the experts in 8 bits")
    film.add_argument("--steps", type=steps, help="denoising steps (default: the model's)")
    film.add_argument("--cfg", type=strength, help="strength of text guidance, 1 is none (default: the model's)")
    film.add_argument(
        "--sparse",
        type=whole("the shots", 1, limits.FRAMES),
        metavar="SHOTS",
        help="sparse attention between so many shots",
    )
    film.add_argument("--latents", action="store_true", default=None, help="the results keep the film's latents")
    plan = parser.add_argument_group("plans")
    plan.add_argument("--shots", type=whole("the shots", 1, limits.FRAMES), help="shots of a screenplay (default 4)")
    plan.add_argument("--candidates", type=candidates, help="plans of which the best is kept (default 8)")
    plan.add_argument("--text", type=positive, help="tokens of a screenplay (default: the most that the model reads)")


def run(args: argparse.Namespace) -> int:
    """Sizes what is asked for and shows the report; returns the exit code 0, or 1 if it does not fit."""
    if args.what == "film":
        from shotverse_jax.fit.film import fit_film, lines

        return _items(args, fit_film, lines, _given(args, *OF_FILM))
    if args.what == "plan":
        from shotverse_jax.fit.plan import fit_plan, lines

        return _items(args, fit_plan, lines, _given(args, *OF_PLAN))
    return _training(args)


def _training(args: argparse.Namespace) -> int:
    from shotverse_jax.fit.config_file import read
    from shotverse_jax.fit.report import fit, lines

    _given(args)
    if args.topology is None:
        raise ValueError("name the devices of the run by --topology, like v5p:4x4x4, or cpu:96 with --device h100")
    mfu = 0.4 if args.mfu is None else args.mfu
    report = fit(read(args.what, args.overrides), args.topology, args.device, mfu)
    if args.json:
        show(json.dumps({**dataclasses.asdict(report), "seconds": report.seconds}, indent=2))
    else:
        for line in lines(report):
            show(line)
    return 1 if report.problem else 0


def _items(args: argparse.Namespace, size_up: Any, lines: Any, values: dict[str, Any]) -> int:
    """Sizes films or plans."""
    from shotverse_jax.fit.capacity import seconds_of

    if args.overrides:
        raise ValueError(f"{args.what} takes no values of a config, got {' '.join(args.overrides)}")
    if args.device is None:
        raise ValueError("name the device by --device, like h100 or v6e")
    if "cfg" in values:
        values["guidance"] = values.pop("cfg")
    report = size_up(device=args.device, **values)
    counted = args.items and not report.problem
    capacity = report.capacity(args.items, seconds_of(args.deadline or "1d")) if counted else None
    if args.json:
        more = {} if capacity is None else {"capacity": dataclasses.asdict(capacity)}
        show(json.dumps(report.values() | more, indent=2))
    else:
        for line in lines(report, capacity):
            show(line)
    return 1 if report.problem else 0


def _given(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """The arguments of these names that were given. Raises ValueError for one that is of another kind."""
    of_items = OF_BOTH if names else ()
    allowed = {*names, *of_items} if names else set(OF_RUN)
    for name in {*OF_FILM, *OF_PLAN, *OF_BOTH, *OF_RUN} - allowed:
        if getattr(args, name) is not None:
            kind = args.what if names else "a training run"
            raise ValueError(f"--{name} says nothing of {kind}")
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}
