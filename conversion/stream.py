"""Conversion in a stream: tensors of any size go from their files to arrays on disk, a piece at a time.

tensorstore writes the arrays in the layout of an Orbax checkpoint: `_METADATA` and one uncompressed zarr array per
parameter. Orbax restores them with any target shardings, and every device reads only its own chunks. `weights.load`
finds such a folder `model/` in place of `model.safetensors`. A safetensors file cannot be restored by Orbax, and OCDBT,
which packs arrays into one database, could not be continued array by array after the process is killed.

A chunk is one layer's part of one shard, or several layers when they are small: at most `CHUNK` bytes. It is gathered
from the mapped source, cast, checked and handed to tensorstore, while two others are on their way to the disk. So a few
chunks are in memory, and the pages of the stored tensors of one chunk (at most `LARGE` bytes of them, or one tensor),
however large the checkpoint is.
"""

import contextlib
import hashlib
import itertools
import json
import math
import os
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import tensorstore as ts
from tqdm import tqdm

from shotverse_jax.files import read_json
from shotverse_jax.parallel.mesh import parse_sizes
from shotverse_jax.parallel.rules import spec
from shotverse_jax.weights.safetensors import nbytes
from shotverse_jax.weights.sums import digests

from .core import Entry
from .prepare import Conversion

CHUNK = 64 << 20
WHOLE = 1 << 20  # a layer's tensor of fewer bytes is stored in one piece
LARGE = 256 << 20
IN_FLIGHT = 2
BASE = 700_000_000
"""Bytes of a program that converts, beside what it converts: Python, JAX, tensorstore."""
TILE = 256
JOURNAL = "journal.json"
AXES = ("fsdp", "tensor")

# All these bits are set in a float that is not finite.
_EXPONENT = {np.dtype(np.float32): (np.uint32, 0x7F800000), np.dtype(ml_dtypes.bfloat16): (np.uint16, 0x7F80)}

Mesh = Mapping[str, int]


def memory(shapes: Iterable[Any]) -> int:
    """Returns the most bytes of memory that converting a checkpoint takes, or writing it back.

    These are the chunks on their way, and of a tensor its mapped pages and, on the way back, a transposed copy.

    shapes: of the tensors of the checkpoint.
    """
    return BASE + (IN_FLIGHT + 1) * CHUNK + 2 * max(map(nbytes, shapes), default=0)


def parse_mesh(text: str) -> dict[str, int]:
    """Reads the sizes of the mesh axes that split parameters, "fsdp=8,tensor=2"; ValueError for other axes, sizes."""
    return parse_sizes(text, AXES)


def shard_shape(path: str, shape: Sequence[int], stacked: bool, mesh: Mesh, itemsize: int) -> tuple[int, ...]:
    """Returns the shape of the part that one device of a mesh holds by `parallel/rules.py`.

    It is the whole array without a mesh, and where a layer has less than `WHOLE` bytes: reading parts of so little
    would be no faster. Other shardings can be read too, only not chunk by chunk. Raises ValueError as
    `parallel.rules.spec`.
    """
    if not mesh or math.prod(shape[1:] if stacked else shape) * itemsize < WHOLE:
        return tuple(shape)
    axes = spec(path, tuple(shape), mesh)
    return tuple(size // mesh.get(axis, 1) for size, axis in itertools.zip_longest(shape, axes))


def chunk_shape(path: str, shape: Sequence[int], stacked: bool, mesh: Mesh, itemsize: int) -> tuple[int, ...]:
    """Returns the shape of an array's chunks: a device's part, split from the first axis on to `CHUNK` bytes."""
    sizes = list(shard_shape(path, shape, stacked, mesh, itemsize))
    for axis in range(len(sizes)):
        rest = math.prod(sizes[axis + 1 :]) * itemsize
        if sizes[axis] * rest > CHUNK:
            pieces = -(-sizes[axis] * rest // CHUNK)
            sizes[axis] = max(1, -(-sizes[axis] // pieces))
            while sizes[axis] > 1 and sizes[axis] * rest > CHUNK:
                sizes[axis] -= 1
    return tuple(sizes)


class Journal:
    """A file that remembers which arrays of an unfinished conversion are whole.

    Attributes:
        done: Digests of the files of the arrays that are whole: name → {path below the arrays' folder → digest}.
        bad: Stored names of tensors that are not finite.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]):
        """Continues the journal in `folder` when it has the same `identity` (JSON values), else begins a new one."""
        self._path, self._identity = folder / JOURNAL, json.loads(json.dumps(identity))
        self.done: dict[str, dict[str, str]] = {}
        self.bad: set[str] = set()
        try:
            held = read_json(self._path)
            if held.pop("sha256") == _digest(held) and held["identity"] == self._identity:
                self.done = {name: dict(files) for name, files in held["done"].items()}
                self.bad = set(held["bad"])
        # Whatever else a file holds that somebody changed: the conversion begins anew.
        except (ValueError, KeyError, TypeError, AttributeError):
            self.done = {}

    def keep(self, folder: Path) -> None:
        """Forgets arrays whose files are not those that were written: the machine stopped before they reached the disk,
        or somebody changed them. Whatever else is in the folder is removed."""
        for target, files in list(self.done.items()):
            held = {path.relative_to(folder).as_posix() for path in (folder / array_name(target)).glob("*")}
            if held != files.keys() or digests(folder / name for name in files) != list(files.values()):
                del self.done[target]
        kept = {array_name(target) for target in self.done}
        for path in folder.iterdir():
            if path.name not in kept:
                remove(path)

    def finish(self, target: str, files: dict[str, str], bad: set[str]) -> None:
        """Notes that an array is whole, the digests of its files, and which of its stored tensors are not finite."""
        self.done[target] = files
        self.bad |= bad
        held = {"identity": self._identity, "done": self.done, "bad": sorted(self.bad)}
        scratch = self._path.with_suffix(".tmp")
        scratch.write_text(json.dumps(held | {"sha256": _digest(held)}), encoding="utf-8")
        # A program that is killed leaves the old journal or the new one, never half of one.
        os.replace(scratch, self._path)


def _digest(values: Mapping[str, Any]) -> str:
    """A digest of JSON values: a journal that somebody changed is not gone on with."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def write_arrays(
    conversion: Conversion, folder: Path, journal: Journal, allow_nan: bool = False, progress: str | None = None
) -> None:
    """Writes the arrays of a network that the journal does not have yet.

    Args:
        conversion: What to write.
        folder: Where the arrays are written.
        journal: Remembers the arrays that are whole.
        allow_nan: Whether NaN and infinity are written too.
        progress: Name of the progress bar; None for no bar.

    Raises:
        ValueError: A tensor holds NaN or infinity, or the disk is full or cannot be written.
    """
    leaves = conversion.leaves
    if not folder.is_dir() and (folder.exists() or folder.is_symlink()):
        remove(folder)
    folder.mkdir(parents=True, exist_ok=True)
    journal.keep(folder)
    _write_metadata(folder, leaves)
    total, done = (sum(nbytes(leaves[target]) for target in targets) for targets in (leaves, journal.done))
    bar = tqdm(total=total, initial=done, desc=progress, unit="B", unit_scale=True, disable=progress is None)
    writes = _Writes(journal, folder, allow_nan)
    try:
        for entry in conversion.table.entries:
            if entry.target not in journal.done:
                _write_array(conversion, entry, folder, writes, bar)
        writes.settle()
    finally:
        writes.abandon()
        bar.close()


class _Writes:
    """At most `IN_FLIGHT` chunks on their way to the disk. The journal gets an array when its last chunk is written."""

    def __init__(self, journal: Journal, folder: Path, allow_nan: bool):
        self._journal, self._folder, self._allow_nan = journal, folder, allow_nan
        self._queue = deque()
        # The buffers are used in turn: a new page of memory costs more than what is written to it.
        self._buffers = itertools.cycle([np.empty(CHUNK, np.uint8) for _ in range(IN_FLIGHT + 1)])

    def buffer(self, shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
        """Returns an array of a shape and dtype in which the next chunk is gathered."""
        return next(self._buffers)[: math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)

    def add(self, target: str, write: ts.Future, bad: set[str] | None = None) -> None:
        """Takes the write of the last buffer.

        bad: Comes with the last chunk of an array: names of its stored tensors that are not finite.
        """
        self._queue.append((target, write, bad))
        self.settle(IN_FLIGHT)

    def settle(self, left: int = 0) -> None:
        """Waits until at most `left` writes are unfinished. Raises ValueError for a tensor that is not finite."""
        while len(self._queue) > left:
            target, write, bad = self._queue.popleft()
            with _naming(target):
                write.result()
            if bad and not self._allow_nan:
                raise ValueError(
                    f"{', '.join(sorted(bad))} holds NaN or infinity; the checkpoint is damaged (--allow-nan "
                    "converts it all the same)"
                )
            if bad is not None:
                files = sorted(path for path in (self._folder / array_name(target)).iterdir())
                names = (path.relative_to(self._folder).as_posix() for path in files)
                self._journal.finish(target, dict(zip(names, digests(files), strict=True)), bad)

    def abandon(self) -> None:
        """Waits for the unfinished writes after an error and ignores their results."""
        while self._queue:
            self._queue.popleft()[1].exception()


@contextlib.contextmanager
def _naming(target: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError) as error:
        reason = str(error).split(" [source")[0].split(" [tensorstore")[0]
        raise ValueError(f"{target} could not be written: {reason}") from error


def _write_array(conversion: Conversion, entry: Entry, folder: Path, writes: _Writes, bar: tqdm) -> None:
    source, stored, leaf = conversion.source, conversion.plan[entry.target], conversion.leaves[entry.target]
    mesh = conversion.manifest["mesh"]
    chunks = chunk_shape(entry.target, leaf.shape, entry.stacked, mesh, leaf.dtype.itemsize)
    regions = list(_regions(leaf.shape, chunks))
    bad, held = set(), {}
    with _naming(entry.target):
        array = _create(folder / array_name(entry.target), leaf, chunks)
    for region in regions:
        buffer = writes.buffer([part.stop - part.start for part in region], leaf.dtype)
        layers, within = (region[0], region[1:]) if entry.stacked else (slice(0, 1), region)
        held = {layer: tensor for layer, tensor in held.items() if layers.start <= layer < layers.stop}
        with _naming(entry.target):
            for place, layer in enumerate(range(layers.start, layers.stop)):
                tensor = held[layer] if layer in held else source[stored[layer]]
                # A large tensor is mapped anew for each chunk, so that the pages of the last chunk are freed.
                if tensor.nbytes * (layers.stop - layers.start) <= LARGE:
                    held[layer] = tensor
                part = buffer[place, ...] if entry.stacked else buffer
                copy(part, entry.transform.to_flax(tensor)[within])
                if not finite(part):
                    bad.add(stored[layer])
            # The buffer need not be copied: there is one more of them than writes on their way, so it rests until its
            # write is done.
            write = array[region].write(buffer, can_reference_source_data_indefinitely=True)
        writes.add(entry.target, write, bad if region is regions[-1] else None)
        bar.update(buffer.nbytes)


def remove(path: Path) -> None:
    """Removes a file, a link or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def array_name(target: str) -> str:
    """Returns the name that Orbax gives to the folder of an array."""
    return target.replace("/", ".")


def _create(path: Path, leaf: Any, chunks: Sequence[int]) -> ts.TensorStore:
    spec = {
        "driver": "zarr",
        "kvstore": {"driver": "file", "path": os.path.abspath(path)},  # tensorstore takes no ".."
        "metadata": {
            "shape": list(leaf.shape),
            "chunks": list(chunks),
            "dtype": "bfloat16" if leaf.dtype == ml_dtypes.bfloat16 else leaf.dtype.str,
            "compressor": None,
            "fill_value": None,
        },
        # Chunks of zeros are written too: an array is whole when all of its files are there.
        "store_data_equal_to_fill_value": True,
    }
    context = ts.Context({"file_io_sync": False})  # everything is synced once, before the checkpoint gets its name
    return ts.open(spec, create=True, delete_existing=True, context=context).result()


def _regions(shape: Sequence[int], chunks: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    axes = [range(0, size, chunk) for size, chunk in zip(shape, chunks, strict=True)]
    for starts in itertools.product(*axes):
        yield tuple(
            slice(start, min(start + chunk, size)) for start, chunk, size in zip(starts, chunks, shape, strict=True)
        )


def _write_metadata(folder: Path, leaves: Mapping[str, Any]) -> None:
    """Writes the files that Orbax reads first: the tree, and how its arrays are stored."""
    tree = {}
    for target in leaves:
        keys = tuple(target.split("/"))
        tree[str(keys)] = {
            # 2 is Orbax's number for a key of a dictionary.
            "key_metadata": [{"key": key, "key_type": 2} for key in keys],
            "value_metadata": {"value_type": "np.ndarray", "skip_deserialize": False},
        }
    layout = {"use_ocdbt": False, "use_zarr3": False, "store_array_data_equal_to_fill_value": True}
    # Orbax finds the program that reads the files by this name.
    handler = "orbax.checkpoint._src.handlers.pytree_checkpoint_handler.PyTreeCheckpointHandler"
    checkpoint = {"item_handlers": handler, "metrics": {}, "performance_metrics": {}, "custom_metadata": {}}
    for name, values in (
        ("_METADATA", {"tree_metadata": tree} | layout | {"custom_metadata": None}),
        ("_CHECKPOINT_METADATA", checkpoint),
    ):
        (folder / name).write_text(json.dumps(values), encoding="utf-8")


def copy(out: np.ndarray, view: np.ndarray) -> None:
    """Copies `view` into `out` and casts it.

    Transposed matrices are copied tile by tile through a small buffer, which is four times as fast.
    """
    if out.ndim != 2 or view.strides[1] == view.itemsize or view.strides[0] != view.itemsize:
        out[...] = view
        return
    tile = np.empty((TILE, TILE + 32), view.dtype)  # the 32 keep its columns from sharing lines of the cache
    for row in range(0, out.shape[0], TILE):
        for column in range(0, out.shape[1], TILE):
            there = (slice(row, row + TILE), slice(column, column + TILE))
            part = view[there]
            held = tile[: part.shape[1], : part.shape[0]]
            held[...] = part.T
            out[there] = held.T


def finite(array: np.ndarray) -> bool:
    """Returns True when a contiguous array has no NaN and no infinity. Other dtypes than float32 and bfloat16 pass."""
    if array.dtype not in _EXPONENT:
        return True
    unsigned, exponent = _EXPONENT[array.dtype]
    bits = array.reshape(-1).view(unsigned)
    # Without the sign bit, floats are ordered as their bits are: every finite one is below infinity's.
    magnitude = np.iinfo(unsigned).max >> 1
    step = 1 << 16
    return all((bits[at : at + step] & unsigned(magnitude)).max() < exponent for at in range(0, bits.size, step))
