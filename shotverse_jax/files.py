"""Writing whole or not at all."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A place to write the file or folder `path`: it moves there when the block ends well, and vanishes otherwise.

    The place has the name of `path` and does not exist yet (the block makes it, with `mkdir(exist_ok=True)` when it is
    to be a folder). A file that exists is replaced at once; a folder that exists keeps its other files, and those that
    were written are replaced one by one. Missing folders above `path` are made.

    Raises:
        ValueError: `path` cannot be written, or is a folder where a file was made or the reverse.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".writing-", dir=path.parent))
    except OSError as error:
        raise _cannot(path, error) from error
    place = scratch / (path.name if path.name not in ("", "..") else "folder")  # "." and ".." name no new place
    try:
        yield place
        try:
            _move(place, path)
        except OSError as error:
            raise _cannot(path, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_safetensors(tensors: Mapping[str, np.ndarray], path: Path, metadata: dict[str, str]) -> None:
    """A file of tensors, to be read by whoever may read a new file here (safetensors makes it the owner's alone)."""
    path.touch()
    mode = path.stat().st_mode
    save_file(dict(tensors), path, metadata=metadata)
    path.chmod(mode)


def _move(place: Path, path: Path) -> None:
    if not (place.is_dir() and path.is_dir()):
        os.replace(place, path)
        return
    for file in sorted(p for p in place.rglob("*") if p.is_file()):
        target = path / file.relative_to(place)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, target)


def _cannot(path: Path, error: OSError) -> ValueError:
    return ValueError(f"{path} cannot be written: {error.strerror or error}")
