"""Pairs of films: the judged ones are in two tables of the same rows, which are lists of scenes."""

import dataclasses

import numpy as np
import pytest

from shotverse_jax.camera.formats import write_trajectory
from shotverse_jax.data.scenes import find_scenes
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.infer.batch import run_batch
from shotverse_jax.inputs.items import Item
from shotverse_jax.preference.films import CAMERAS, FILM, TABLES, FilmPairsWork, write_tables
from shotverse_jax.preference.selection import Rule, Verdict
from shotverse_jax.views.video import write_video


@dataclasses.dataclass(frozen=True)
class Bright:
    """Likes bright films."""

    name: str = "bright"
    sees: bool = True
    settings: dict = dataclasses.field(default_factory=dict)

    def judge(self, screenplay, candidates, clips=None, truth=None):
        return Verdict(np.array([[clip.mean() / 255 for clip in own] for own in clips]))


@pytest.fixture
def films(tmp_path):
    """Two items with three films each, the third of the first item and the first of the second the brightest."""
    items = []
    for number, shades in enumerate(((40, 90, 220), (200, 30, 100))):
        example = sample_example(number, num_shots=2)
        items.append(Item(f"play_{number}", example.screenplay))
        for sample, shade in enumerate(shades):
            folder = tmp_path / "films" / f"play_{number}" / f"sample_{sample}"
            folder.mkdir(parents=True)
            write_trajectory(example.trajectory, folder / CAMERAS, "shotverse")
            frames = (np.full((16, 24, 3), shade, np.uint8) for _ in range(len(example.trajectory)))
            write_video(folder / FILM, frames, 16.0)
    return items, tmp_path


def test_tables(films):
    items, folder = films
    items.append(Item("play_2", items[0].screenplay))  # there are no films of it
    work = FilmPairsWork(folder / "films", [Bright()], Rule(margin=0.1), (4, 16, 24))
    summary = run_batch(items, work, folder / "out")
    assert (summary.made, summary.failed) == (2, 1)
    assert write_tables(items, folder / "films", folder / "out") == 2
    rows = [[scene.video.parent.name for scene in find_scenes(folder / "out" / name)] for name in TABLES]
    assert rows == [["sample_2", "sample_0"], ["sample_0", "sample_1"]]
    assert all(scene.video.is_file() for name in TABLES for scene in find_scenes(folder / "out" / name))
    nothing = FilmPairsWork(folder / "films", [Bright()], Rule(margin=0.9), (4, 16, 24))
    run_batch(items, nothing, folder / "none")
    assert write_tables(items, folder / "films", folder / "none") == 0
