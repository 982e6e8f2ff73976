"""Pairs of films: of a batch of several films for each screenplay, the best and the worst by judges that look at them.

The result is two tables of scenes, `chosen.csv` and `rejected.csv`, row i of both of one screenplay. `launch.encode`
encodes each, and the task `film_preference` learns from both.
"""

import csv
import functools
import io
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from shotverse_jax.camera.formats import read_trajectory
from shotverse_jax.files import read_json, replacing
from shotverse_jax.infer.batch import Made
from shotverse_jax.inputs.items import RECORD, Item, Refused
from shotverse_jax.preference.judges import Judge
from shotverse_jax.preference.previews import clips_of
from shotverse_jax.preference.selection import Rule, choose
from shotverse_jax.screenplay import write_screenplay

FILM, CAMERAS, SCREENPLAY = "film.mp4", "cameras.json", "screenplay.json"
TABLES = ("chosen.csv", "rejected.csv")


class FilmPairsWork:
    """Judges the films of a batch; one of the works of `infer.batch.run_batch`.

    Args:
        films: folder of results of `shotverse batch --task film` with several samples.
        judges: at least one that sees; their names differ.
        rule: which films make a pair; its unit is the scene.
        size: (frames of a clip, height, width) as the judges see films.
    """

    group, notes = 1, ()

    def __init__(self, films: str | Path, judges: Sequence[Judge], rule: Rule, size: tuple[int, int, int]):
        self._films, self._judges, self._rule, self._size = Path(films), tuple(judges), rule, size
        self.settings: dict[str, Any] = {
            "task": "film_pairs",
            "judges": {judge.name: judge.settings for judge in judges},
            "films": str(films),
            "size": size,
        }

    def buckets(self, items: Sequence[Item]) -> list[Hashable | Exception]:
        """As `infer.batch.Work.buckets`."""
        return [0] * len(items)

    def make(self, items: Sequence[Item]) -> Iterator[Made]:
        """As `infer.batch.Work.make`."""
        for index, item in enumerate(items):
            folders = sorted((self._films / item.id).glob("sample_*"), key=lambda path: int(path.name.split("_")[1]))
            if len(folders) < 2:
                raise ValueError(f"{self._films / item.id} has not several films: make them with samples")
            cameras = [read_trajectory(folder / CAMERAS) for folder in folders]
            clips = [clips_of(folder / FILM, path, *self._size) for folder, path in zip(folders, cameras, strict=True)]
            play = item.screenplay
            verdicts = {judge.name: judge.judge(play, cameras, clips if judge.sees else None) for judge in self._judges}
            found = next(choose(verdicts, None, self._rule), None)
            values = {
                "scores": {name: verdict.plans_J.tolist() for name, verdict in verdicts.items()},
                "pair": None if found is None else [folders[found.chosen].name, folders[found.rejected].name],
            }
            yield Made(index, functools.partial(self._write, item, values))

    def _write(self, item: Item, values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        write_screenplay(item.screenplay, folder / SCREENPLAY)
        return {**self.settings, **values}


def write_tables(items: Sequence[Item | Refused], films: str | Path, out: Path) -> int:
    """Writes both tables from the records of a finished batch; returns the number of pairs."""
    rows: tuple[list, list] = ([], [])
    for item in items:
        record = out / item.id / RECORD
        if not record.is_file():
            continue
        for number, sample in enumerate(read_json(record).get("pair") or ()):
            folder = Path(films).absolute() / item.id / sample
            play = (out / item.id / SCREENPLAY).absolute()
            rows[number].append([play, folder / CAMERAS, folder / FILM])
    for name, found in zip(TABLES, rows, strict=True):
        text = io.StringIO()
        csv.writer(text).writerows([["screenplay", "trajectory", "video"], *found])
        with replacing(out / name) as place:
            place.write_text(text.getvalue(), encoding="utf-8", newline="")
    return len(rows[0])
