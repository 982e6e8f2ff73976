"""Trajectory files: one module per format, and reading and writing by a format's name or a file's suffix or content.

Every reader returns what its file says (record.py), and `finish` makes a `Trajectory` of it (camera-to-world, OpenCV
camera axes), with the options that all formats share (options.py). Anything that is no camera path raises a ValueError
with a message that starts with the file name. docs/formats.md lists the conventions.
"""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path

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
from shotverse_jax.camera.formats.options import NAMES, ReadOptions, check_positive
from shotverse_jax.camera.formats.reading import finish
from shotverse_jax.camera.formats.record import FEATURES, Format, Reading
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.files import replacing

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
    _check_options(form.name, form.read, options, NAMES)
    return form, form.read(path, **options)


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
    _check_options(form.name, form.write, options, ("rate",))
    check_positive("rate", rate)
    if path.exists() and path.is_dir() != form.folder:
        kinds = ("a folder", "a file") if form.folder else ("a file", "a folder")
        raise ValueError(f"{path}: the format {form.name} is {kinds[0]}, but this is {kinds[1]}")
    own = form.rate(trajectory.fps) if rate is None and form.rate else None
    written = trajectory.evenly(rate or own) if (rate or own) is not None or form.steady else trajectory
    with replacing(path) as place:
        try:
            form.write(written, place, **options)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise ValueError(f"{path}: cannot be written as {form.name} ({reason})") from error
    why = [f"programs that read {form.name} do not have {trajectory.fps:g} frames per second"] if own else []
    return *why, *written.notes[len(trajectory.notes) :], *_lost(form, written)


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


def _check_options(name: str, function: Callable, options: dict, shared: Sequence[str]) -> None:
    parameters = inspect.signature(function).parameters.values()
    known = [*(p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY), *shared]
    check_positive("frames", options.get("frames"))
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"format {name} has no option '{unknown[0]}'; it has: {', '.join(known)}")


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
