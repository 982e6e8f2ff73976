"""What is in a bench and what was left out: numbers, and a page of pictures of them."""

import collections
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shotverse_jax.bench.choosing import SPLITS
from shotverse_jax.bench.scenes import Scene
from shotverse_jax.bench.windows import SIZES
from shotverse_jax.views.bars import Panel, plot_bars

SECONDS = (0, 1, 2, 3, 4, 5, 6, 8, 10, 15)
"""Edges of the lengths of shots."""
LENSES = (0, 18, 24, 28, 35, 50, 70, 100)
"""Edges of the focal lengths, mm on a sensor of 36 mm."""


def statistics(
    films: Mapping[str, Mapping[str, Any]],
    failed_films: int,
    scenes: Sequence[Scene],
    records: Mapping[str, Mapping[str, Any]],
    splits: Mapping[str, str],
) -> dict[str, Any]:
    """Returns the numbers of a bench.

    Args:
        films: the records of the films.
        failed_films: films that could not be read.
        scenes: those that were tried.
        records: the records of these.
        splits: the split of each that is in the bench, by its name.
    """
    made = {scene.id: records[scene.id] for scene in scenes if not records[scene.id]["error"]}
    rejected = {name: record for name, record in made.items() if not record["accepted"]}
    shots = [shot for name in splits for shot in made[name]["shots"]]
    gates = collections.Counter(
        gate for record in rejected.values() for shot in record["shots"] for gate in shot["failed"]
    )
    sizes = {
        split: collections.Counter(len(made[name]["shots"]) for name in splits if splits[name] == split)
        for split in SPLITS
    }
    return {
        "films": {"read": len(films), "failed": failed_films, "shots": sum(len(f["spans"]) for f in films.values())},
        "scenes": {split: {str(size): sizes[split][size] for size in SIZES} for split in SPLITS},
        "tried": len(scenes),
        "accepted": len(made) - len(rejected),
        "rejected": len(rejected),
        "spare": len(made) - len(rejected) - len(splits),
        "failed": len(scenes) - len(made),
        "sources": {split: len({made[name]["source"] for name in splits if splits[name] == split}) for split in SPLITS},
        "shots": len(shots),
        "moves": dict(collections.Counter(move for shot in shots for move in shot["moves"]).most_common()),
        "seconds": _binned([shot["seconds"] for shot in shots], SECONDS),
        "focal_mm": _binned([shot["focal_mm"] for shot in shots], LENSES),
        "gates": dict(gates.most_common()),
    }


def _binned(values: Sequence[float], edges: Sequence[float]) -> dict[str, int]:
    """How many values are between each two edges."""
    names = [f"{low:g}-{high:g}" for low, high in zip(edges, edges[1:], strict=False)] + [f"{edges[-1]:g}+"]
    place = lambda value: sum(value >= edge for edge in edges) - 1  # noqa: E731
    found = collections.Counter(place(value) for value in values)
    return {name: found[k] for k, name in enumerate(names)}


def plot(values: Mapping[str, Any], path: Path) -> None:
    """Draws the page."""
    left = {name: values[name] for name in ("accepted", "rejected", "failed")}
    scenes = {f"{size} shots": [values["scenes"][split][size] for split in SPLITS] for size in map(str, SIZES)}
    single = lambda counts: {name: [count] for name, count in counts.items()}  # noqa: E731
    plot_bars(
        f"{sum(sum(counts.values()) for counts in values['scenes'].values())} scenes, {values['shots']} shots",
        [
            Panel("Scenes by shots", scenes, SPLITS),
            Panel("Moves (shots that have them)", single(values["moves"])),
            Panel("Length of shots, seconds", single(values["seconds"])),
            Panel("Focal length, mm", single(values["focal_mm"])),
            Panel("Scenes that were tried", single(left)),
            Panel("Shots of rejected scenes, by gate", single(values["gates"])),
        ],
        path,
    )
