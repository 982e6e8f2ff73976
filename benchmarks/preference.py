"""The speed of judging plans: candidates of a list scored by geometry, and by previews with captions.

    python -m benchmarks.preference                                    # 1,000 prompts of the stage, 8 candidates each
    python -m benchmarks.preference --prompts 50 --captioner captioner_small

The candidates are drawn once for `--drawn` prompts, and repeated: drawing is not what is measured. Captions are timed
for a few prompts, and the time of the list is reckoned from that.
"""

import argparse
import itertools
import time

import numpy as np

from shotverse_jax.config import PairsConfig
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.infer.execution import use_compilation_cache
from shotverse_jax.infer.ready import load_planner
from shotverse_jax.preference.candidates import draw
from shotverse_jax.preference.job import PairsJob
from shotverse_jax.preference.judges import Geometric
from shotverse_jax.preference.previews import StageRenderer


def main() -> None:
    """Times both judges and prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--candidates", type=int, default=8)
    parser.add_argument("--drawn", type=int, default=16, help="prompts whose candidates are drawn")
    parser.add_argument("--filmed", type=int, default=8, help="prompts whose candidates are filmed and captioned")
    parser.add_argument("--captioner", help="a captioner, by name or folder; without one only geometry is timed")
    args = parser.parse_args()
    use_compilation_cache(0.0)
    plays = [sample_example(number, "train").screenplay for number in range(args.drawn)]
    drawn = list(draw(load_planner("planner_small"), plays, 0, args.candidates))
    judge = Geometric()
    judge.judge(drawn[0].screenplay, drawn[0].paths_J)
    begun = time.perf_counter()
    for found in itertools.islice(itertools.cycle(drawn), args.prompts):
        judge.judge(found.screenplay, found.paths_J)
    seconds = time.perf_counter() - begun
    print(f"geometric: {args.prompts} prompts x {args.candidates} candidates in {seconds:.1f} s")
    if args.captioner:
        _captions(args, drawn)


def _captions(args: argparse.Namespace, drawn: list) -> None:
    config = PairsConfig(geometric=0.0, cyclic=1.0, captioner=args.captioner, captions=1)
    [judge], renderer = PairsJob(config).judges(), StageRenderer()
    spent: list[tuple[float, float]] = []
    # The first one compiles.
    for found in [drawn[0], *itertools.islice(itertools.cycle(drawn), args.filmed)]:
        begun = time.perf_counter()
        clips = renderer.clips("", found.screenplay, found.paths_J)
        filmed = time.perf_counter()
        judge.judge(found.screenplay, found.paths_J, clips)
        spent.append((filmed - begun, time.perf_counter() - filmed))
    film, caption = np.median(spent[1:], axis=0) * args.prompts
    print(
        f"previews: {args.prompts} prompts x {args.candidates} candidates take {film / 60:.1f} minutes to film and "
        f"{caption / 60:.1f} to caption (medians of {args.filmed} prompts)"
    )


if __name__ == "__main__":
    main()
