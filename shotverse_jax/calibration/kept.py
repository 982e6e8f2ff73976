"""Results of the stages of a calibration, kept in a folder: arrays, with a digest of everything they were made of."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from shotverse_jax.files import json_text, reading, replacing

KEY = "made_of"
Arrays = dict[str, np.ndarray]


def digest(*values: Any) -> str:
    """Returns a digest of values that JSON can hold."""
    return hashlib.sha256(json_text(values).encode("utf-8", "surrogatepass")).hexdigest()


def contents(path: str | Path) -> str:
    """Returns a digest of a file, or of all files of a folder and their names.

    Raises:
        ValueError: there is no such file, or it cannot be read.
    """
    path, whole = Path(path), hashlib.sha256()
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    for file in files:
        with reading(file, "a file"):
            part = sha256(file)
        whole.update(f"{file.relative_to(path)} {part}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def sha256(file: Path) -> str:
    """Returns the SHA-256 of a file. Raises OSError where it cannot be read."""
    with file.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def once(file: Path, made_of: str, make: Callable[[], Arrays]) -> tuple[Arrays, bool]:
    """Returns the arrays in a file, and whether they were there.

    They are made, and written, where the file is not there, was made of something else, or is damaged.

    made_of: a digest of everything that the arrays are made of.
    """
    kept = _read(file, made_of)
    if kept is not None:
        return kept, True
    arrays = make()
    with replacing(file) as place, place.open("wb") as out:
        np.savez_compressed(out, **{KEY: np.array(made_of)}, **arrays)
    return arrays, False


def _read(file: Path, made_of: str) -> Arrays | None:
    if not file.is_file():
        return None
    try:
        with reading(file, "an .npz file"), np.load(file, allow_pickle=False) as kept:
            if KEY not in kept or str(kept[KEY]) != made_of:
                return None
            return {name: kept[name] for name in kept.files if name != KEY}
    except ValueError:  # what is damaged is made again
        return None
