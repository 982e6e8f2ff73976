"""Files that are written whole or not at all."""

import contextlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
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


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path for writing a file or folder, which becomes `path` if the block ends without an error.

    After an error it is deleted. The temporary path has the name of `path` and does not exist yet; for a folder the
    block calls `mkdir(exist_ok=True)`. An existing file is replaced in one step. An existing folder keeps its other
    files, and the written ones are replaced one by one. Missing folders above `path` are made.

    Raises:
        ValueError: `path` cannot be written, or is a folder where a file was made, or a file where a folder was made.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # In the same folder, hence on the same disk, where moving is one step.
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
