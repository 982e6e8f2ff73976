"""Safetensors files, opened and written a tensor at a time: names, shapes and dtypes at once, values when asked for."""

import dataclasses
import json
import math
import mmap
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from shotverse_jax.files import replacing

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
    "U64": np.dtype(np.uint64),
    "U32": np.dtype(np.uint32),
    "U16": np.dtype(np.uint16),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(bool),
}


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
    header = safetensors_header(shapes, metadata)
    with replacing(path) as place, place.open("wb") as file:
        file.write(header)
        for (wanted, shape), (name, tensor) in zip(shapes.items(), tensors, strict=True):
            if name != wanted or tensor.shape != shape.shape or tensor.dtype != shape.dtype:
                raise ValueError(f"{name} {tensor.dtype}{list(tensor.shape)} came where {wanted} {shape} is due")
            file.write(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8))


def safetensors_header(shapes: Mapping[str, Any], metadata: Mapping[str, str]) -> bytes:
    """Returns the beginning of a .safetensors file, which the bytes of the tensors follow in the order of `shapes`.

    safetensors' own writer has another order in every process, so that equal tensors would be other bytes.
    """
    codes, header, end = {dtype: code for code, dtype in DTYPES.items()}, {"__metadata__": dict(metadata)}, 0
    for name, shape in shapes.items():
        begin, end = end, end + nbytes(shape)
        header[name] = {"dtype": codes[shape.dtype], "shape": list(shape.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text


def nbytes(array: Any) -> int:
    """Returns the number of bytes of anything with shape and dtype."""
    return math.prod(array.shape) * array.dtype.itemsize
