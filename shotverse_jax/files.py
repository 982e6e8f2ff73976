"""Files that are written whole or not at all."""

import contextlib
import functools
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

DTYPES = {  # safetensors' names of the types
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(bool),
}


def cache_folder() -> Path:
    """Returns the user's folder for what can be made or fetched again: compiled programs and published models.

    It is the one that the environment variable SHOTVERSE_CACHE names, by default ~/.cache/shotverse_jax.
    """
    if own := os.environ.get("SHOTVERSE_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shotverse_jax"


UNFINISHED = "UNFINISHED"
"""A folder with a file of this name holds a mixture: what replaced its files was killed meanwhile."""

_SCRATCH = ".writing-"
_LEFT = 10.0
"""Seconds after which an unlocked scratch folder was left by a killed process."""


def check_place(path: str | Path, folder: bool = False) -> None:
    """Refuses a place for a result where nothing could be written at the end; nothing is made.

    folder: whether the result is a folder; False (default) is a file.

    Raises:
        ValueError: a file is where a folder must be, or a folder where a file must be; or the folder that it comes to
            cannot be written.
    """
    path = Path(path)
    if path.exists() and path.is_dir() != folder:
        is_, wanted = ("a folder", "a file") if path.is_dir() else ("a file", "a folder")
        raise ValueError(f"{path} is {is_}; give the name of {wanted}")
    above = next(parent for parent in (path if folder else path.parent, *path.absolute().parents) if parent.exists())
    if not above.is_dir():
        raise ValueError(f"{path} cannot be written: {above} is a file")
    if not os.access(above, os.W_OK | os.X_OK):
        raise ValueError(f"{path} cannot be written: there is no permission to write to {above}")


@contextlib.contextmanager
def replacing(path: str | Path, owns: Sequence[str] = (), seal: str | None = None) -> Iterator[Path]:
    """Yields a temporary path for writing a file or folder, which becomes `path` if the block ends without an error.

    After an error it is deleted, with the folders above that were made for it. The temporary path has the name of
    `path` and does not exist yet; for a folder the block calls `mkdir(exist_ok=True)`. An existing file is replaced in
    one step. An existing folder keeps its other files: the written ones are replaced one by one, and during that the
    folder holds a file UNFINISHED. Scratch folders that killed processes left beside `path` are removed.

    Args:
        path: the file or folder. Missing folders above it are made.
        owns: patterns of the files that an earlier result may have left in an existing folder, such as "shot_*.mp4";
            those that were not written now are removed.
        seal: the file, in a folder that other results share, which says that this result is whole, such as
            "test/shot_1_result.json". An earlier one is removed first and the new one comes last, so there is no
            UNFINISHED, and others may write to the folder meanwhile.

    Raises:
        ValueError: `path` cannot be written, or is a folder where a file was made, or a file where a folder was made.
    """
    path = Path(path)
    missing = [parent for parent in path.parents if not parent.exists()]
    done = False
    try:
        with _scratch(path) as scratch:
            place = scratch / (path.name if path.name not in ("", "..") else "folder")  # "." and ".." name no new place
            yield place
            try:
                if seal is None:
                    _move(place, path, owns)
                else:
                    _move_sealed(place, path, owns, seal)
            except OSError as error:
                raise _cannot(path, error) from error
        done = True
    finally:
        if not done:
            for parent in missing:
                with contextlib.suppress(OSError):  # something else is in it
                    parent.rmdir()


@contextlib.contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """A folder beside `path`, hence on the same disk, where moving is one step; it is locked while it is used."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent.absolute())
        scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=path.parent))
    except OSError as error:
        raise _cannot(path, error) from error
    try:
        with locked(scratch):
            yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@functools.cache
def _sweep(folder: Path) -> None:
    """Removes the scratch folders that nobody uses; once in a process, because a folder can have a million files."""
    for left in folder.glob(f"{_SCRATCH}*"):
        # A new one is not locked yet for a moment.
        with contextlib.suppress(OSError, Locked):
            if time.time() - left.stat().st_mtime > _LEFT:
                with locked(left, certain=True):
                    shutil.rmtree(left, ignore_errors=True)


class Locked(ValueError):
    """Another process has the lock of a folder."""


@contextlib.contextmanager
def locked(folder: Path, certain: bool = False) -> Iterator[None]:
    """Locks a folder for the block, or until the process ends.

    Where the system or the disk has no locks, the block runs without one.

    certain: whether that is an error, Locked, instead.

    Raises:
        Locked: another process has the lock.
    """
    handle = None
    try:
        try:
            import fcntl

            handle = os.open(folder, os.O_RDONLY)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Locked(f"another process is writing to {folder}") from error
        except (ImportError, OSError) as error:  # Windows; a disk without locks
            if certain:
                raise Locked(f"{folder} cannot be locked") from error
        yield
    finally:
        if handle is not None:
            os.close(handle)


@contextlib.contextmanager
def reading(path: str | Path, what: str, passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """The border to a library that reads a file: whatever it raises for a damaged one becomes one sentence.

    Args:
        path: the file.
        what: what the file should be, for example "an .npz file".
        passing: errors that the caller has a better sentence for; they pass.

    Raises:
        ValueError: the library raised any other error. One with the path in its words passes as it is.
    """
    try:
        yield
    except passing:
        raise
    except FileNotFoundError as error:
        raise ValueError(f"{path} does not exist; give {what}") from error
    except RecursionError as error:
        raise ValueError(f"{path} cannot be read as {what}: it is nested too deeply") from error
    except MemoryError as error:
        raise ValueError(f"{path} cannot be read as {what}: there is too little memory for what it claims") from error
    # Libraries raise errors of all kinds for bytes that their authors never saw: KeyError, struct.error, BadZipFile, …
    except Exception as error:
        reason = " ".join(str(error).split())
        if str(path) in reason and isinstance(error, ValueError):
            raise
        raise ValueError(f"{path} cannot be read as {what}: {reason[:300] or type(error).__name__}") from error


MOST_JSON = 256 << 20
"""Bytes of the largest JSON file that is read."""


def read_json(path: str | Path, kind: type = dict) -> Any:
    """Returns the value in a JSON file that describes something: a config, an index, a manifest, a journal.

    kind: the type that it must have; default a mapping.

    Raises:
        ValueError: there is no such file, it is not JSON, or its value is of another type.
    """
    path = Path(path)
    with reading(path, "a JSON file"):
        if (size := path.stat().st_size) > MOST_JSON:
            raise ValueError(f"{path} is no JSON file of this project: it has {size:,} bytes")
        try:
            value = json.loads(path.read_text(encoding="utf-8-sig"))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, kind):
        names = {dict: "a mapping of names to values", list: "a list"}
        raise ValueError(f"{path} should hold {names.get(kind, kind.__name__)}, and holds {shown(value)}")
    return value


def shown(value: Any) -> str:
    """A value from a file for a message: its beginning."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def write_safetensors(
    path: str | Path, shapes: Mapping[str, Any], tensors: Iterable[tuple[str, np.ndarray]], metadata: dict[str, str]
) -> None:
    """Writes a .safetensors file from tensors that come one at a time, whole or not at all.

    Only one tensor at a time must fit into memory; safetensors' own writer needs all of them.

    Args:
        path: the file.
        shapes: name → anything with shape and dtype, in the order in which the tensors come.
        tensors: (name, array) pairs.
        metadata: texts for the header.

    Raises:
        ValueError: a tensor is not the next of `shapes` or has another shape or type, or the file cannot be written.
    """
    codes, header, end = {dtype: code for code, dtype in DTYPES.items()}, {"__metadata__": metadata}, 0
    for name, shape in shapes.items():
        begin, end = end, end + nbytes(shape)
        header[name] = {"dtype": codes[shape.dtype], "shape": list(shape.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8 bytes
    with replacing(path) as place, place.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for (wanted, shape), (name, tensor) in zip(shapes.items(), tensors, strict=True):
            if name != wanted or tensor.shape != shape.shape or tensor.dtype != shape.dtype:
                raise ValueError(f"{name} {tensor.dtype}{list(tensor.shape)} came where {wanted} {shape} is due")
            file.write(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8))


def nbytes(array: Any) -> int:
    """Returns the number of bytes of anything with shape and dtype."""
    return math.prod(array.shape) * array.dtype.itemsize


def _move(place: Path, path: Path, owns: Sequence[str]) -> None:
    if not (place.is_dir() and path.is_dir()):
        os.replace(place, path)
        return
    files = sorted(p.relative_to(place) for p in place.rglob("*") if p.is_file())
    stale = {p for pattern in owns for p in path.glob(pattern)} - {path / file for file in files}
    mark = path / UNFINISHED
    mark.write_text("The files of this folder were being replaced when the program was killed; run it again.\n")
    for file in files:
        (path / file).parent.mkdir(parents=True, exist_ok=True)
        os.replace(place / file, path / file)
    for old in stale:
        old.unlink()
        with contextlib.suppress(OSError):  # something else is in it
            if old.parent != path:
                old.parent.rmdir()
    mark.unlink()


def _move_sealed(place: Path, path: Path, owns: Sequence[str], seal: str) -> None:
    (path / seal).unlink(missing_ok=True)
    files = sorted((p.relative_to(place) for p in place.rglob("*") if p.is_file()), key=lambda p: p == Path(seal))
    for stale in {p for pattern in owns for p in path.glob(pattern)} - {path / file for file in files}:
        stale.unlink(missing_ok=True)
    for file in files:
        (path / file).parent.mkdir(parents=True, exist_ok=True)
        os.replace(place / file, path / file)


def _cannot(path: Path, error: OSError) -> ValueError:
    return ValueError(f"{path} cannot be written: {error.strerror or error}")
