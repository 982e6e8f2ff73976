"""Trajectory files: one module per format, and reading and writing by a format's name or a file's suffix or content.

Every reader returns what its file says (record.py), and `finish` makes a `Trajectory` of it (camera-to-world, OpenCV
camera axes), with the options that all formats share (options.py). Anything that is no camera path raises a ValueError
with a message that starts with the file name. docs/formats.md lists the conventions.
"""

import dataclasses
import inspect
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from shotverse_jax import limits
from shotverse_jax.camera.formats import (
    _recognise,
    blender,
    camera_path,
    chan,
    colmap,
    colmap_folders,
    csv_table,
    edl,
    euroc,
    gaussians,
    gltf,
    kitti,
    monst3r,
    motionctrl,
    multishotmaster,
    omnicam,
    otio,
    realestate10k,
    recammaster,
    shotdirector,
    transforms,
    tum,
    usd,
)
from shotverse_jax.camera.formats._common import reader
from shotverse_jax.camera.formats.options import NAMES, ReadOptions
from shotverse_jax.camera.formats.reading import finish
from shotverse_jax.camera.formats.record import FEATURES, Format, Reading
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.files import replacing
from shotverse_jax.text_files import plain

FORMATS: dict[str, Format] = {
    form.name: form
    for form in (
        transforms.TRAJECTORY_JSON,
        transforms.TRANSFORMS_JSON,
        camera_path.FORMAT,
        realestate10k.FORMAT,
        motionctrl.FORMAT,
        recammaster.FORMAT,
        shotdirector.FORMAT,
        multishotmaster.FORMAT,
        omnicam.FORMAT,
        gaussians.FORMAT,
        colmap.FORMAT,
        tum.FORMAT,
        monst3r.FORMAT,
        kitti.FORMAT,
        euroc.FORMAT,
        csv_table.FORMAT,
        usd.FORMAT,
        gltf.FORMAT,
        blender.FORMAT,
        chan.FORMAT,
        edl.FORMAT,
        otio.FORMAT,
    )
}


def read_trajectory(path: str | Path, fmt: str | None = None, **options) -> Trajectory:
    """Reads a camera path from a file (or a folder, of COLMAP). Its `notes` say what was assumed or left out.

    Args:
        path: the file.
        fmt: a name in `FORMATS`; None (default) recognises the format by suffix and content.
        **options: the fields of `ReadOptions`, which every format takes, and options of the format's own reader,
            e.g. `camera="cam05"` for recammaster.

    Raises:
        ValueError: the file does not exist, the format or an option is unknown, or the content is no valid camera path.
    """
    path = Path(path)
    shared = ReadOptions(**{name: options.pop(name) for name in NAMES if name in options})
    _, said = read_file(path, fmt, **options)
    return reader(lambda _: finish(said, shared))(path)


def read_file(path: str | Path, fmt: str | None = None, **options) -> tuple[Format, Reading]:
    """Returns the format of a camera file and what the file says in it, before anything is assumed.

    Raises:
        ValueError: as `read_trajectory`.
    """
    path = Path(path)
    form = _named(fmt) if fmt else FORMATS[_recognise_file(path)]
    if form.read is None:
        raise ValueError(f"{path}: {form.name} files can be written but not read; readable: {_list('read')}")
    return form, form.read(path, **_checked(form.name, form.read, options, NAMES))


def write_trajectory(
    trajectory: Trajectory, path: str | Path, fmt: str | None = None, *, rate: float | None = None, **options
) -> tuple[str, ...]:
    """Writes a camera path, whole or not at all, by `files.replacing`: a COLMAP folder keeps its other files.

    Args:
        trajectory: the camera path.
        path: the file; missing folders above it are made.
        fmt: a name in `FORMATS`; None (default) takes the format of the suffix.
        rate: frames per second to which the path is resampled; its seconds stay. None (default) resamples only a path
            with uneven times, for a format of frames at one rate (`Trajectory.evenly`).
        **options: keyword options of that format's writer.

    Returns:
        Sentences about what the format does not hold of this path.

    Raises:
        ValueError: the format or an option is unknown, the format cannot hold the path, or the file cannot be written.
    """
    path = Path(path)
    form = _named(fmt) if fmt else FORMATS[_by_suffix(path)]
    options = _checked(form.name, form.write, options, ("rate",))
    if rate is not None:
        rate = limits.finite(rate, "the option rate", *limits.RATES)
    if path.exists() and path.is_dir() != form.folder:
        kinds = ("a folder", "a file") if form.folder else ("a file", "a folder")
        raise ValueError(f"{path}: the format {form.name} is {kinds[0]}, but this is {kinds[1]}")
    own = form.rate(trajectory.fps) if rate is None and form.rate else None
    written = trajectory.evenly(rate or own) if (rate or own) is not None or form.steady else trajectory
    _check_lens(written, path)
    written, changed = _worded(form, written)
    with replacing(path) as place:
        try:
            form.write(written, place, **options)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise ValueError(f"{path}: cannot be written as {form.name} ({reason})") from error
    why = [f"programs that read {form.name} do not have {trajectory.fps:g} frames per second"] if own else []
    return *why, *written.notes[len(trajectory.notes) :], *changed, *_lost(form, written)


def _check_lens(trajectory: Trajectory, path: Path) -> None:
    """Refuses a lens or an image with which some of the formats could not be read again."""
    (least, most), (narrow, wide) = limits.WRITTEN_LENS, limits.WRITTEN_ASPECT
    focal_T2 = trajectory.intrinsics_T4[:, :2] / [trajectory.width, trajectory.height]
    if not ((least <= focal_T2) & (focal_T2 <= most)).all():
        raise ValueError(f"{path}: focal lengths are written from {least:g} to {most:g} sides of the image")
    if not narrow <= trajectory.width / trajectory.height <= wide:
        size = f"{trajectory.width}x{trajectory.height}"
        raise ValueError(
            f"{path}: images are written up to {wide:g} times as wide as high, or as high as wide; got {size}"
        )


def _worded(form: Format, trajectory: Trajectory) -> tuple[Trajectory, list[str]]:
    """The trajectory with texts that a format can hold, and a sentence where some were changed for that."""
    if "captions" not in form.keeps:
        return trajectory, []
    captions, scene = tuple(map(form.words, trajectory.captions)), form.words(trajectory.global_caption)
    if (captions, scene) == (trajectory.captions, trajectory.global_caption):
        return trajectory, []
    note = f"{form.name} cannot hold all characters of the captions, such as control characters, which were replaced"
    return dataclasses.replace(trajectory, captions=captions, global_caption=scene), [note]


def _lost(form: Format, trajectory: Trajectory) -> list[str]:
    """A sentence about what a trajectory has and a format does not hold."""
    lost = [name for name, has in FEATURES.items() if name not in form.keeps and has(trajectory)]
    return [f"{form.name} does not hold: {', '.join(lost)}"] if lost else []


def _list(direction: str) -> str:
    return ", ".join(name for name, form in FORMATS.items() if getattr(form, direction))


def _named(name: str) -> Format:
    if name not in FORMATS:
        raise ValueError(f"unknown trajectory format '{name}'; known: {', '.join(FORMATS)}")
    return FORMATS[name]


def _checked(name: str, function: Callable, options: dict, shared: Sequence[str]) -> dict:
    """The options of a format's reader or writer, each of the type of its parameter; texts may come as numbers."""
    parameters = inspect.signature(function).parameters.values()
    own = {p.name: p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
    if unknown := sorted(set(options) - {*own, *shared}):
        raise ValueError(f"format {name} has no option '{unknown[0]}'; it has: {', '.join([*own, *shared])}")
    return {option: _option(own[option], value) for option, value in options.items() if option in own}


def _option(parameter: inspect.Parameter, value: Any) -> Any:
    name, kinds = parameter.name, typing.get_args(parameter.annotation) or (parameter.annotation,)
    if value is None and type(None) in kinds:
        return None
    if int in kinds:
        # A number whose default is 0 counts from there; all others are numbers of things.
        return limits.whole(value, f"the option {name}", 0 if parameter.default == 0 else 1, limits.FRAMES)
    if bool in kinds and not isinstance(value, bool):
        raise ValueError(f"the option {name} should be true or false, got {limits.shown(value)}")
    if str in kinds and (isinstance(value, bool) or not isinstance(value, str | int | float)):
        raise ValueError(f"the option {name} should be a text, got {limits.shown(value)}")
    if str in kinds:
        value = str(value)
        # A text with ends of lines could say other things than a text.
        if plain(value) != value or len(value.splitlines()) > 1:
            raise ValueError(f"the option {name} should be one line of text, got {limits.shown(value)}")
    return value


def _by_suffix(path: Path) -> str:
    """The format named before the extension ("x.tum.txt"), else the one with the longest suffix that ends the name."""
    name = path.name.lower()
    middle = FORMATS.get(Path(path.stem.lower()).suffix[1:])
    if middle and name.endswith(middle.extension):
        return middle.name
    fits = [(len(suffix), form.name) for form in FORMATS.values() for suffix in form.suffixes if name.endswith(suffix)]
    best = [form for length, form in fits if length == max(fits)[0]]
    if len(best) != 1:
        reason = f"'{path.suffix}' could be {' or '.join(best)}" if best else f"no format goes with '{path.name}'"
        raise ValueError(f"{path}: {reason}; name the format, one of {', '.join(FORMATS)}")
    return best[0]


def _recognise_file(path: Path) -> str:
    """The format of an existing file: by content for folders, .json, .txt and .csv, else by suffix."""
    if path.is_dir():
        return _recognise.folder_format(path)
    if path.name in colmap_folders.FILES:
        return "colmap"
    by_content = {".json": _recognise.json_format, ".txt": _recognise.text_format, ".csv": _recognise.csv_format}
    if path.suffix.lower() in by_content:
        return by_content[path.suffix.lower()](path)
    if not path.exists():
        raise ValueError(f"{path}: no such file")
    return _by_suffix(path)
