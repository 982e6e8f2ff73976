"""From films to a bench: shots, scenes, then what is chosen of them."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from shotverse_jax.bench import outputs
from shotverse_jax.bench.films import Film
from shotverse_jax.bench.scenes import Scene
from shotverse_jax.bench.windows import SIZES, Placed, place
from shotverse_jax.bench.work import BenchJob
from shotverse_jax.calibration.shots import Box
from shotverse_jax.config import BenchConfig
from shotverse_jax.files import owned, reading
from shotverse_jax.infer.batch import RESULTS, Progress, Summary, run_batch
from shotverse_jax.inputs.items import Entry, Refused
from shotverse_jax.views.video import VideoInfo

FILMS, SCENES, STAGES = "films", "scenes", "stages"

Run = Callable[[Sequence[Entry | Refused], BenchJob, Path], Summary]
"""Does a job with every entry of a list; the results go to the folder."""


class Stopped(Exception):
    """The build was stopped before its end; the same call goes on."""


def here(items: Sequence[Entry | Refused], job: BenchJob, out: Path) -> Summary:
    """Does a job in this process."""
    return run_batch(items, job.load(), out)


def build(
    films: Sequence[Film | Refused],
    out: str | Path,
    config: BenchConfig | None = None,
    run: Run = here,
    progress: Progress = lambda what, done, total: None,
) -> dict[str, Any]:
    """Builds a bench; returns the values of its bench.json. What is there already is not made again.

    Args:
        films: as `films.read_films` reads them.
        out: the folder of the bench.
        config: how; None (default) takes all defaults.
        run: does the jobs, on whatever machines; default in this process.
        progress: called with (message, 0, 0).

    Raises:
        ValueError: no film can be used, or there is no scene in them; or the folder cannot be written.
        Stopped: `run` left something.
    """
    out, config = Path(out), config or BenchConfig()
    with owned(out):
        found = _cuts(films, out, config, run, progress)
        placed = place({name: (record["spans"], record["info"][1]) for name, record in found.items()}, config)
        scenes = _scenes(films, found, placed)
        _say(placed, config, progress)
        if not scenes:
            seconds, rate = config.frames / config.fps, f"{config.fps:g}"
            raise ValueError(
                f"the films have no scene: none has two or more shots in a row, without a fade between them, that "
                f"together last {seconds:.1f} s ({config.frames} frames at {rate} per second)"
            )
        outputs.unseal(out, scenes, config)
        _run(scenes, BenchJob("scenes", config, str((out / STAGES).absolute())), out / SCENES, run)
        _forget(out / SCENES, scenes)
        bench = outputs.write(out, films, found, scenes, read_records(out / SCENES), config)
        if not any(record.get("error") for record in read_records(out / SCENES).values()):
            shutil.rmtree(out / STAGES, ignore_errors=True)
    return bench


def read_records(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns the records of a finished list by their ids, those of entries that failed too."""
    with reading(folder / RESULTS, "lines of JSON"):
        rows = [json.loads(line) for line in (folder / RESULTS).read_text(encoding="utf-8").splitlines()]
    return {row["id"]: row for row in rows}


def _run(items: Sequence[Entry | Refused], job: BenchJob, folder: Path, run: Run) -> None:
    if run(items, job, folder).left:
        raise Stopped


def _cuts(films, out: Path, config: BenchConfig, run: Run, progress: Progress) -> dict[str, dict[str, Any]]:
    """The records of the films that can be used."""
    progress(f"looking for the shots of {len(films)} films …", 0, 0)
    _run(films, BenchJob("cuts", config, ""), out / FILMS, run)
    records = read_records(out / FILMS)
    failed = [f"{name}: {record['error']}" for name, record in records.items() if record["error"]]
    for words in failed:
        progress(f"left out {words}", 0, 0)
    if len(failed) == len(records):
        raise ValueError(f"no film can be used; {failed[0]}")
    return {name: record for name, record in records.items() if not record["error"]}


def _scenes(films, found: dict[str, dict[str, Any]], placed: Placed) -> list[Scene]:
    by_name = {film.id: film for film in films if isinstance(film, Film)}
    scenes = []
    for name, window in placed.windows:
        film, record = by_name[name], found[name]
        place = VideoInfo(*record["info"]), Box(*record["picture"])
        id_ = f"{name}_{window.start:06d}"
        scenes.append(Scene(id_, name, film.source, film.video, *place, window, film.calibration))
    return scenes


def _say(placed: Placed, config: BenchConfig, progress: Progress) -> None:
    counts = {size: sum(len(window.cuts) + 1 == size for _, window in placed.windows) for size in SIZES}
    words = ":".join(map(str, config.proportion))
    shots = ", ".join(f"{count} of {size} shots" for size, count in counts.items())
    progress(f"the films have room for {len(placed.windows)} scenes in the proportion {words} ({shots}) …", 0, 0)
    most = max(placed.alone.values())
    if most > 1.2 * len(placed.windows):
        room = ", ".join(f"{count} of {size} shots" for size, count in placed.alone.items())
        progress(f"note: of one size alone there would be {room}; --proportion 1:0:0 and the like takes them", 0, 0)


def _forget(folder: Path, scenes: Sequence[Scene]) -> None:
    """Removes the scenes of an earlier build that are none of this one."""
    names = {scene.id for scene in scenes}
    for place_ in folder.iterdir():
        if place_.is_dir() and place_.name not in names and not place_.name.startswith("."):
            shutil.rmtree(place_)


def of_folder(path: str | Path, out: str | Path, **values: Any) -> dict[str, Any]:
    """Builds a bench of a folder or table of films, as `films.read_films` reads them; `values` are `BenchConfig`'s."""
    from shotverse_jax.bench.films import read_films

    config = dataclasses.replace(BenchConfig(), **values)
    return build(read_films(path, config.calibration), out, config)
