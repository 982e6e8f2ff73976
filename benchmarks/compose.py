"""Figure 5 of arXiv 2412.12223 as a table: rules that compose adapters, on the pairs and triples that the paper names.

    python -m benchmarks.compose --model runs/no_camera/export --lora styles/styles.safetensors --out runs/compose
    python -m benchmarks.compose --model … --lora … --out … --films 4 --cases "pan-right, zoom-in" --ways merge cliplora

Films of all ways have the same captions, contents and seeds. `single` are films with one of the adapters at a time. For
every way: the cosine of the CameraCLIP with the phrase of each class, their mean and their minimum (of each film, then
the mean over films); the share of films that are nearest to all asked classes of their groups; the share of asked
movements that the estimated camera shows; and the seconds of a film, its decoding not counted, after everything was
compiled. A line that was stopped goes on.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from shotverse_jax.cinematic.compare import (
    SINGLE,
    WITHOUT,
    Case,
    Compared,
    CompareWork,
    films_of,
    moves,
    read_records,
    seems,
)
from shotverse_jax.cinematic.estimates import OF_LENSES, OF_POSES
from shotverse_jax.cinematic.guidance import RULES, Compose
from shotverse_jax.evaluation.tracks.compare import CompareJob
from shotverse_jax.infer.batch import run_batch
from shotverse_jax.infer.execution import use_compilation_cache

CASES = (
    "tilt-down, pan-left",
    "pan-right, zoom-in",
    "zoom-out, pan-left",
    "zoom-in, tilt-up, pan-right",
    "zoom-out, tilt-down, pan-left",
    "long shot, low angle, pan-left",
)
"""Those of the names of its figures' files, and of the caption "Long shot, low angle, panning" of its first version."""
WAYS = (WITHOUT, SINGLE, *RULES)


def main() -> None:
    """Makes the films that are not there yet, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="a controller without cameras")
    parser.add_argument("--lora", action="append", required=True, help="adapters of the classes")
    parser.add_argument("--out", type=Path, required=True, help="folder of the films")
    parser.add_argument("--films", type=int, default=16, help="of each case and way (default 16)")
    parser.add_argument("--cases", nargs="+", default=list(CASES), help="classes that are asked for together")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--judge", help="the CameraCLIP (default: clip_small)")
    parser.add_argument("--poses", help="estimator of cameras, or none (default: pose_small)")
    parser.add_argument("--choose", default="soft", choices=("soft", "hard", "ahead"), help="how cliplora decides")
    parser.add_argument("--steps", type=int, help="denoising steps (default: the model's)")
    args = parser.parse_args()
    use_compilation_cache(0.0)
    cases = [Case.read(text) for text in args.cases]
    compose = Compose("cliplora" if "cliplora" in args.ways else "merge", scorer=args.judge, choose=args.choose)
    sampling = {} if args.steps is None else {"steps": args.steps}
    job = CompareJob(args.model, tuple(args.lora), compose, args.judge, args.poses, sampling)
    work, crew, judges = job.load(print)
    films = films_of(cases, args.ways, args.films, crew.config)
    run_batch(films, work, args.out)
    records = read_records(films, args.out)
    seconds = {way: seconds_of(work, [film for film in films if film.way == way]) for way in args.ways}
    print(f"{args.model}, {args.films} films of each case, {jax.devices()[0].device_kind}\n")
    for case in cases:
        part = [record for record in records if record["case"] == case.label]
        print("\n".join([f"{case.label}:", *table(part, case.names, args.ways, seconds, judges.tells), ""]))
    if len(cases) > 1:
        print("\n".join(["all cases:", *table(records, (), args.ways, seconds, judges.tells)]))


def seconds_of(work: CompareWork, films: Sequence[Compared]) -> float:
    """The least seconds of a film of a way, of the first case: it is made three times, and the first may compile."""
    spent = []
    for _ in range(3):
        begun = time.perf_counter()
        jax.block_until_ready([film.latents_BTHWC for film in work.film(films[:1])])
        spent.append(time.perf_counter() - begun)
    return min(spent[1:])


def table(
    records: Sequence[dict[str, Any]],
    classes: Sequence[str],
    ways: Sequence[str],
    seconds: dict[str, float],
    tells: Sequence[str] = OF_POSES + OF_LENSES,
) -> list[str]:
    """Lines of Markdown, one for each way; classes: those of a case, whose cosines have columns of their own."""
    head = ["way", "films", *classes, "mean", "minimum", "all classes", "movements", "s a film"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for way in ways:
        part = [record for record in records if record["way"] == way]
        if not part:
            continue
        cosines = [list(record["cosine"].values()) for record in part]
        cells = [f"{np.mean([record['cosine'][name] for record in part]):.3f}" for name in classes]
        cells += [f"{np.mean([reduce(row) for row in cosines]):.3f}" for reduce in (np.mean, min)]
        cells += [f"{np.mean([seems(record, record['classes']) for record in part]):.2f}"]
        told = [moves(r, [name]) for r in part if "motion" in r for name in r["classes"] if name in tells]
        cells += [f"{np.mean(told):.2f}" if told else "-", f"{seconds[way]:.2f}"]
        lines.append(f"| {' | '.join([way, str(len(part)), *cells])} |")
    return lines


if __name__ == "__main__":
    main()
