"""What preference optimisation owes to each of its parts: the planner that ships, trained on other pairs.

    python -m benchmarks.vertigo --out runs/ablation               # every row; a stopped one goes on with the same line
    python -m benchmarks.vertigo --out runs/ablation --only start base "no contrast"
    python -m benchmarks.vertigo --out runs/ablation --show        # the table of what is there

All rows judge the same candidates, drawn once, and are scored on the same held-out scenes: plans as they are drawn,
and the best of 8 by review. Rows with captions need `--captioner`.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from shotverse_jax.config import LoopConfig, from_dict
from shotverse_jax.configs.preference import loop_small
from shotverse_jax.files import write_json
from shotverse_jax.infer.execution import use_compilation_cache
from shotverse_jax.infer.ready import load_planner
from shotverse_jax.preference import loop
from shotverse_jax.preference.report import SHOWN
from shotverse_jax.preference.scores import score_planner

BASE, START = "base", "start"
RERANKED = 8
Values = dict[str, dict[str, Any]]

ROWS: dict[str, Values] = {
    BASE: {},
    "cyclic": {"pairs": {"geometric": 0.0, "cyclic": 1.0}},
    "geometric and cyclic": {"pairs": {"cyclic": 1.0}},
    "framing alone": {"pairs": {"motion": 0.0}},
    "mostly framing": {"pairs": {"motion": 0.25}},
    "4 candidates": {"pairs": {"candidates": 4}},
    "2 candidates": {"pairs": {"candidates": 2}},
    "margin 0.05": {"pairs": {"margin": 0.05}},
    "margin 0.2": {"pairs": {"margin": 0.2}},
    "anchor 0.05": {"train": {"sft_weight": 0.05}},
    "anchor 0.3": {"train": {"sft_weight": 0.3}},
    "no contrast": {"pairs": {"contrast": 0.0}},
    "pairs of shots": {"pairs": {"unit": "shot"}},
    "beta 0.05": {"train": {"beta": 0.05}},
}
"""What each row has that the base has not."""


def main() -> None:
    """Trains and scores every row, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the rows")
    parser.add_argument("--only", nargs="+", choices=[START, *ROWS], default=[START, *ROWS], help="these rows")
    parser.add_argument("--captioner", default="captioner_small", help="of the rows that caption previews")
    parser.add_argument("--scenes", type=int, default=1000, help="whose candidates are judged (default 1000)")
    parser.add_argument("--steps", type=int, default=100, help="of training (default 100)")
    parser.add_argument("--rounds", type=int, default=1, help="of the base (default 1)")
    parser.add_argument("--show", action="store_true", help="train nothing")
    args = parser.parse_args()
    use_compilation_cache(0.0)
    for name in args.only if not args.show else ():
        run(name, args)
    print("\n".join(table(args.out)))


def run(name: str, args: argparse.Namespace) -> None:
    """Does one row: its loop, and the scores of its plans when they are re-ranked."""
    config = configured(name, args)
    folder = args.out / name.replace(" ", "_")
    if name == START:
        planners = {START: config.pairs.planner}
    else:
        if name != BASE:
            _copy(args.out / BASE / loop.START / loop.SCORES, folder / loop.START / loop.SCORES)
        loop.run(config, folder, lambda what, done, total: total or print(f"{name}: {what}", flush=True))
        planners = {f"round_{i}": str(folder / f"round_{i}/train/export") for i in range(1, config.rounds + 1)}
    for part, planner in planners.items():
        file = folder / part / f"reranked_{RERANKED}.json"
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, score_planner(load_planner(planner), config.test_scenes, candidates=RERANKED))


def configured(name: str, args: argparse.Namespace) -> LoopConfig:
    """The loop of a row."""
    values = loop_small.get_config().to_dict()
    values |= {"scenes": args.scenes, "rounds": args.rounds if name == BASE else 1}
    values["pairs"] |= {"captioner": args.captioner, "probes": 0}
    values["train"] |= {"steps": args.steps, "eval_every": args.steps, "checkpoint_every": args.steps}
    if name not in (BASE, START):
        values["pairs"]["drawn"] = str(args.out / BASE / "round_1" / "pairs")
    for part, changes in ROWS.get(name, {}).items():
        values[part] |= changes
    return from_dict(LoopConfig, values)


def _copy(source: Path, target: Path) -> None:
    if not source.is_file():
        raise SystemExit(f"the row {BASE} comes first: its candidates are judged by all others")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes())


def table(out: Path) -> list[str]:
    """The scores of all rows in a folder, as Markdown."""
    heads = ["", "pairs", *SHOWN.values(), f"subject lost, best of {RERANKED}", "F1", "prompts"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    shown = {"start": out / BASE / loop.START} if (out / BASE / loop.START / loop.SCORES).is_file() else {}
    for name in ROWS:
        folders = sorted((out / name.replace(" ", "_")).glob("round_*"))
        shown |= {name if number == 1 else f"{name}, round {number}": f for number, f in enumerate(folders, 1)}
    for name, folder in shown.items():
        if not (folder / loop.SCORES).is_file():
            continue
        scores, again = (
            _read(folder / loop.SCORES),
            _read(
                out / START / START / f"reranked_{RERANKED}.json"
                if name == START
                else folder / f"reranked_{RERANKED}.json"
            ),
        )
        pairs = folder / "pairs" / "pairs.jsonl"
        count = sum(1 for _ in pairs.open()) if pairs.is_file() else ""
        cells = [f"{scores[key]:.3f}" for key in SHOWN]
        cells += [f"{again[key]:.3f}" if again else "" for key in ("off_screen_lost", "tag_f1", "prompt_accuracy")]
        lines.append("| " + " | ".join([name, str(count), *cells]) + " |")
    return lines


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text()) if file.is_file() else {}


if __name__ == "__main__":
    main()
