"""The folder of a network: config.json, weights in safetensors files, and tokenizer.json where it reads text.

`shotverse convert` writes a folder `model` in place of `model.safetensors`: an Orbax checkpoint of plain zarr arrays,
which Orbax restores too, and of which each parameter can be read in parts.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from shotverse_jax.config import from_dict
from shotverse_jax.files import UNFINISHED, cache_folder, read_json, reading, replacing
from shotverse_jax.limits import shown
from shotverse_jax.weights.catalogue import KINDS
from shotverse_jax.weights.safetensors import Stored, open_safetensors, write_safetensors
from shotverse_jax.weights.sums import SUFFIX, Sums, read_sums, write_sums
from shotverse_jax.weights.trees import check_same, flatten, nest

SHIPPED = Path(__file__).parents[1] / "pretrained"
CONFIG, TOKENIZER, WEIGHTS = "config.json", "tokenizer.json", "model.safetensors"


def fetched_models() -> Path:
    """The folder of the models that `shotverse get` fetched."""
    return cache_folder() / "models"


def find(kinds: str | Sequence[str], folder_or_name: str | Path, files: Iterable[str]) -> Path:
    """A folder that has all `files`, by its path, or by the name of a shipped network or of a fetched one.

    Args:
        kinds: The kinds that it may be, names in the catalogue or "adapter". A folder that does not say its kind, as
            those of earlier versions, may be any.
        folder_or_name: The path of the folder, or the name of a shipped or fetched network. A path comes before a
            shipped network, and this before a fetched one.
        files: Names of the files that it must have.

    Raises:
        ValueError: No such folder (with the names of what ships and what was fetched), a folder of another kind, or a
            file is missing, or it was being replaced when the program was killed.
    """
    kinds = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    title = " or ".join(map(_title, kinds))
    places = (Path(folder_or_name), SHIPPED / folder_or_name, fetched_models() / folder_or_name)
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        shipped, fetched = (", ".join(_names(place, kinds)) or "none" for place in (SHIPPED, fetched_models()))
        raise ValueError(
            f"no {title} called {folder_or_name}: give a folder or the name of a shipped one ({shipped}) or of one "
            f"that `shotverse get` fetched ({fetched})"
        )
    kind = kind_of(folder)
    if kind is not None and kind not in kinds:
        raise ValueError(f"{folder} is {_article(_title(kind))}, not {_article(title)}")
    if (folder / UNFINISHED).exists():
        raise ValueError(f"{folder} is unfinished: what replaced its files was killed meanwhile; make it again")
    missing = [name for name in files if not has(folder, name)]
    if missing:
        raise ValueError(f"{folder} is not {_article(title)}: it has no {' and no '.join(missing)}")
    return folder


def _names(place: Path, kinds: Sequence[str]) -> list[str]:
    """The names of the networks of some kinds in a folder of networks."""
    return sorted(path.parent.name for path in place.glob(f"[!.]*/{CONFIG}") if kind_of(path.parent) in kinds)


def kind_of(folder: Path) -> str | None:
    """The kind that the config.json of a folder names; None when there is no such file or it names none.

    Raises:
        ValueError: config.json is damaged.
    """
    kind = read_values(folder).get("kind") if (folder / CONFIG).is_file() else None
    if kind is not None and (not isinstance(kind, str) or not kind):
        raise ValueError(f"{folder / CONFIG} is damaged: its kind is {shown(kind)}")
    return kind


def _title(kind: str) -> str:
    return KINDS[kind].title if kind in KINDS else kind


def _article(title: str) -> str:
    return f"an {title}" if title[0] in "aeiouAEIOU" else f"a {title}"


def has(folder: Path, name: str) -> bool:
    """Whether a folder has a file of that name, or weights as arrays in its place."""
    return (folder / name).is_file() or is_arrays(_arrays(folder / name))


def write(
    kind: str,
    folder: str | Path,
    config: Any,
    params: dict,
    weights: str = WEIGHTS,
    tokenizer_file: str | Path | None = None,
) -> None:
    """Writes the folder of a network, all or nothing; what else is in the folder stays.

    Args:
        kind: Its kind, a name in the catalogue or "adapter".
        folder: Where to write.
        config: Its config. config.json gets the kind and every field.
        params: Its parameters, written in bfloat16 under their names joined by "/".
        weights: Name of the weights file.
        tokenizer_file: A tokenizer.json to copy.

    Raises:
        ValueError: A parameter is not finite, or the folder cannot be written; nothing is changed then.
    """
    tensors = {}
    for name, leaf in flatten(params).items():
        value = np.asarray(jax.device_get(leaf), np.float32)
        if not np.isfinite(value).all():
            raise ValueError(f"parameter {name} holds NaN or infinity; it is not exported")
        tensors[name] = np.asarray(value.astype(jnp.bfloat16), order="C")  # a number stays one
    tokenizer = None if tokenizer_file is None else Path(tokenizer_file).read_text(encoding="utf-8")
    values = json.dumps(values_of(kind, config), indent=2)
    with replacing(folder) as place:
        place.mkdir()
        write_safetensors(place / weights, tensors, tensors.items(), {"format": f"shotverse_jax {_title(kind)}"})
        write_sums(place / weights)
        if tokenizer is not None:
            (place / TOKENIZER).write_text(tokenizer, encoding="utf-8")
        (place / CONFIG).write_text(values + "\n", encoding="utf-8")


def values_of(kind: str, config: Any) -> dict:
    """The values that config.json holds."""
    return {"kind": kind, **dataclasses.asdict(config)}


def read_config(folder: Path, cls: type) -> Any:
    """The config of a folder as the dataclass `cls`. Raises ValueError when it is not JSON or has other fields."""
    try:
        return from_dict(cls, {name: value for name, value in read_values(folder).items() if name != "kind"})
    except ValueError as error:
        raise ValueError(f"{folder / CONFIG}: {error}") from error


def read_values(folder: Path) -> dict:
    """The values in the config.json of a folder. Raises ValueError when it is not a mapping in JSON."""
    return read_json(folder / CONFIG)


def digest(folder: Path) -> str:
    """A digest that tells a network from others: of its config, of its weights where their digests were kept, and of
    the sizes of its files."""
    found = hashlib.sha256((folder / CONFIG).read_bytes())
    for file in sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / CONFIG):
        found.update(f"{file.relative_to(folder)} {file.stat().st_size}".encode())
        if file.suffix == SUFFIX:
            found.update(file.read_bytes())
    return found.hexdigest()[:16]


def is_arrays(path: Path) -> bool:
    """Whether a folder holds weights as an Orbax checkpoint of plain arrays."""
    # Orbax's other format, OCDBT, has this file too, but no folder for each array.
    return (path / "_METADATA").is_file() and not (path / "manifest.ocdbt").exists()


def _arrays(path: Path) -> Path:
    """The folder of arrays that is in place of a safetensors file."""
    return path.with_suffix("") if path.suffix == ".safetensors" else path


def open_weights(path: Path) -> Mapping[str, Stored]:
    """Opens weights by name: a safetensors file, or the folder of arrays in its place. No value is read yet.

    path: the file or the folder; "model" and "model.safetensors" find both.

    Raises:
        ValueError: There are no weights, or they are damaged: a file is missing, cut off, or, here or when its values
            are read, not the one whose digest was kept (`sums.py`).
    """
    folder = _arrays(path)
    file, sums = folder.with_name(f"{folder.name}.safetensors"), read_sums(folder)
    if file.is_file():
        sums.check([file.name])
        return open_safetensors(file)
    if not is_arrays(folder):
        raise ValueError(f"{folder.parent} has no weights {file.name}, nor a folder {folder.name} of arrays")
    # Orbax joins the names on the way to a parameter with dots.
    arrays = {p.name.replace(".", "/"): _open_array(p, sums) for p in sorted(folder.iterdir()) if p.is_dir()}
    if (known := sums.names(folder.name)) is not None:
        # An array that is gone altogether is not found above.
        sums.check(f"{folder.name}/{name}" for name in known if "/" not in name or name.endswith("/.zarray"))
    return arrays


def _open_array(path: Path, sums: Sums) -> Stored:
    import tensorstore

    if not (path / ".zarray").is_file():
        raise ValueError(f"{path} is not an array: it has no .zarray; convert the checkpoint anew")
    spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": os.path.abspath(path)}}

    with _an_array(path):
        array = tensorstore.open(spec, open=True, read=True).result()
        metadata = array.spec().to_json()["metadata"]
    chunk, dtype = array.chunk_layout.read_chunk.shape or (), array.dtype.numpy_dtype  # none of a single number
    _check_chunks(path, array.shape, chunk, None if metadata["compressor"] else math.prod(chunk) * dtype.itemsize)

    def read(index):
        # Only the files that are read are checked, so that a host which reads its shard reads no more.
        places = itertools.product(*_chunks(index, array.shape, chunk))
        sums.check(f"{path.parent.name}/{path.name}/{_chunk_name(place)}" for place in places)
        with _an_array(path):
            return array[index].read().result()

    return Stored(array.shape, dtype, read)


@contextlib.contextmanager
def _an_array(path: Path) -> Iterator[None]:
    """The border to tensorstore, whose own words for a damaged array hold all of its settings."""
    try:
        with reading(path, "an array"):
            yield
    except ValueError as error:
        wrong = ".zarray does not describe an array" if ".zarray" in str(error) else "a part of it cannot be read"
        raise ValueError(f"{path} is damaged: {wrong}; make the folder anew") from error


def _check_chunks(path: Path, shape: Sequence[int], chunk: Sequence[int], size: int | None) -> None:
    """Raises ValueError unless all chunks of an array are there: tensorstore would read zeros for one that is not.

    size: bytes of every chunk; None where they are compressed.
    """
    sizes = {file.name: file.stat().st_size for file in path.iterdir() if file.is_file()}
    axes = [range(-(-length // part)) for length, part in zip(shape, chunk, strict=True)]
    # A damaged .zarray may ask for more chunks than can be counted.
    whole = math.prod(map(len, axes)) <= len(sizes)
    found = (sizes.get(_chunk_name(place)) for place in itertools.product(*axes)) if whole else [None]
    if any(bytes_ is None or size not in (None, bytes_) for bytes_ in found):
        raise ValueError(f"{path} is damaged: a part of the array is not there or cut off; make the folder anew")


def _chunk_name(place: Sequence[int]) -> str:
    return ".".join(map(str, place)) or "0"


def _chunks(index: Any, shape: Sequence[int], chunk: Sequence[int]) -> list[range]:
    """The numbers of the chunks along each axis that an index of whole numbers, slices and an ellipsis touches."""
    given = list(index) if isinstance(index, tuple) else [index]
    dots = given.index(...) if ... in given else len(given)
    rest = given[dots + 1 :]
    given = given[:dots] + [slice(None)] * (len(shape) - dots - len(rest)) + rest
    spans = [
        part.indices(size)[:2] if isinstance(part, slice) else (part % size, part % size + 1)
        for part, size in zip(given, shape, strict=True)
    ]
    return [range(start // size, -(-stop // size)) for (start, stop), size in zip(spans, chunk, strict=True)]


def read_params(path: Path, abstract: dict) -> dict:
    """Reads the parameters of a network as float32 NumPy arrays.

    A leaf of `abstract` with a sharding (`parallel.rules.placed` makes them) becomes a jax.Array of its dtype instead.
    Each of its shards is read by itself, so no parameter is ever whole on the host.

    Args:
        path: A safetensors file, or the folder of arrays in its place.
        abstract: The tree of the parameters as shapes.

    Raises:
        ValueError: There are no weights, or they are not those of `abstract`; all problems are listed.
    """
    tensors, expected = open_weights(path), flatten(abstract)
    check_same(tensors, expected, f"the weights in {path} do not fit the {CONFIG} beside them")
    return nest({name: _read(value, expected[name]) for name, value in tensors.items()})


def _read(value: Stored, leaf: Any) -> Any:
    if (sharding := getattr(leaf, "sharding", None)) is None:
        return np.asarray(value).astype(np.float32)

    def part(index):
        read = np.asarray(value[index])
        # A view of a mapped file is copied, so that no array depends on the file.
        return read.astype(leaf.dtype, copy=not read.flags.writeable)

    return jax.make_array_from_callback(leaf.shape, sharding, part)
