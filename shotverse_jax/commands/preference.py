"""`shotverse preference`: pairs of better and worse plans, and planners that learn from them."""

import argparse
import importlib.resources
import threading
from pathlib import Path
from typing import Any

from shotverse_jax.commands import batch
from shotverse_jax.commands.common import Terminal, number, out_name, positive, samples, show, whole
from shotverse_jax.files import check_place

HELP = "Improve a planner on rendered previews (VERTIGO): prompts, pairs of plans, and rounds of both and training."
EXAMPLES = (
    "shotverse preference run small --out runs/vertigo",
    "shotverse preference pairs prompts.jsonl --out out/pairs --judges geometric,cyclic",
    "shotverse preference prompts --scenes 1000 --out prompts.jsonl",
)
ACTIONS = ("run", "pairs", "films", "prompts", "probe")
JUDGES = ("geometric", "cyclic", "direct")
OVERRIDES = "--config."
"""Arguments that begin so are values of the config of a run; `cli.main` hands them on as `args.overrides`."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument(
        "action",
        choices=ACTIONS,
        help="run: rounds of candidates, pairs and training; pairs: of a list of screenplays; films: pairs of a batch "
        "of films; prompts: a list of scenes of the stage; probe: try judges on scenes whose truth is known",
    )
    parser.add_argument(
        "source",
        nargs="?",
        metavar="CONFIG|LIST",
        help="of run: a config file, whose values change by --config.NAME=VALUE, or the name of one that ships; of "
        "pairs and films: .jsonl or .csv file, or a folder of screenplays (docs/batch.md)",
    )
    parser.add_argument("--out", type=out_name, help="folder of the results; of prompts the file")
    parser.add_argument("--scenes", type=positive, help="of prompts and probe: how many (default 1000 and 100)")
    pairs = parser.add_argument_group("pairs and probe")
    pairs.add_argument("--planner", help="name or folder of the planner (default: the shipped one)")
    pairs.add_argument("--candidates", type=samples, help="plans of each screenplay (default 8)")
    pairs.add_argument("--drawn", metavar="DIR", help="judge the candidates of an earlier result anew, and draw none")
    pairs.add_argument(
        "--judges",
        metavar="NAME[=WEIGHT],…",
        help=f"who compares plans, of {', '.join(JUDGES)} (default geometric; weights 1)",
    )
    pairs.add_argument("--unit", choices=("scene", "shot"), help="compare whole plans, or every shot (default scene)")
    pairs.add_argument("--margin", type=number("the margin", 0, 1), help="least difference of scores (default 0.05)")
    pairs.add_argument(
        "--contrast",
        type=number("the share", 0, 0.9),
        help="share of the pairs that are of a plan and its reverse (default 0.25)",
    )
    pairs.add_argument(
        "--truth",
        choices=("none", "list", "stage"),
        help="the cameras that the screenplays were written for, which the geometric judge then compares with: those "
        "of the list's trajectory column, or those of the stage's scenes (default none)",
    )
    pairs.add_argument("--captioner", metavar="NAME|URL", help="network or endpoint that captions previews")
    pairs.add_argument("--captioner-model", metavar="NAME", help="the model at an endpoint")
    pairs.add_argument("--captions", type=whole("the captions", 1, 64), help="of each preview (default 3)")
    pairs.add_argument("--films", metavar="DIR", help="of films: results of shotverse batch --task film")
    pairs.add_argument("--previews", metavar="DIR", help="previews of another program (default: the stage's)")
    pairs.add_argument(
        "--probes", type=whole("the probes", 0, 4096), help="scenes to try judges on first (default 100)"
    )
    batch.workers_arguments(pairs)


def run(args: argparse.Namespace) -> int:
    """Does the action; returns 0, or 3 if an item failed, or 143 if it was stopped by SIGTERM."""
    if args.action != "probe" and not args.out:
        raise ValueError(f"preference {args.action} needs --out")
    if args.action == "films" and not args.films:
        raise ValueError("preference films needs --films, the folder of shotverse batch --task film")
    if args.action in ("run", "pairs", "films") and not args.source:
        raise ValueError(f"preference {args.action} needs a {'config' if args.action == 'run' else 'list'}")
    if args.action in ("prompts", "probe") and args.source:
        raise ValueError(f"preference {args.action} takes no {args.source}")
    actions = {"run": _run, "pairs": _pairs, "films": _films, "prompts": _prompts, "probe": _probe}
    return actions[args.action](args)


def _prompts(args: argparse.Namespace) -> int:
    check_place(args.out)
    from shotverse_jax.files import replacing
    from shotverse_jax.preference.loop import stage_prompts

    lines = stage_prompts(args.scenes or 1000)
    with replacing(args.out) as place:
        place.write_text("".join(lines), encoding="utf-8")
    show(f"wrote {len(lines)} screenplays to {args.out}")
    return 0


def _probe(args: argparse.Namespace) -> int:
    from shotverse_jax.preference.job import PairsJob
    from shotverse_jax.preference.probes import probe

    job = PairsJob(_config(args))
    found = [probe(judge, job.renderer(), args.scenes or 100) for judge in job.judges()]
    for each in found:
        show(f"{each.sentence()}: {'passed' if each.passed else 'failed'}")
    return 0 if all(each.passed for each in found) else 1


def _pairs(args: argparse.Namespace) -> int:
    from shotverse_jax.inputs.items import read_items

    items, terminal, stop = read_items(args.source), Terminal(args.quiet), threading.Event()
    check_place(args.out, folder=True)
    batch.say_notes(items, terminal)
    from shotverse_jax.preference import probes
    from shotverse_jax.preference.job import PairsJob
    from shotverse_jax.preference.work import collect

    config = _config(args)
    job = PairsJob(config)
    if config.probes:
        terminal.say(f"trying the judges on {config.probes} scenes …")
        for each in probes.check(job.judges(), job.renderer(), config.probes):
            terminal.say(each.sentence())
    summary = batch.run_job(args, items, job, terminal, stop)
    pairs, used = collect(items, Path(args.out))
    show(f"{args.out}/pairs.jsonl: {pairs} pairs from {used} of {len(items)} screenplays")
    return batch.report(summary, args.out, stop.is_set())


def _films(args: argparse.Namespace) -> int:
    from shotverse_jax.inputs.items import read_items

    items, terminal, stop = read_items(args.source), Terminal(args.quiet), threading.Event()
    check_place(args.out, folder=True)
    from shotverse_jax.infer.batch import run_batch
    from shotverse_jax.preference.films import FilmPairsWork, write_tables
    from shotverse_jax.preference.job import PairsJob
    from shotverse_jax.preference.selection import Rule

    config = _config(args)
    rule, size = Rule("scene", config.margin, config.judges), (config.frames, config.height, config.width)
    batch.stop_on_signals(stop)
    work = FilmPairsWork(args.films, PairsJob(config).judges(), rule, size)
    summary = run_batch(items, work, args.out, stop=stop, progress=terminal)
    pairs = write_tables(items, args.films, Path(args.out))
    show(f"{args.out}/chosen.csv and rejected.csv: {pairs} pairs of {len(items)} screenplays")
    return batch.report(summary, args.out, stop.is_set())


def _config(args: argparse.Namespace) -> Any:
    from shotverse_jax.config import PairsConfig

    names = (
        "planner",
        "candidates",
        "drawn",
        "unit",
        "margin",
        "contrast",
        "truth",
        "captioner",
        "captioner_model",
        "captions",
    )
    values = {name: getattr(args, name) for name in (*names, "previews", "probes")}
    return PairsConfig(**{name: value for name, value in values.items() if value is not None}, **_weights(args.judges))


def _weights(text: str | None) -> dict[str, float]:
    weights = dict.fromkeys(JUDGES, 0.0) if text else {}
    for part in text.split(",") if text else ():
        name, _, weight = part.strip().partition("=")
        if name not in JUDGES:
            raise ValueError(f"judges are {', '.join(JUDGES)}, like geometric,cyclic=0.5; got {part!r}")
        try:
            weights[name] = float(weight or 1)
        except ValueError as error:
            raise ValueError(f"the weight of a judge is a number, got {part!r}") from error
    return weights


def _run(args: argparse.Namespace) -> int:
    from shotverse_jax.commands.common import use_compilation_cache
    from shotverse_jax.config import LoopConfig, from_dict
    from shotverse_jax.fit.config_file import read

    config = from_dict(LoopConfig, read(_file(args.source), args.overrides))
    check_place(args.out, folder=True)
    use_compilation_cache(least=0.0)
    from shotverse_jax.preference import loop

    terminal, stop = Terminal(args.quiet), threading.Event()
    batch.stop_on_signals(stop)
    try:
        best = loop.run(config, args.out, terminal, stop)
    except loop.Stopped:
        terminal.say("stopped; the same line goes on")
        return batch.STOPPED
    show(f"{args.out}/report.md; the best planner is {best}")
    return 0


def _file(name: str) -> str:
    """The path of a config, by its path or by the name of one that ships."""
    if Path(name).suffix == ".py":
        return name
    shipped = Path(str(importlib.resources.files("shotverse_jax.configs.preference"))) / f"loop_{name}.py"
    if not shipped.is_file():
        names = sorted(path.stem.removeprefix("loop_") for path in shipped.parent.glob("loop_*.py"))
        raise ValueError(f"there is no config {name}: give a .py file, or one of {', '.join(names)}")
    return str(shipped)
