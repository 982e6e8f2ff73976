"""Predicted camera paths and their references, matched by name: what Track A compares."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from shotverse_jax.camera.formats import read_trajectory
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.data.datadop.shots import CAPTIONS, PARTS, read_captions
from shotverse_jax.data.scenes.files import part_of_scene
from shotverse_jax.files import reading
from shotverse_jax.inputs.cases import SUFFIXES

_REFERENCE = (SUFFIXES["reference"], PARTS["transforms"])
PREDICTED, REFERENCE = (SUFFIXES["prediction"], *_REFERENCE), (*_REFERENCE, SUFFIXES["prediction"])
"""Ends of the names of GenDoP's files, of predictions and of references; the first one that a folder has is taken."""
_PLAN = "trajectory.json"


class Pair(NamedTuple):
    """A scene twice.

    Attributes:
        name: its path in the folders.
        pred, ref: the predicted and the true cameras, with the same number of shots.
        captions: what was asked for, one per shot; "" where it is not known.
    """

    name: str
    pred: Trajectory
    ref: Trajectory
    captions: tuple[str, ...]


class Pairs(NamedTuple):
    """What two folders hold.

    Attributes:
        pairs: the scenes that both have, in the order of their names.
        counts: how many scenes the folder of predictions has, and that of references.
        left_out: sentences about scenes that only one of them has or that cannot be compared.
    """

    pairs: list[Pair]
    counts: tuple[int, int]
    left_out: list[str]


def read_pairs(pred: str | Path, ref: str | Path, caption: str = "movement", strict: bool = False) -> Pairs:
    """Reads the scenes that two folders have in common.

    A folder holds GenDoP's files (<name>_transforms_pred.json; <name>_transforms_ref.json or DataDoP's
    <name>_transforms_cleaning.json; <name>_caption.json or .txt), or our plans (<name>/trajectory.json), or files of
    any format that is read, one for each scene. Two files are a pair too. A folder above the names that only one side
    has, such as GenDoP's "test", does not count.

    Args:
        pred, ref: the folders, or a file each; they may be the same folder where it holds both, as GenDoP's does.
        caption: which caption of GenDoP's and DataDoP's caption files, a key of `data.scenes.CAPTIONS`. Where there is
            no such file, the captions in the trajectories count, of the predictions first.
        strict: whether a scene that cannot be compared is an error.

    Raises:
        ValueError: a folder is not there or has no camera paths, no name is in both, an unknown caption, two files of
            one name, none of the scenes can be compared, or with `strict` one of them.
    """
    if caption not in CAPTIONS:
        raise ValueError(f"captions are {', '.join(CAPTIONS)}; got {caption!r}")
    found = [scene_paths(place, ends) for place, ends in ((pred, PREDICTED), (ref, REFERENCE))]
    counts = len(found[0]), len(found[1])
    if Path(pred).is_file() and Path(ref).is_file():
        [p], [r] = (paths.values() for paths in found)
        found = [{p.stem: p}, {p.stem: r}]
    found = _without_root(*found)
    names = sorted(found[0].keys() & found[1].keys())
    if not names:
        examples = " and ".join(f"{min(paths)!r}" for paths in found)
        raise ValueError(f"no scene of {pred} has a reference of its name in {ref}; they begin with {examples}")
    left_out = [f"{name} is only in {place}" for i, place in ((0, pred), (1, ref)) for name in _only(found, i)]
    if strict and left_out:
        raise ValueError(left_out[0])
    pairs = []
    for name in names:
        try:
            pairs.append(_read_pair(name, found[0][name], found[1][name], CAPTIONS[caption]))
        except ValueError as error:
            if strict:
                raise
            left_out.append(f"{name}: {error}")
    if not pairs:
        raise ValueError(f"none of the {len(names)} scenes can be compared; the first: {left_out[-len(names)]}")
    return Pairs(pairs, counts, left_out)


def _only(found: Sequence[dict[str, Path]], side: int) -> list[str]:
    return sorted(found[side].keys() - found[1 - side].keys())


def scene_paths(place: str | Path, ends: Sequence[str]) -> dict[str, Path]:
    """Returns the camera path of every scene of a folder, by the scene's name; of a file, that file's.

    ends: ends of names of GenDoP's files, `PREDICTED` or `REFERENCE`, which decide what a folder that has such files
        holds.

    Raises:
        ValueError: the folder is not there or has no camera paths, or two files of one name.
    """
    place = Path(place)
    if place.is_file():
        return {_name(place, place.parent, ends): place}
    if not place.is_dir():
        raise ValueError(f"{place}: no such file or folder; give a folder of camera paths")
    for end in (*ends, _PLAN):
        if paths := sorted(path for path in place.rglob(f"*{end}") if end != _PLAN or path.name == _PLAN):
            break
    else:
        files = sorted(path for path in place.rglob("*") if path.is_file() and not _other(path))
        paths = [path for path in files if part_of_scene(path) == "trajectory"]
    names: dict[str, Path] = {}
    for path in paths:
        name = _name(path, place, ends)
        if name in names:
            raise ValueError(f"{path} and {names[name].name} are both cameras of {name}; keep one of them")
        names[name] = path
    if not names:
        raise ValueError(f"{place} holds no camera paths")
    return names


def _other(path: Path) -> bool:
    """Whether a file of GenDoP's layouts is no path of this side, though it could be read as one."""
    return path.name.endswith((SUFFIXES["caption"], SUFFIXES["text"], PARTS["intrinsics"], PARTS["traj"]))


def _name(path: Path, place: Path, ends: Sequence[str]) -> str:
    relative = path.relative_to(place)
    if path.name == _PLAN and path.parent != place:
        return relative.parent.as_posix()
    for end in ends:
        if path.name.endswith(end):
            return relative.as_posix().removesuffix(end)
    return (relative.parent / path.name.split(".")[0]).as_posix()


def _without_root(pred: dict[str, Path], ref: dict[str, Path]) -> list[dict[str, Path]]:
    """Both sides, without a folder above all names that only one of them has."""
    if pred.keys() & ref.keys():
        return [pred, ref]
    for shorter in ((pred, _below(ref)), (_below(pred), ref)):
        if shorter[0].keys() & shorter[1].keys():
            return list(shorter)
    return [pred, ref]


def _below(paths: dict[str, Path]) -> dict[str, Path]:
    roots = {name.split("/")[0] for name in paths}
    if len(roots) != 1 or any("/" not in name for name in paths):
        return paths
    return {name.split("/", 1)[1]: path for name, path in paths.items()}


def _read_pair(name: str, pred_path: Path, ref_path: Path, key: str) -> Pair:
    pred, ref = read_trajectory(pred_path), read_trajectory(ref_path)
    if pred.num_shots != ref.num_shots:
        raise ValueError(f"the prediction has {pred.num_shots} shots and the reference {ref.num_shots}")
    sides = (captions_of(pred_path, pred, key), captions_of(ref_path, ref, key))
    return Pair(name, pred, ref, tuple(p or r for p, r in zip(*sides, strict=True)))


def caption_files(path: Path) -> tuple[Path, Path]:
    """Returns where GenDoP has the captions of a path: a table of them, or the text of one. They need not be there."""
    end = next((end for end in PREDICTED if path.name.endswith(end)), None)
    stem = path.name.removesuffix(end) if end else path.name.split(".")[0]
    table, text = (path.with_name(f"{stem}{SUFFIXES[part]}") for part in ("caption", "text"))
    return table, text


def captions_of(path: Path, trajectory: Trajectory, key: str) -> tuple[str, ...]:
    """Returns the caption of every shot of a path: of GenDoP's file beside it, else the trajectory's; "" for none.

    key: of GenDoP's caption files, a value of `data.scenes.CAPTIONS`.

    Raises:
        ValueError: a file of captions that cannot be read or has no such caption.
    """
    table, text = caption_files(path)
    if trajectory.num_shots > 1 or not (table.is_file() or text.is_file()):
        return trajectory.captions
    if not table.is_file():
        with reading(text, "a caption"):
            return (text.read_text(encoding="utf-8").strip(),)
    found = read_captions(table).get(key)
    if not found:
        raise ValueError(f"{table}: no caption called {key!r}")
    return (found,)
