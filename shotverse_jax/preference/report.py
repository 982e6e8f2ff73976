"""The report of a loop: the scores of every round, and pictures of the plans that changed most."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shotverse_jax.config import LoopConfig
from shotverse_jax.files import read_json, replacing
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.infer.ready import load_planner
from shotverse_jax.stage.preview import preview_frames
from shotverse_jax.views.contact_sheet import plot_film

REPORT, PICTURES = "report.md", "pictures"
SHOWN = {
    "off_screen_lost": "subject lost",
    "misr": "MisR",
    "tag_f1": "F1",
    "prompt_accuracy": "prompts",
    "clatr_fcd": "FCD",
}
"""The scores of the table, and their names there. The first is the share of frames whose truth shows the subject and
whose plan does not."""

F1_LOSS = 0.01
"""How much F1 and the accuracy of prompts may be below the start for a round to count as better."""

CHANGES = 3
"""How many of the plans that gained most, and of those that lost most, are drawn."""

SIZE = (224, 128)
"""Width and height of a frame of the pictures, pixels."""


def write_report(config: LoopConfig, folder: Path) -> Path | str:
    """Writes report.md and its pictures; returns the planner of the best round, or of the start."""
    planners = {"start": config.pairs.planner}
    planners |= {f"round_{i}": str(folder / f"round_{i}" / "train" / "export") for i in range(1, config.rounds + 1)}
    scores = {name: read_json(folder / name / "scores.json") for name in planners}
    best = best_of(scores)
    lines = [
        "# Preference optimisation",
        "",
        *table(scores),
        "",
        f"The best planner is that of {best}: `{planners[best]}`.",
    ]
    if best != "start":
        lines += _pictures(planners["start"], planners[best], scores["start"], scores[best], folder)
    with replacing(folder / REPORT) as place:
        place.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return planners[best]


def best_of(scores: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns the round that loses the subject least, of those whose motions are as good as the start's."""
    start = scores["start"]
    good = [
        name
        for name, found in scores.items()
        if all(found[key] >= start[key] - F1_LOSS for key in ("tag_f1", "prompt_accuracy"))
    ]
    return min(good, key=lambda name: scores[name]["off_screen_lost"])


def table(scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns the scores as lines of Markdown."""
    known = [key for key in SHOWN if all(key in found for found in scores.values())]
    lines = ["| | " + " | ".join(SHOWN[key] for key in known) + " |", "|---" * (len(known) + 1) + "|"]
    lines += [
        f"| {name.replace('_', ' ')} | " + " | ".join(f"{found[key]:.4f}" for key in known) + " |"
        for name, found in scores.items()
    ]
    return lines


def _pictures(before: str, after: str, old: Mapping[str, Any], new: Mapping[str, Any], folder: Path) -> list[str]:
    change_N = np.asarray(new["scenes_lost"]) - np.asarray(old["scenes_lost"])
    order = np.argsort(change_N, kind="stable")
    gained = [i for i in order[:CHANGES] if change_N[i] < 0]
    lost = [i for i in order[::-1][:CHANGES] if change_N[i] > 0]
    planners, lines = [load_planner(name) for name in (before, after)], []
    for title, chosen in (("Subjects that are kept now", gained), ("Subjects that are lost now", lost)):
        lines += ["", f"## {title}"] if chosen else []
        for number in map(int, chosen):
            name = f"{PICTURES}/scene_{number}.png"
            _picture(planners, number, folder / name)
            lines += [
                "",
                f"Scene {number}: {change_N[number]:+.0%} of the frames that should show it.",
                "",
                f"![before and after]({name})",
            ]
    return lines


def _picture(planners: Sequence[Any], number: int, path: Path) -> None:
    example, width, height = sample_example(number, "test"), *SIZE
    films = []
    for planner in planners:
        [plan] = planner.plan([example.screenplay], candidates=1)
        [trajectory] = plan.trajectories
        films.append(np.stack(list(preview_frames(trajectory, example.scene, width, height))))
    path.parent.mkdir(parents=True, exist_ok=True)
    plot_film(films[0], trajectory, path, films[1], names=("before", "after"))
