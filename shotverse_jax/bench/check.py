"""Whether a folder is a bench, as this program writes them: every fault is one sentence."""

import collections
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shotverse_jax.bench.choosing import SPLITS
from shotverse_jax.bench.outputs import BENCH, RECORDS
from shotverse_jax.bench.scenes import CAMERAS, FILES, FILM, PLAY, SHEET
from shotverse_jax.bench.windows import SIZES, quotas
from shotverse_jax.calibration.kept import sha256
from shotverse_jax.camera.formats import read_trajectory
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.config import BenchConfig, from_dict
from shotverse_jax.data.records import Records
from shotverse_jax.data.scenes import find_scenes
from shotverse_jax.files import read_json, reading
from shotverse_jax.screenplay import LATENT_STRIDE, read_screenplay
from shotverse_jax.views.video import probe_video

RIGID = 1e-5
"""Largest |R Rᵀ - I| of a pose."""
NEAR = 1e-4
"""Largest difference of a pose in the records, which are float32, by the extent of its path."""

Progress = Callable[[str, int, int], None]


def check(folder: str | Path, progress: Progress = lambda what, done, total: None) -> list[str]:
    """Returns the faults of a bench, a sentence each.

    Args:
        folder: the bench.
        progress: called with ("scenes", done, all).

    Raises:
        ValueError: the folder has no bench.json that can be read, so that it is no bench, or one that is not finished.
    """
    folder = Path(folder)
    listed, config = _listed(folder)
    faults = [*_names(folder, listed), *_sources(listed), *_proportion(listed, config)]
    paths: dict[str, Trajectory] = {}
    for number, entry in enumerate(listed, 1):
        faults += [f"{entry['id']}: {words}" for words in _scene(folder, entry, config, paths)]
        progress("scenes", number, len(listed))
    for name in SPLITS:
        part = [entry for entry in listed if entry["split"] == name]
        faults += _table(folder / f"{name}.jsonl", part)
        faults += _records(folder / RECORDS / name, part, paths)
    return faults


def _listed(folder: Path) -> tuple[list[dict[str, Any]], BenchConfig]:
    """The scenes of bench.json, and the settings."""
    file = folder / BENCH
    if not file.is_file():
        raise ValueError(f"{folder} has no {BENCH}: it is no bench, or one that is not finished")
    value = read_json(file)
    with reading(file, "the list of a bench"):
        config = from_dict(BenchConfig, value["settings"])
        kinds = {"id": str, "split": str, "film": str, "source": str, "frames": list, "shots": int, "files": dict}
        for entry in value["scenes"]:
            for name, kind in kinds.items():
                if not isinstance(entry[name], kind):
                    raise ValueError(f"{name} of a scene is no {kind.__name__}")
            if len(entry["frames"]) != 2 or not all(isinstance(frame, int) for frame in entry["frames"]):
                raise ValueError("frames of a scene are two numbers")
            if Path(entry["id"]).name != entry["id"] or entry["id"] in ("", ".", ".."):
                raise ValueError(f"a scene has the name {entry['id']!r}, which is none of a folder")
        return value["scenes"], config


def _names(folder: Path, listed: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Faults of the list itself."""
    if not listed:
        yield f"{BENCH} lists no scenes"
    for name, count in collections.Counter(entry["id"] for entry in listed).items():
        if count > 1:
            yield f"{name} is listed {count} times"
    for entry in listed:
        if entry["split"] not in SPLITS:
            yield f"{entry['id']} is in the split {entry['split']!r}; there are {' and '.join(SPLITS)}"
    films = collections.defaultdict(list)
    for entry in listed:
        films[entry["files"].get(FILM)].append(entry["id"])
    for names in films.values():
        if len(set(names)) > 1:
            yield f"{' and '.join(sorted(set(names)))} have the same film"


def _sources(listed: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Faults of what scenes have in common."""
    splits = collections.defaultdict(set)
    films = collections.defaultdict(list)
    for entry in listed:
        splits[entry["source"]].add(entry["split"])
        films[entry["film"]].append((*entry["frames"], entry["id"]))
    for source, found in sorted(splits.items()):
        if len(found) > 1:
            yield f"the source {source} is in {' and '.join(sorted(found))}"
    for film, parts in films.items():
        parts.sort()
        for (_, end, one), (start, _, other) in zip(parts, parts[1:], strict=False):
            if start < end and one != other:
                yield f"{one} and {other} show the same frames of {film}"


def _proportion(listed: Sequence[Mapping[str, Any]], config: BenchConfig) -> Iterator[str]:
    counts = collections.Counter(entry["shots"] for entry in listed)
    if wrong := sorted(set(counts) - set(SIZES)):
        yield f"scenes have 2, 3 or 4 shots, and {counts[wrong[0]]} have {wrong[0]}"
    there, wanted = [counts[size] for size in SIZES], quotas(len(listed), config.proportion)
    # A scene more or less of each size is what rounding makes.
    if max(abs(a - b) for a, b in zip(there, wanted, strict=True)) > 1:
        words = ":".join(map(str, config.proportion))
        yield (
            f"scenes of 2, 3 and 4 shots are {', '.join(map(str, there))}, and in the proportion {words} they would be "
            f"{', '.join(map(str, wanted))}"
        )


def _scene(folder: Path, entry: Mapping[str, Any], config: BenchConfig, paths: dict[str, Trajectory]) -> Iterator[str]:
    """Faults of the files of a scene; its trajectory is added to `paths`."""
    place = folder / "scenes" / entry["id"]
    for name in FILES:
        if name not in entry["files"]:
            yield f"{BENCH} has no SHA-256 of {name}"
        if not (place / name).is_file():
            yield f"{name} is missing"
        elif entry["files"].get(name) not in (None, sha256(place / name)):
            yield f"{name} has changed: its SHA-256 is not that of {BENCH}"
    for name, look in ((FILM, _film), (CAMERAS, _cameras), (PLAY, _play)):
        if not (place / name).is_file():
            continue
        try:
            yield from look(place / name, entry, config, paths)
        except (ValueError, OSError) as error:
            yield " ".join(str(error).replace(f"{place}/", "").split())
    if (place / SHEET).is_file() and not (place / SHEET).read_bytes().startswith(b"\x89PNG"):
        yield f"{SHEET} is no picture"


def _film(path: Path, entry, config: BenchConfig, paths) -> Iterator[str]:
    info = probe_video(path)
    if info.frames != config.frames:
        yield f"{FILM} has {info.frames} frames, and scenes have {config.frames}"
    if (info.width, info.height) != (config.width, config.height):
        yield f"{FILM} has {info.width}x{info.height} pixels, and scenes have {config.width}x{config.height}"
    if abs(info.fps - config.fps) > 0.01 * config.fps:
        yield f"{FILM} has {info.fps:g} frames per second, and scenes have {config.fps:g}"


def _cameras(path: Path, entry, config: BenchConfig, paths: dict[str, Trajectory]) -> Iterator[str]:
    film = paths[entry["id"]] = read_trajectory(path)
    if len(film) != config.frames:
        yield f"{CAMERAS} has {len(film)} poses, and scenes have {config.frames} frames"
    if (film.width, film.height) != (config.width, config.height):
        yield f"{CAMERAS} is of {film.width}x{film.height} pixels, and scenes have {config.width}x{config.height}"
    if film.num_shots != entry["shots"]:
        yield f"{CAMERAS} has {film.num_shots} shots, and {BENCH} says {entry['shots']}"
    if wrong := [start for start, _ in film.spans[1:] if start % LATENT_STRIDE != 1]:
        yield f"{CAMERAS} has a cut at frame {wrong[0]}, and cuts are at frames 4t+1"
    # The matrices of the file: its reader makes rotations of those that are nearly so.
    turn_T33 = np.array([frame["transform_matrix"] for frame in read_json(path)["frames"]], np.float64)[:, :3, :3]
    far_T = np.abs(turn_T33 @ turn_T33.swapaxes(1, 2) - np.eye(3)).max((1, 2))
    if far_T.max() > RIGID:
        yield f"{CAMERAS} has a rotation that is not orthonormal, by {far_T.max():.2g}, at frame {int(far_T.argmax())}"
    if np.abs(film.pose_T34[0] - np.eye(3, 4)).max() > RIGID:
        yield f"{CAMERAS} does not have its first camera as its world"
    yield from _captions(CAMERAS, film.global_caption, film.captions)


def _play(path: Path, entry, config: BenchConfig, paths: dict[str, Trajectory]) -> Iterator[str]:
    play = read_screenplay(path)
    captions = tuple(shot.caption for shot in play.shots)
    yield from _captions(PLAY, play.caption, captions)
    film = paths.get(entry["id"])
    if film is not None and (play.caption, captions) != (film.global_caption, film.captions):
        yield f"{PLAY} and {CAMERAS} have other captions"


def _captions(name: str, scene: str, shots: Sequence[str]) -> Iterator[str]:
    if not scene.strip():
        yield f"{name} has no caption of the scene"
    for number, caption in enumerate(shots, 1):
        if not caption.strip():
            yield f"{name} has no caption of shot {number}"


def _table(path: Path, part: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Faults of the table of a split."""
    wanted = [entry["id"] for entry in part]
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        there = [str(json.loads(line)["video"]).split("/")[-2] for line in lines]
        found = find_scenes(path) if lines else []
    except (ValueError, KeyError, IndexError, TypeError) as error:
        yield f"{path.name} is no table of scenes: {' '.join(str(error).split())}"
        return
    if there != wanted or len(found) != len(wanted):
        yield f"{path.name} lists {len(there)} scenes that are not the {len(wanted)} of {BENCH}"


def _records(folder: Path, part: Sequence[Mapping[str, Any]], paths: Mapping[str, Trajectory]) -> Iterator[str]:
    """Faults of the ArrayRecord files of a split."""
    name = f"{RECORDS}/{folder.name}"
    if not part:
        if folder.exists():
            yield f"{name} is there, and {BENCH} lists no scene of it"
        return
    try:
        records = Records(folder, ("prompt", "pose_T34", "shot_T", "intrinsics"))
        if len(records) != len(part):
            yield f"{name} has {len(records)} records, and {BENCH} lists {len(part)} scenes"
            return
        for number, entry in enumerate(part):
            pose_T34, film = records[number]["pose_T34"], paths.get(entry["id"])
            if film is None:
                continue
            latent_T34 = film.pose_T34[::LATENT_STRIDE]
            extent = max(1.0, np.abs(latent_T34[:, :, 3]).max())
            if pose_T34.shape != latent_T34.shape or np.abs(pose_T34 - latent_T34).max() > NEAR * extent:
                yield f"{name} has other cameras for {entry['id']} than its {CAMERAS}"
    except (ValueError, OSError) as error:
        yield f"{name}: {' '.join(str(error).split())}"
