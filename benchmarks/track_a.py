"""ShotVerse's Tables 2 and 6 in miniature: planners of one budget on the stage's scenes, scored by Track A.

    python -m benchmarks.track_a --out runs/track_a                # 15 runs; a stopped one goes on with the same line
    python -m benchmarks.track_a --out runs/track_a --petaflop 0.01 --seeds 1 --scenes 20 --only planner
    python -m benchmarks.track_a --out runs/track_a --show         # the table of what is there

Every row learns from the same endless scenes of the film grammar, begins with random weights, and has the same number
of operations to spend on training steps (`cost/flops.py`), optimizer and learning rate. The GenDoP-style model sees the
shots of these scenes one by one, as GenDoP does. Then each plans the same held-out scenes. A scene is brought to its
reference's extent with one factor, GenDoP's shots each with their own, for they have no common world. Cells are means
over seeds and their standard deviation.
"""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from shotverse_jax import train
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.config import TrainConfig
from shotverse_jax.configs.gendop import small as gendop_small
from shotverse_jax.configs.planner import native_decoder, no_queries, no_vlm
from shotverse_jax.configs.planner import small as planner_small
from shotverse_jax.evaluation.features.clatr import CLaTrReader
from shotverse_jax.evaluation.tracks import track_a
from shotverse_jax.evaluation.tracks.pairs import Pair
from shotverse_jax.grammar.samples import Example, sample_example
from shotverse_jax.infer import gendop
from shotverse_jax.infer.plan import Director, plan
from shotverse_jax.infer.samples import Sampled
from shotverse_jax.screenplay import Screenplay, Shot
from shotverse_jax.train.tasks import gendop as gendop_task
from shotverse_jax.train.tasks import planner as planner_task

ROWS = {
    "planner": planner_small,
    "no VLM encoder": no_vlm,
    "native VLM decoder": native_decoder,
    "no query tokens": no_queries,
    "GenDoP, shot by shot": gendop_small,
}
BATCH = 16
SIZES = {
    "text": {"hidden_size": 128, "num_layers": 2, "num_heads": 2, "mlp_size": 384},
    "decoder": {"hidden_size": 128, "num_layers": 4, "num_heads": 2},
}
"""Smaller than the planner that ships, so that a small budget is enough steps to learn what the words ask for: of 600
steps with 192 columns and 6 layers, 32 scenes each, no row learned that."""

SHOWN = {
    "captions/f1": "F1",
    "captions/mean/f1": "F1 of axes",
    "clatr/clatr_score": "CLaTr-CLIP",
    "clatr/fcd": "FCD",
    "clatr/coverage": "coverage",
    "retrieval/text_r5": "R@5",
}


def main() -> None:
    """Trains and scores every row with every seed, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs and their scores")
    parser.add_argument("--petaflop", type=float, default=0.05, help="operations of a row's training (default 0.05)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--scenes", type=int, default=300, help="held-out scenes (default 300)")
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), help="these rows")
    parser.add_argument("--show", action="store_true", help="train nothing")
    args = parser.parse_args()
    for seed in range(args.seeds):
        for name in args.only if not args.show else ():
            folder = args.out / f"{name.replace(' ', '_').replace(',', '')}-{seed}"
            if not (folder / "scores.json").is_file():
                scores = run(name, seed, folder, 1e15 * args.petaflop, args.scenes)
                (folder / "scores.json").write_text(json.dumps({"row": name, "seed": seed} | scores, indent=1) + "\n")
    print("\n".join(table(args.out)))


def run(name: str, seed: int, folder: Path, budget: float, scenes: int) -> dict[str, float]:
    """Trains one row with one seed, and returns its scores; a run that was stopped goes on."""
    config = with_budget(ROWS[name].get_config().to_dict() | {"seed": seed}, budget)
    print(f"{name}, seed {seed}: {config.steps} steps of {cost(config) / 1e12:.3f} teraflop", flush=True)
    task = train.build(config, folder)
    state = train.train(task, folder)
    if int(state.step) < config.steps:
        raise SystemExit(f"stopped at step {int(state.step)} of {config.steps}; the same line goes on")
    train.export(task, state, folder / "export")
    examples = [sample_example(number, "test") for number in range(scenes)]
    pairs = PAIRS[config.task](folder / "export", examples, seed)
    scores = track_a.scores(track_a.read_shots(pairs, CLaTrReader.load()))
    return scores | {"steps": config.steps, "parameters": parameters(task.trainable)}


def with_budget(values: dict, budget: float) -> TrainConfig:
    """The config of a row, with as many steps as the budget allows; all that counts in steps is scaled with them."""
    values |= {"path_weight": 0.0} if values["task"] == "planner" else {}
    values |= {"batch": BATCH}
    for part, sizes in SIZES.items():
        known = values["model"][part]
        known.update({name: value for name, value in sizes.items() if name in known})
    config = train.read_config(values)
    steps = max(10, round(budget / cost(config)))
    scale = steps / config.steps
    changes = {"steps": steps, "warmup": max(1, round(scale * config.warmup)), "ema": max(0.9, 1 - 10 / steps)}
    changes |= {"eval_every": steps, "checkpoint_every": max(1, steps // 4)}
    if values["task"] == "planner":
        changes["single_shot_steps"] = round(scale * config.single_shot_steps)
    return dataclasses.replace(config, **changes)


def cost(config: TrainConfig) -> float:
    """Operations of a training step, on average over the numbers of shots."""
    if config.task == "gendop":
        return config.batch * sum(part.step() for part in gendop_task.work(config))
    share = np.asarray(config.shot_weights) / sum(config.shot_weights)
    steps = [sum(part.step() for part in planner_task.work(config, shots + 1)) for shots in range(len(share))]
    return config.batch * float(share @ steps)


def parameters(tree: dict) -> int:
    """How many numbers learn."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def scene_pairs(folder: Path, examples: Sequence[Example], seed: int) -> list[Pair]:
    """Plans of a planner beside the truth, scene by scene, sampled as ShotVerse does."""
    planned = plan(Director.load(str(folder)), [example.screenplay for example in examples], seed=seed)
    return [
        Pair(str(number), path, example.trajectory, tuple(shot.caption for shot in example.screenplay.shots))
        for number, (example, [path]) in enumerate(zip(examples, planned, strict=True))
    ]


def shot_pairs(folder: Path, examples: Sequence[Example], seed: int) -> list[Pair]:
    """Plans of GenDoP beside the truth, shot by shot, sampled as it does, with as many frames as were asked for."""
    planner = gendop.GenDoPPlanner.load(str(folder))
    shots = [(example, number) for example in examples for number in range(len(example.screenplay.shots))]
    plays = [
        dataclasses.replace(screenplay, caption="", shots=(Shot(screenplay.words(number)),), frames=None)
        for screenplay, number in ((example.screenplay, number) for example, number in shots)
    ]
    pairs = []
    for (example, number), play, found in zip(shots, plays, gendop.sample_ids(planner, plays, seed=seed), strict=True):
        truth = example.trajectory.shot(number)
        path = read_or_still(planner, play, found).retimed([(0, len(truth))], truth.fps)
        pairs.append(Pair(str(len(pairs)), path, truth, (example.screenplay.shots[number].caption,)))
    return pairs


def read_or_still(planner: gendop.GenDoPPlanner, play: Screenplay, found: Sampled) -> Trajectory:
    """A plan of one shot; a still camera where the tokens are none, as GenDoP has it."""
    try:
        anchor_3 = None if found.anchor_J3 is None else found.anchor_J3[0]
        return gendop.read_plan(planner.config, play, found.ids_JN[0], anchor_3)
    except ValueError as error:
        print(f"a still camera in place of a shot: {error}")
        frames = play.layout().num_frames
        lens, middle = float(play.width), (play.width / 2, play.height / 2)
        still_T34 = np.tile(np.eye(3, 4), (frames, 1, 1))
        return Trajectory(
            still_T34, [lens, lens, *middle], play.width, play.height, np.zeros(frames, np.int32), play.fps
        )


PAIRS = {"planner": scene_pairs, "gendop": shot_pairs}


def table(out: Path) -> list[str]:
    """The scores of all runs in a folder, as Markdown."""
    runs = [json.loads(path.read_text()) for path in sorted(out.glob("*/scores.json"))]
    heads = ["", "seeds", "shots", "steps", "million parameters", *SHOWN.values()]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for name in ROWS:
        found = [run for run in runs if run["row"] == name]
        if found:
            values = [
                *(name, len(found), round(found[0]["samples"]), found[0]["steps"]),
                f"{found[0]['parameters'] / 1e6:.1f}",
                *(_cell([run[key] for run in found]) for key in SHOWN),
            ]
            lines.append("| " + " | ".join(map(str, values)) + " |")
    return lines


def _cell(values: Sequence[float]) -> str:
    """Mean and standard deviation over seeds."""
    spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


if __name__ == "__main__":
    main()
