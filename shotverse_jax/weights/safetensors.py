"""Opening safetensors files: names, shapes and dtypes at once, values when they are asked for."""

import dataclasses
import json
import mmap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from shotverse_jax.files import DTYPES


@dataclasses.dataclass(frozen=True)
class Stored:
    """An array on disk. An index reads that part of it; `np.asarray` reads all of it.

    Attributes:
        shape: Its shape.
        dtype: Its dtype; bfloat16 and float8 are those of ml_dtypes.
        read: Returns the part of an index. The result may be a read-only view of a mapped file.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[Any], np.ndarray]

    def __getitem__(self, index: Any) -> np.ndarray:
        return self.read(index)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self.read(...).astype(dtype or self.dtype, copy=False)


def open_safetensors(path: Path) -> dict[str, Stored]:
    """The tensors of a .safetensors file by name. No value is read yet.

    Every read maps the part of the file that a tensor occupies. The pages go when the array goes, so only what is in
    use is resident.

    Raises:
        ValueError: The file is not a safetensors file or is cut off, or a tensor has a dtype that is not readable.
    """
    # safetensors checks the header first, so that what is read below can be trusted.
    read_metadata(path)
    with path.open("rb") as file:
        # A file begins with the length of its header, and offsets of tensors are counted from the header's end.
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in DTYPES:
            raise ValueError(f"{path}: {name} is stored as {entry['dtype']}; readable are {', '.join(DTYPES)}")
        shape, dtype, start = tuple(entry["shape"]), DTYPES[entry["dtype"]], 8 + size + entry["data_offsets"][0]
        tensors[name] = Stored(shape, dtype, partial(_read, path, shape, dtype, start))
    return tensors


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata in the header of a .safetensors file. Raises ValueError when the file is none or is cut off."""
    try:
        with safe_open(path, framework="np") as file:  # checks the header against the size of the file
            return file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file, or is cut off: {error}") from error


def _read(path: Path, shape: tuple[int, ...], dtype: np.dtype, start: int, index: Any) -> np.ndarray:
    count = int(np.prod(shape, dtype=np.int64))
    if count == 0:
        # A mapping cannot be empty.
        return np.empty(shape, dtype)[index]
    # A mapping must begin at such a multiple; the bytes before the tensor are skipped.
    before = start % mmap.ALLOCATIONGRANULARITY
    with path.open("rb") as file:
        length = before + count * dtype.itemsize
        mapped = mmap.mmap(file.fileno(), length, access=mmap.ACCESS_READ, offset=start - before)
    if index is ... and hasattr(mmap, "MADV_WILLNEED"):
        mapped.madvise(mmap.MADV_WILLNEED)  # read ahead in one go: transposing touches every page at once
    return np.frombuffer(mapped, dtype, count, before).reshape(shape)[index]
