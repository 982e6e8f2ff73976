"""Checkpoints of other programs, opened lazily: names and shapes at once, a tensor when it is asked for.

The formats are safetensors and PyTorch's .pth, .pt, .ckpt and .bin, in one file or in shards,
with an index or numbered.
Tensors are mapped and not copied: a mapped tensor costs no memory of its own, and the pages that were read go when the
array goes. Weights that were scaled to fit 8 bits (`scaled.py`) are multiplied when they are read.
"""

import bisect
import hashlib
import pickle
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np

from shotverse_jax.files import read_json, reading
from shotverse_jax.limits import shown
from shotverse_jax.weights.safetensors import Stored, nbytes, open_safetensors, read_metadata

from .problems import Problems
from .scaled import unscaled

TORCH_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin")
WRAPPERS = ("state_dict", "model_state", "model", "module")  # where training programs keep a network's tensors
DEPTH = 16  # how deep dictionaries of a PyTorch file may be nested
REMAP = 256 << 20  # bytes handed out before a PyTorch file is mapped anew, which lets its pages go
LONGEST_NAME = 255  # bytes of the name of a file; systems let no one ask for a longer one
BLOCK, BLOCKS = 1 << 20, 64  # what is hashed of a file that is larger than these together


class Source(Mapping):
    """The tensors of a checkpoint by name; `source[name]` is a read-only mapped array.

    Attributes:
        files: The files that hold the tensors.
        shapes: The tensors as shapes, without a value.
        metadata: What else the files hold: the texts in the header of a .safetensors file, or the plain values
            (numbers, texts, lists and tables of them) beside the tensors of a PyTorch file.
    """

    def __init__(self, files: Iterable[Path], tensors: Mapping[str, Stored], metadata: Mapping[str, Any]):
        self.files, self.metadata = tuple(files), metadata
        tensors = unscaled(tensors, metadata)
        self.shapes = {name: jax.ShapeDtypeStruct(stored.shape, stored.dtype) for name, stored in tensors.items()}
        self._tensors = tensors

    def __getitem__(self, name: str) -> np.ndarray:
        return self._tensors[name][...]

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    @property
    def nbytes(self) -> int:
        """The bytes of all tensors together."""
        return sum(nbytes(shape) for shape in self.shapes.values())


def open_checkpoint(path: str | Path) -> Source:
    """Opens a checkpoint by its file, by the index of its shards (.index.json) or by the folder that holds one.

    Shards without an index are recognised by their names, such as model-00001-of-00003.safetensors. One of them stands
    for all that are beside it.

    Raises:
        ValueError: There is no checkpoint, a file is cut off or of another format, a shard is missing, the shards do
            not hold what the index says, or a PyTorch file holds more than tensors.
    """
    path = Path(path)
    if path.is_dir():
        path = _in_folder(path)
    if path.name.endswith(".index.json"):
        return _open_index(path)
    if (match := _SHARD.fullmatch(path.name)) and path.is_file():
        return _open_shards(_shards(path.parent, match))
    return Source([path], *_open_file(path))


# An index comes before its shards, which alone would look like several checkpoints.
_ENDINGS = (".safetensors.index.json", ".safetensors", ".index.json", *TORCH_SUFFIXES)
_SHARD = re.compile(r"(?P<head>.*?[-_.]?)0*(?P<number>\d+)(?P<of>[-_.]of[-_.])0*(?P<count>\d+)(?P<end>\.[a-z]+)")


def _in_folder(folder: Path) -> Path:
    """The file of the one checkpoint in a folder, which may be an index or the first shard of several."""
    found = next(filter(None, (sorted(folder.glob(f"*{end}")) for end in _ENDINGS)), [])
    matches = [_SHARD.fullmatch(path.name) for path in found]
    if all(matches) and len({(match["head"], match["count"]) for match in matches}) == 1:
        return found[0]
    if len(found) != 1:
        kinds = "a .safetensors or PyTorch file, the .index.json of its shards, or numbered shards"
        raise ValueError(f"{folder} holds {len(found)} checkpoints ({kinds}), expected one")
    return found[0]


def holds_checkpoint(folder: Path) -> bool:
    """Returns True for a folder with one checkpoint in it."""
    try:
        return folder.is_dir() and _in_folder(folder).exists()
    except ValueError:
        return False


def _shards(folder: Path, one: re.Match) -> list[Path]:
    """All shards of the checkpoint that one of them belongs to, in order."""
    count, same = int(one["count"]), {}
    for path in folder.iterdir():
        match = _SHARD.fullmatch(path.name)
        if match and all(match[part] == one[part] for part in ("head", "count", "end")):
            same[int(match["number"])] = path
    # The first shard is number 1; some programs begin with 0.
    first = 0 if 0 in same else 1
    if missing := [number for number in range(first, first + count) if number not in same]:
        numbers = ", ".join(map(str, missing))
        raise ValueError(f"{folder} holds {len(same)} of {count} shards of a checkpoint; number {numbers} is missing")
    return [path for _, path in sorted(same.items())]


def _open_shards(shards: list[Path]) -> Source:
    tensors, metadata, problems = {}, {}, Problems()
    for shard in shards:
        held, values = _open_file(shard)
        for name in held.keys() & tensors.keys():
            problems.add("in several shards", name)
        tensors |= held
        metadata |= values
    problems.raise_any(str(shards[0].parent))
    return Source(shards, tensors, metadata)


def read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """Reads all tensors of a checkpoint into memory. bfloat16 is the dtype of ml_dtypes.

    Raises:
        ValueError: As `open_checkpoint`.
    """
    return {name: np.array(tensor) for name, tensor in open_checkpoint(path).items()}


def _open_index(path: Path) -> Source:
    shard_of = read_json(path).get("weight_map")
    if not isinstance(shard_of, dict) or not shard_of or not all(isinstance(file, str) for file in shard_of.values()):
        raise ValueError(f"{path} is not the index of a sharded checkpoint: its weight_map is {shown(shard_of)}")
    shards = sorted(set(shard_of.values()))
    if outside := [shard for shard in shards if Path(shard).name != shard or len(shard.encode()) > LONGEST_NAME]:
        raise ValueError(f"{path} names a shard {shown(outside[0])}, which is no name of a file beside it")
    if missing := [shard for shard in shards if not (path.parent / shard).is_file()]:
        raise ValueError(f"{path} names shards that are missing beside it: {', '.join(missing)} does not exist")
    tensors, metadata, problems = {}, {}, Problems()
    for shard in shards:
        held, values = _open_file(path.parent / shard)
        wanted = {name for name, file in shard_of.items() if file == shard}
        for name in held.keys() ^ wanted:
            problems.add("in the index or in its shard, not in both", f"{name} ({shard})")
        tensors.update(held)
        metadata.update(values)
    problems.raise_any(str(path))
    return Source([path.parent / shard for shard in shards], tensors, metadata)


def _open_file(path: Path) -> tuple[dict[str, Stored], dict[str, Any]]:
    """The tensors of a file, and what else it holds."""
    if not path.is_file():
        raise ValueError(f"{path} does not exist; give a .safetensors or PyTorch file, its .index.json or their folder")
    if path.suffix not in TORCH_SUFFIXES:
        return open_safetensors(path), read_metadata(path)
    file = _TorchFile(path)
    shapes = file.shapes.items()
    return {name: Stored(shape.shape, shape.dtype, partial(file.read, name)) for name, shape in shapes}, file.values


class _TorchFile:
    """A mapped PyTorch file. All its tensors share one mapping, so it is mapped anew now and then to free its pages.

    The file is a zip archive with an entry for each storage, and a checksum (CRC-32) of every entry. The checksum of a
    storage is compared when the first of its tensors is read.
    """

    def __init__(self, path: Path):
        self._path, self._handed_out = path, 0
        self._tensors, self.values = self._load()
        self._checked: set[int] = set()
        self.shapes = {}
        for name, tensor in self._tensors.items():
            array = self._array(name)
            self.shapes[name] = jax.ShapeDtypeStruct(tuple(tensor.shape), array.dtype)
        self._check_archive()

    def _check_archive(self) -> None:
        """Checks the entries of the archive: PyTorch maps as many bytes as the pickle asks for, whatever is there."""
        with reading(self._path, "a PyTorch file of tensors"):
            self._archive = zipfile.ZipFile(self._path)
            entries = sorted(self._archive.infolist(), key=lambda entry: entry.header_offset)
            for entry in entries:
                self._archive.open(entry).close()  # compares the two headers of the entry
        held = Counter(entry.file_size for entry in entries if entry.compress_type == zipfile.ZIP_STORED)
        wanted = Counter(size for _, size in self._storages)
        if wanted - held:
            raise ValueError(f"{self._path} is damaged: its tensors have other sizes than the parts of the file")
        data = [entry for entry in entries if entry.filename.split("/")[-2:-1] == ["data"] and entry.file_size]
        # Storages are mapped in the order of their entries. Which is whose is not known where some are of no tensor.
        known = [entry.file_size for entry in data] == [size for _, size in self._storages]
        self._entries = data if known else []
        for entry in entries if not known else [entry for entry in entries if entry not in data]:
            self._compare(entry)

    def _compare(self, entry: zipfile.ZipInfo) -> None:
        """Compares an entry with its checksum."""
        # PyTorch writes 0 where it was told to compute none, and compresses nothing.
        if not entry.CRC or entry.compress_type != zipfile.ZIP_STORED:
            return
        opened = reading(self._path, "a PyTorch file of tensors", passing=(zipfile.BadZipFile,))
        try:
            with opened, self._archive.open(entry) as stream:
                while stream.read(BLOCK):
                    pass
        except zipfile.BadZipFile as error:
            raise ValueError(
                f"{self._path} is damaged: {shown(entry.filename)} in it is not as it was written; fetch it anew"
            ) from error

    def read(self, name: str, index: Any) -> np.ndarray:
        """Returns a part of a tensor."""
        if self._handed_out > REMAP:
            (self._tensors, _), self._handed_out = self._load(), 0
        self._handed_out += nbytes(self.shapes[name])
        self._check_storage(self._tensors[name].untyped_storage().data_ptr())
        return self._array(name)[index]

    def _check_storage(self, pointer: int) -> None:
        """Compares the storage at an address with its checksum, once."""
        places = [start for start, _ in self._storages]
        place = bisect.bisect_left(places, pointer)
        if place < len(self._entries) and places[place] == pointer and place not in self._checked:
            self._compare(self._entries[place])
            self._checked.add(place)

    def _array(self, name: str) -> np.ndarray:
        import torch

        tensor = self._tensors[name]
        if tensor.layout != torch.strided or tensor.is_quantized:
            raise ValueError(f"{self._path}: {name} is sparse or quantized; plain tensors are expected")
        # A tensor may repeat its numbers as often as it likes; converted, they would all be written.
        if (size := tensor.numel() * tensor.element_size()) > tensor.untyped_storage().nbytes():
            raise ValueError(f"{self._path}: {name} claims {size:,} bytes, more than are stored of it")
        # NumPy has none of these of its own, so the bits travel as integers.
        for dtype, bits, ours in (
            (torch.bfloat16, torch.int16, ml_dtypes.bfloat16),
            (torch.float8_e4m3fn, torch.uint8, ml_dtypes.float8_e4m3fn),
            (torch.float8_e5m2, torch.uint8, ml_dtypes.float8_e5m2),
        ):
            if tensor.dtype == dtype:
                return tensor.view(bits).numpy().view(ours)
        try:
            return tensor.numpy()
        except (TypeError, RuntimeError) as error:
            what = "a conjugate or negative view" if tensor.is_conj() or tensor.is_neg() else tensor.dtype
            raise ValueError(f"{self._path}: {name} is stored as {what}, which is not read here") from error

    def _load(self) -> tuple[dict[str, Any], dict[str, Any]]:
        try:
            import torch
        except ImportError as error:
            raise ValueError(
                f"{self._path} is a PyTorch file: install torch to read it, or give safetensors"
            ) from error
        try:
            # weights_only, because a pickle could run any program; mmap, so that only tensors that are used are read.
            with reading(
                self._path, "a PyTorch file of tensors", passing=(RuntimeError, EOFError, pickle.UnpicklingError)
            ):
                held = torch.load(self._path, map_location="cpu", weights_only=True, mmap=True)
        except pickle.UnpicklingError as error:
            reason = str(error).replace("\n", " ").split("Please file")[0][:300]
            raise ValueError(
                f"{self._path} holds more than tensors and is not opened, as a pickle may run any program: {reason}"
            ) from error
        except (RuntimeError, EOFError, OSError) as error:
            reason = str(error).split("\n")[0][:300]
            raise ValueError(
                f"{self._path} is not a PyTorch file of version 1.6 or later, or is cut off: {reason}"
            ) from error
        self._storages = _storages(held)
        return _unpacked(held, self._path)


def _storages(held: Any) -> list[tuple[int, int]]:
    """(address, bytes) of all storages that are not empty, in the order of their addresses.

    held: what a PyTorch file holds, which may hold itself.
    """
    import torch

    found, seen, left = {}, set(), [held]
    while left:
        value = left.pop()
        if torch.is_tensor(value) and value.layout == torch.strided and value.device.type == "cpu":
            storage = value.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
        elif isinstance(value, Mapping | list | tuple | set | frozenset) and id(value) not in seen:
            seen.add(id(value))
            left += value.values() if isinstance(value, Mapping) else value
    return sorted((start, size) for start, size in found.items() if size)


def _unpacked(held: Any, path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tensors that a PyTorch file holds, and the plain values beside them and beside what wraps them."""
    import torch

    values = {}
    for _ in range(DEPTH):
        if not isinstance(held, Mapping):
            break
        values |= {str(name): value for name, value in held.items() if _is_plain(value)}
        inside = {name: value for name, value in held.items() if isinstance(value, Mapping) and not _is_plain(value)}
        wrapper = next((name for name in WRAPPERS if name in inside), None)
        if wrapper is None and len(inside) == 1 and not any(map(torch.is_tensor, held.values())):
            [wrapper] = inside
        if wrapper is None:
            break
        held = inside[wrapper]
    if not isinstance(held, Mapping) or not held:
        raise ValueError(f"{path} holds a {type(held).__name__}, expected tensors by name")
    rest = {str(name): value for name, value in held.items() if not _is_plain(value)}
    if other := [f"{name} ({type(value).__name__})" for name, value in rest.items() if not torch.is_tensor(value)]:
        raise ValueError(f"{path} holds things that are not tensors: {', '.join(other[:10])}")
    if unnamed := [name for name in held if not isinstance(name, str)]:
        raise ValueError(f"{path} holds things under {shown(unnamed[0])}, which is no name of a tensor")
    if not rest:
        raise ValueError(f"{path} holds no tensors, but {', '.join(list(values)[:10])}")
    return {name: tensor.detach() for name, tensor in rest.items()}, values


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Whether it is a number, a text, None, or lists and tables of these; not if it is nested deeper than DEPTH.

    A dictionary in a PyTorch file can hold itself.
    """
    if depth > DEPTH:
        return False
    if isinstance(value, Mapping):
        return all(_is_plain(inside, depth + 1) for inside in value.values())
    if isinstance(value, list | tuple):
        return all(_is_plain(inside, depth + 1) for inside in value)
    return value is None or isinstance(value, bool | int | float | str)


def fingerprint(path: Path) -> dict[str, Any]:
    """Returns {file, bytes, sha256, sha256_of}. The hash is of the whole file, or of 64 blocks of a larger file."""
    size, digest = path.stat().st_size, hashlib.sha256()
    whole = size <= BLOCK * BLOCKS
    with path.open("rb") as file:
        for block in range(BLOCKS):
            file.seek(block * BLOCK if whole else block * (size - BLOCK) // (BLOCKS - 1))
            digest.update(file.read(BLOCK))
    of = (
        "the whole file"
        if whole
        else f"{BLOCKS} blocks of {BLOCK} bytes, evenly spaced, the first and the last among them"
    )
    return {"file": path.name, "bytes": size, "sha256": digest.hexdigest(), "sha256_of": of}
