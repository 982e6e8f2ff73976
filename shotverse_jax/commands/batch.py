"""`shotverse batch`: plans or films of a list of screenplays."""

import argparse
import dataclasses
import signal
import threading
from collections.abc import Callable
from typing import Any

from shotverse_jax.commands import peak
from shotverse_jax.commands.common import (
    Terminal,
    candidates,
    compose_arguments,
    compose_of,
    faster_arguments,
    faster_of,
    lora_argument,
    out_name,
    placement_arguments,
    scene_argument,
    show,
    steps,
    strength,
    use_compilation_cache,
    whole,
)
from shotverse_jax.files import check_place

HELP = "Plan or film a list of screenplays; goes on where it was stopped."
EXAMPLES = ("shotverse batch examples/ --task plan --out out/batch",)
FAILED, STOPPED = 3, 143
MOST_NOTES = 40
"""Notes about screenplays that are shown at most."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument("list", metavar="LIST", help=".jsonl or .csv file, or a folder of screenplays (docs/batch.md)")
    scene_argument(parser)
    parser.add_argument("--task", choices=("plan", "film"), required=True, help="what is made of every screenplay")
    parser.add_argument(
        "--out", type=out_name, required=True, metavar="DIR", help="folder of results, one folder an item"
    )
    parser.add_argument("--model", help="name or folder of the controller of films (default: the shipped one)")
    parser.add_argument("--planner", help="name or folder of the planner (default: the shipped one)")
    parser.add_argument(
        "--sampling", choices=("nucleus", "top_k", "greedy"), help="how to pick tokens (default: the planner's way)"
    )
    parser.add_argument(
        "--candidates", type=candidates, help="plans drawn for each that is kept, the best (default: the planner's, 8)"
    )
    parser.add_argument("--steps", type=steps, help="denoising steps of films (default: the model's)")
    parser.add_argument("--cfg", type=strength, help="strength of text guidance, 1 is none (default: the model's)")
    parser.add_argument("--solver", choices=("unipc", "euler"), default="unipc", help="how noise is followed to films")
    parser.add_argument("--preview", action="store_true", help="also make trajectory.png and preview.mp4 of every plan")
    workers_arguments(parser)
    lora_argument(parser)
    compose_arguments(parser)
    faster_arguments(parser)
    placement_arguments(parser)
    peak.argument(parser)


def workers_arguments(parser: Any) -> None:
    """Adds --workers and --ray to a parser, or to a group of one."""
    parser.add_argument(
        "--workers", type=whole("the workers", 1, 4096), help="workers of a Ray cluster (default: this process alone)"
    )
    parser.add_argument("--ray", metavar="ADDRESS", help="address of the Ray cluster, or auto (default: this machine)")


def run(args: argparse.Namespace) -> int:
    """Makes the results; returns 0, or 3 if an item failed, or 143 if it was stopped by SIGTERM."""
    from shotverse_jax.inputs.items import read_items

    # A list that cannot be read is found before JAX is imported and a model is loaded.
    items, terminal, stop = read_items(args.list, args.scene), Terminal(args.quiet), threading.Event()
    check_place(args.out, folder=True)
    say_notes(items, terminal)
    compose = compose_of(args)
    if compose is not None:
        items = [asking(item, compose) for item in items]
    use_compilation_cache(least=0.0)
    from shotverse_jax.infer.job import Job

    job = Job(
        task=args.task,
        model=args.model,
        planner=args.planner,
        sampling=args.sampling,
        candidates=args.candidates,
        steps=args.steps,
        guidance=args.cfg,
        solver=args.solver,
        lora=tuple(args.lora),
        faster=tuple(faster_of(args).items()),
        compose=compose,
        preview=args.preview,
        mesh=args.mesh,
        dtype=args.dtype,
        attention=args.attention,
        offload=args.offload,
        quantize=args.quantize,
    )
    summary = run_job(args, items, job, terminal, stop)
    peak.say(args, lambda: job.memory(items))
    return report(summary, args.out, stop.is_set())


def asking(item: Any, compose: Any) -> Any:
    """An item whose shots ask for the adapters of a composition; what cannot be read stays as it is."""
    play = getattr(item, "screenplay", None)
    return item if play is None else dataclasses.replace(item, screenplay=compose.asking(play))


def run_job(args: argparse.Namespace, items: list, job: Any, terminal: Terminal, stop: threading.Event) -> Any:
    """Does a job with every item, here or on the workers of a Ray cluster; returns the summary."""
    from shotverse_jax.infer.batch import run_batch

    workers = None
    if args.workers or args.ray:
        from shotverse_jax.infer.ray_workers import RayWorkers

        workers = RayWorkers(job, args.out, args.workers or 1, args.ray, stop)
    # After Ray's start, which has handlers of its own.
    stop_on_signals(stop)
    return run_batch(items, workers or job.load(), args.out, run=workers, stop=stop, progress=terminal)


def say_notes(items: list, terminal: Terminal) -> None:
    """Says what the readers of the screenplays noted; result.json of every item has its notes too."""
    from shotverse_jax.inputs.items import Item

    notes = [f"{item.id}: {note}" for item in items if isinstance(item, Item) for note in item.screenplay.notes]
    for note in notes[:MOST_NOTES]:
        terminal.say(note)
    if len(notes) > MOST_NOTES:
        terminal.say(f"{len(notes) - MOST_NOTES} more notes are in result.json of their items")


def stop_on_signals(stop: threading.Event) -> None:
    """SIGTERM and Ctrl-C finish the items in hand; a second Ctrl-C ends the process at once."""

    def handle(number, _):
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)


def report(summary, out: str, stopped: bool, say: Callable[[str], None] = show) -> int:
    """Says how a batch went, on stdout by default; returns the exit code."""
    words = [f"{summary.made} made in {summary.seconds:.0f} s"]
    words += [f"{summary.skipped} were there"] * bool(summary.skipped)
    words += [f"{summary.failed} failed, as {out}/results.jsonl says"] * bool(summary.failed)
    words += [f"{summary.left} left; start again to go on"] * bool(summary.left)
    say(f"{out}: {', '.join(words)}")
    return STOPPED if stopped and summary.left else FAILED if summary.failed else 0
