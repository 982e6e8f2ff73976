"""What the folder of a bench holds.

scenes/<scene>/      the files of every scene (`scenes.py`)
train.jsonl          the scenes for training, a table that `launch.encode` and planners' training read; test.jsonl
records/train/       the same as ArrayRecord; records/test/
index.html           all contact sheets with their captions; statistics.png, statistics.json
bench.json           settings, scenes, and the SHA-256 of their files; it comes last
films/, stages/      the shots of the films; what is reconstructed of scenes that are not finished
"""

import dataclasses
import html
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import shotverse_jax
from shotverse_jax.bench import statistics as numbers
from shotverse_jax.bench.choosing import SPLITS, choose, split
from shotverse_jax.bench.films import Film
from shotverse_jax.bench.scenes import CAMERAS, FILES, FILM, PLAY, SHEET, Scene
from shotverse_jax.calibration import kept
from shotverse_jax.config import BenchConfig
from shotverse_jax.data.records import write_dataset
from shotverse_jax.data.scenes import SceneFiles, SceneRecords
from shotverse_jax.files import json_text, read_json, replacing, write_json
from shotverse_jax.infer.batch import file_digest
from shotverse_jax.inputs.items import Refused

BENCH, INDEX, RECORDS = "bench.json", "index.html", "records"
STATISTICS = ("statistics.json", "statistics.png")
OWNS = (BENCH, INDEX, *STATISTICS, *(f"{name}.jsonl" for name in SPLITS), f"{RECORDS}/*/*")


def unseal(out: Path, scenes: Sequence[Scene], config: BenchConfig) -> None:
    """Removes the seal of a bench of other scenes or settings: it is no bench while its scenes are replaced."""
    if (out / BENCH).is_file():
        try:
            same = read_json(out / BENCH).get(kept.KEY) == _made_of(scenes, config)
        except ValueError:
            same = False
        if not same:
            (out / BENCH).unlink()


def _made_of(scenes: Sequence[Scene], config: BenchConfig) -> str:
    films = {scene.video: file_digest(scene.video) for scene in scenes}
    return kept.digest(dataclasses.asdict(config), [scene.values() for scene in scenes], films)


def write(
    out: Path,
    films: Sequence[Film | Refused],
    found: Mapping[str, Mapping[str, Any]],
    scenes: Sequence[Scene],
    records: Mapping[str, Mapping[str, Any]],
    config: BenchConfig,
) -> dict[str, Any]:
    """Writes everything of a bench but its scenes; returns the values of bench.json.

    Args:
        out: the folder, which has the scenes already.
        films: all films.
        found: the records of those that can be used.
        scenes: those that were tried.
        records: their records.
        config: the settings.

    Raises:
        ValueError: no scene was accepted, or the folder cannot be written.
    """
    good = [scene for scene in scenes if not records[scene.id]["error"] and records[scene.id]["accepted"]]
    if not good:
        raise ValueError(_nothing(records))
    chosen = choose(good, config.proportion)
    of_source = split(chosen, config.test)
    splits = {scene.id: of_source[scene.source] for scene in chosen}
    made = numbers.statistics(found, len(films) - len(found), scenes, records, splits)
    listed = [_entry(out, scene, records[scene.id], splits[scene.id]) for scene in chosen]
    bench = {
        kept.KEY: _made_of(scenes, config),
        "versions": _versions(config),
        "settings": dataclasses.asdict(config),
        "scenes": listed,
        "spare": [scene.id for scene in good if scene.id not in splits],
    }
    with replacing(out, OWNS, seal=BENCH) as place:
        place.mkdir(exist_ok=True)
        for name in SPLITS:
            part = [entry for entry in listed if entry["split"] == name]
            rows = (json_text(_row(entry)) + "\n" for entry in part)
            (place / f"{name}.jsonl").write_text("".join(rows), encoding="utf-8")
            if part:
                _write_records(place / RECORDS / name, out, part, config)
        write_json(place / STATISTICS[0], made)
        numbers.plot(made, place / STATISTICS[1])
        (place / INDEX).write_text(_page(listed, records), encoding="utf-8")
        write_json(place / BENCH, bench)
    return bench | {"statistics": made}


def _nothing(records: Mapping[str, Mapping[str, Any]]) -> str:
    """Why a bench has no scene."""
    errors = [record["error"] for record in records.values() if record["error"]]
    gates = sorted({gate for record in records.values() for shot in record.get("shots", ()) for gate in shot["failed"]})
    why = f"the gates that they failed are {', '.join(gates)}" if gates else f"the first failed: {errors[0]}"
    return f"none of {len(records)} scenes can be believed, so there is no bench; {why}"


def _entry(out: Path, scene: Scene, record: Mapping[str, Any], name: str) -> dict[str, Any]:
    folder = out / "scenes" / scene.id
    return {
        "id": scene.id,
        "split": name,
        "film": scene.film,
        "source": scene.source,
        "frames": [scene.window.start, scene.window.end],
        "shots": len(record["shots"]),
        "files": {file: kept.sha256(folder / file) for file in FILES},
    }


def _row(entry: Mapping[str, Any]) -> dict[str, str]:
    """A line of the table of a split."""
    folder = f"scenes/{entry['id']}"
    files = {"video": FILM, "screenplay": PLAY, "trajectory": CAMERAS}
    return {"id": entry["id"], **{name: f"{folder}/{file}" for name, file in files.items()}}


def _write_records(place: Path, out: Path, part: Sequence[Mapping[str, Any]], config: BenchConfig) -> None:
    scenes = []
    for entry in part:
        folder = out / "scenes" / entry["id"]
        scenes.append(SceneFiles(entry["id"], str(folder / PLAY), str(folder / CAMERAS), folder / FILM))
    size = {"frames": config.frames, "height": config.height, "width": config.width, "fps": config.fps}
    source = SceneRecords(scenes, **size, videos=config.records == "video")
    # Tuples would come back as lists, and the settings of a finished data set are read only.
    written = write_dataset(place, source, {"source": "bench", "scenes": len(scenes), **size})
    if written.skipped:
        raise ValueError(f"a scene cannot be read back: {written.skipped[0]['reason']}")


def _versions(config: BenchConfig) -> dict[str, str]:
    versions = {"shotverse_jax": shotverse_jax.__version__}
    if config.calibration.reconstruct == "colmap":
        versions["pycolmap"] = metadata.version("pycolmap")
    return versions


STYLE = (
    "body{font:15px sans-serif;max-width:1100px;margin:2em auto;color:#222}img{max-width:100%;border:1px solid #ddd}"
    "h2{margin-top:2em}li{margin:.2em 0}small{color:#888}"
)


def _page(listed: Sequence[Mapping[str, Any]], records: Mapping[str, Mapping[str, Any]]) -> str:
    """A page of all scenes."""
    lines = [
        f'<!doctype html><meta charset="utf-8"><title>Bench</title><style>{STYLE}</style>',
        f"<h1>{len(listed)} scenes</h1>",
        f'<img src="{STATISTICS[1]}" alt="statistics">',
    ]
    for entry in listed:
        folder, record = f"scenes/{entry['id']}", records[entry["id"]]
        shots = "".join(f"<li>{html.escape(shot['caption'])}</li>" for shot in record["shots"])
        lines += [
            f"<h2>{html.escape(entry['id'])} <small>{entry['split']}, {html.escape(entry['source'])}</small></h2>",
            f"<p>{html.escape(record['caption'])}</p><ol>{shots}</ol>",
            f'<a href="{html.escape(folder)}/{FILM}"><img src="{html.escape(folder)}/{SHEET}" loading="lazy"></a>',
        ]
    return "\n".join(lines) + "\n"
