"""CLaTr's latents of a folder of camera paths, written in parts, so that a run that was stopped goes on."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from shotverse_jax.camera.formats import read_trajectory
from shotverse_jax.data.scenes import CAPTIONS
from shotverse_jax.evaluation.features.clatr import CLaTrReader
from shotverse_jax.evaluation.tracks.pairs import PREDICTED, caption_files, captions_of, scene_paths
from shotverse_jax.files import check_place, owned, read_json, reading, replacing, write_json
from shotverse_jax.infer.batch import file_digest
from shotverse_jax.limits import shown

LATENTS = ("traj_mu", "traj_logvar", "text_mu", "text_logvar")
SETTINGS, PART = "features.json", 256
"""The file that says what a folder of latents was made of, and the number of scenes of one part."""


def write_features(
    folder: str | Path,
    out: str | Path,
    reader: CLaTrReader,
    caption: str = "movement",
    progress: Callable[[str, int, int], None] | None = None,
) -> list[str]:
    """Writes the latents of all shots of a folder to <out>/features_00000.npz, features_00001.npz, …

    Each part holds, for up to 256 scenes: scene and caption (texts), shot (from 1), traj_mu and traj_logvar [N, D], and
    with a text tower text_mu and text_logvar, which are NaN where a shot has no caption. A part that is there is not
    made again; features.json says of which network, captions and files the folder was made.

    Args:
        folder: camera paths, as `evaluation.tracks.pairs.read_pairs` takes predictions.
        out: the folder of the results.
        reader: the network.
        caption: which caption of GenDoP's and DataDoP's caption files, a key of `data.scenes.CAPTIONS`.
        progress: called with ("features", scenes done, scenes).

    Returns:
        Sentences about scenes that could not be read.

    Raises:
        ValueError: no camera paths, an unknown caption, results of another network, caption or of other files, or
            another process writes to the folder.
    """
    if caption not in CAPTIONS:
        raise ValueError(f"captions are {', '.join(CAPTIONS)}; got {caption!r}")
    scenes = sorted(scene_paths(folder, PREDICTED).items())
    check_place(out, folder=True)
    out = Path(out)
    left_out: list[str] = []
    with owned(out):
        files = {name: " ".join(map(file_digest, (path, *caption_files(path)))) for name, path in scenes}
        _claim(out / SETTINGS, {"clatr": reader.title, "network": reader.digest, "caption": caption, "scenes": files})
        for first in range(0, len(scenes), PART):
            path, part = out / f"features_{first // PART:05d}.npz", scenes[first : first + PART]
            if not path.is_file():
                arrays = _part(part, reader, CAPTIONS[caption], left_out)
                with replacing(path) as place, open(place, "wb") as file:
                    np.savez(file, **arrays)
            if progress is not None:
                progress("features", first + len(part), len(scenes))
    return left_out


def read_features(out: str | Path) -> dict[str, np.ndarray]:
    """Returns the arrays of all parts together. Raises ValueError for a folder that is not whole, or is damaged."""
    out = Path(out)
    scenes = read_json(out / SETTINGS).get("scenes") if (out / SETTINGS).is_file() else {}
    if not isinstance(scenes, dict):
        raise ValueError(f"{out / SETTINGS} is damaged: its scenes are {shown(scenes)}")
    names = list(scenes)
    paths = [out / f"features_{number:05d}.npz" for number in range(-(-len(scenes) // PART))]
    if not paths or (missing := [path.name for path in paths if not path.is_file()]):
        raise ValueError(f"{out} holds no whole set of latents: {missing[0] if paths else SETTINGS} is missing")
    parts = [_read_part(path, names[number * PART : (number + 1) * PART]) for number, path in enumerate(paths)]
    if len({(*part, part["traj_mu"].shape[1]) for part in parts}) > 1:
        raise ValueError(f"{out} is damaged: its parts are of several networks")
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _read_part(path: Path, scenes: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of a part, which is of some of these scenes."""
    with reading(path, "an .npz file"), np.load(path) as arrays:
        part = dict(arrays)
    texts, latents = ("scene", "caption"), [name for name in LATENTS if name in part]
    wanted = {*texts, "shot", *(LATENTS if len(latents) > 2 else LATENTS[:2])}
    shapes = {part[name].shape for name in latents}
    if part.keys() != wanted or len(shapes) != 1 or {len(array) for array in part.values()} != {len(part["shot"])}:
        raise ValueError(f"{path} is damaged: its arrays are not those of latents; remove it and make it again")
    kinds = {**dict.fromkeys(texts, "U"), "shot": "i", **dict.fromkeys(latents, "f")}
    if any(part[name].dtype.kind != kind for name, kind in kinds.items()) or not set(part["scene"]) <= set(scenes):
        raise ValueError(f"{path} is damaged: it is not of the scenes of {SETTINGS}; remove it and make it again")
    return part


def _claim(path: Path, settings: dict) -> None:
    """Notes what a folder is made of, or compares it with the note that is there."""
    if not path.is_file():
        write_json(path, settings, indent=2)
        return
    there = read_json(path)
    changed = [name for name, value in settings.items() if there.get(name) != value]
    if changed:
        raise ValueError(f"{path.parent} holds latents of other {' and '.join(changed)}; give another folder")


def _part(
    scenes: Sequence[tuple[str, Path]], reader: CLaTrReader, key: str, left_out: list[str]
) -> dict[str, np.ndarray]:
    rows = list(_shots(scenes, key, left_out))
    names, numbers, captions, paths = zip(*rows, strict=True) if rows else ((), (), (), ())
    width = reader.config.hidden_size
    empty = np.zeros((0, width), np.float32)
    traj = reader.read_shots(paths) if rows else (empty, empty)
    arrays = {"scene": np.asarray(names, str), "shot": np.asarray(numbers, np.int32)}
    arrays |= {"caption": np.asarray(captions, str), "traj_mu": traj[0], "traj_logvar": traj[1]}
    if reader.tower is not None:
        said_N = np.asarray([bool(caption) for caption in captions], bool)
        for name in ("text_mu", "text_logvar"):
            arrays[name] = np.full((len(rows), width), np.nan, np.float32)
        if said_N.any():
            latents = reader.read_captions([caption for caption in captions if caption]).latents
            arrays["text_mu"][said_N], arrays["text_logvar"][said_N] = latents
    return arrays


def _shots(
    scenes: Sequence[tuple[str, Path]], key: str, left_out: list[str]
) -> Iterator[tuple[str, int, str, np.ndarray]]:
    for name, path in scenes:
        try:
            trajectory = read_trajectory(path)
            captions = captions_of(path, trajectory, key)
        except ValueError as error:
            left_out.append(f"{name}: {error}")
            continue
        for number, (start, end) in enumerate(trajectory.spans):
            yield name, number + 1, captions[number], trajectory.pose_T34[start:end]
