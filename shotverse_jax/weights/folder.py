"""A model's folder on disk: config.json, weights in safetensors files, tokenizer.json where the model reads text.

Large weights are not in a file `model.safetensors` but in a folder `model`: an Orbax checkpoint of plain zarr arrays,
as `shotverse convert` writes it and Orbax restores it; each parameter can be read in parts.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open

from shotverse_jax.config import from_dict
from shotverse_jax.files import DTYPES, write_safetensors
from shotverse_jax.weights.catalogue import KINDS

SHIPPED = Path(__file__).parents[1] / "pretrained"
CONFIG, TOKENIZER, WEIGHTS = "config.json", "tokenizer.json", "model.safetensors"


def find(kinds: str | Sequence[str], folder_or_name: str | Path, files: Iterable[str]) -> Path:
    """A folder that has all `files`, by its path or as the shipped one of that name.

    Args:
        kinds: The kinds that it may be, names in the catalogue or "adapter". A folder that does not say its kind, as
            those of earlier versions, may be any.
        folder_or_name: The path of the folder, or the name of a shipped one.
        files: Names of the files that it must have.

    Raises:
        ValueError: No such folder (with the names of what ships), a folder of another kind, or a file is missing.
    """
    kinds = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    title = " or ".join(map(_title, kinds))
    folder = next((f for f in (Path(folder_or_name), SHIPPED / folder_or_name) if f.is_dir()), None)
    if folder is None:
        found = sorted(path.parent.name for path in SHIPPED.glob(f"*/{CONFIG}") if kind_of(path.parent) in kinds)
        shipped = ", ".join(found) or "none"
        raise ValueError(f"no {title} called {folder_or_name}: give a folder or the name of a shipped one ({shipped})")
    kind = kind_of(folder)
    if kind is not None and kind not in kinds:
        raise ValueError(f"{folder} is {_article(_title(kind))}, not {_article(title)}")
    missing = [name for name in files if not has(folder, name)]
    if missing:
        raise ValueError(f"{folder} is not {_article(title)}: it has no {' and no '.join(missing)}")
    return folder


def kind_of(folder: Path) -> str | None:
    """The kind that the config.json of a folder names; None when there is no such file or it names none."""
    return read_values(folder).get("kind") if (folder / CONFIG).is_file() else None


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
    """Writes the kind and every field of a config, the parameters in bfloat16 (tree paths joined by "/") and the
    tokenizer.

    Raises:
        ValueError: a parameter that is not finite; nothing is written.
    """
    tensors = {}
    for name, leaf in _leaves(params).items():
        value = np.asarray(jax.device_get(leaf), np.float32)
        if not np.isfinite(value).all():
            raise ValueError(f"parameter {name} holds NaN or infinity; it is not exported")
        tensors[name] = np.ascontiguousarray(value.astype(jnp.bfloat16))
    tokenizer = None if tokenizer_file is None else Path(tokenizer_file).read_text(encoding="utf-8")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / weights, tensors, tensors.items(), {"format": f"shotverse_jax {_title(kind)}"})
    if tokenizer is not None:
        (folder / TOKENIZER).write_text(tokenizer, encoding="utf-8")
    values = json.dumps(values_of(kind, config), indent=2)
    (folder / CONFIG).write_text(values + "\n", encoding="utf-8")


def values_of(kind: str, config: Any) -> dict:
    """What config.json holds."""
    return {"kind": kind, **dataclasses.asdict(config)}


def read_config(folder: Path, cls: type) -> Any:
    """The config of a folder as the dataclass `cls`; ValueError when it is not JSON or has other fields."""
    return from_dict(cls, {name: value for name, value in read_values(folder).items() if name != "kind"})


def read_values(folder: Path) -> dict:
    """The values of a folder's config; ValueError when it is not JSON."""
    try:
        return json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{folder / CONFIG} is not JSON: {error}") from error


def is_arrays(path: Path) -> bool:
    """Whether a folder holds weights as arrays."""
    return (path / "_METADATA").is_file() and not (path / "manifest.ocdbt").exists()


def _arrays(path: Path) -> Path:
    """Where the weights of a safetensors file are when they are arrays."""
    return path.with_suffix("") if path.suffix == ".safetensors" else path


@dataclasses.dataclass(frozen=True)
class Stored:
    """An array on disk with `shape` and `dtype`; an index reads that part of it, `np.asarray` all."""

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[Any], np.ndarray]

    def __getitem__(self, index: Any) -> np.ndarray:
        return self.read(index)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self.read(...).astype(dtype or self.dtype, copy=False)


def open_weights(path: Path) -> Mapping[str, Stored]:
    """Parameters by name, of a safetensors file or in its place a folder of arrays (so "model" is good for both).

    No value is read yet.

    Raises:
        ValueError: there are none, or they are damaged.
    """
    folder = _arrays(path)
    file = folder.with_name(f"{folder.name}.safetensors")
    if file.is_file():
        return _open_safetensors(file)
    if not is_arrays(folder):
        raise ValueError(f"{folder.parent} has no weights {file.name}, nor a folder {folder.name} of arrays")
    return {p.name.replace(".", "/"): _open_array(p) for p in sorted(folder.iterdir()) if p.is_dir()}


def _open_safetensors(file: Path) -> dict[str, Stored]:
    try:
        tensors = safe_open(file, framework="numpy")
    except SafetensorError as error:
        raise ValueError(f"{file} is not a safetensors file: {error}") from error
    parts = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118, it is no dict
    return {
        name: Stored(tuple(part.get_shape()), DTYPES[part.get_dtype()], part.__getitem__)
        for name, part in parts.items()
    }


def _open_array(path: Path) -> Stored:
    import tensorstore

    if not (path / ".zarray").is_file():
        raise ValueError(f"{path} is not an array: it has no .zarray; convert the checkpoint anew")
    spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": str(path)}}
    array = tensorstore.open(spec, open=True, read=True).result()
    return Stored(array.shape, array.dtype.numpy_dtype, lambda index: array[index].read().result())


def read_params(path: Path, abstract: dict) -> dict:
    """The float32 NumPy parameters of a safetensors file, or of the folder of arrays in its place.

    A leaf of `abstract` with a sharding becomes a jax.Array of its dtype instead: each of its shards is read by itself,
    and no parameter is ever whole on the host (`parallel.rules.placed` makes such leaves).

    Raises:
        ValueError: not such a file, or parameters that are not those of the tree `abstract` (all of them listed).
    """
    tensors = open_weights(path)
    expected = _leaves(abstract)
    problems = [f"missing {name}" for name in expected if name not in tensors]
    problems += [f"unexpected {name}" for name in tensors if name not in expected]
    problems += [
        f"{name} has shape {list(tensors[name].shape)}, expected {list(expected[name].shape)}"
        for name in expected.keys() & tensors.keys()
        if tuple(tensors[name].shape) != expected[name].shape
    ]
    if problems:
        raise ValueError(f"the weights in {path} do not fit the {CONFIG} beside them: " + "; ".join(sorted(problems)))
    params: dict = {}
    for name, value in tensors.items():
        *parents, leaf = name.split("/")
        node = functools.reduce(lambda node, part: node.setdefault(part, {}), parents, params)
        node[leaf] = _read(value, expected[name])
    return params


def _read(value: Any, leaf: Any) -> Any:
    if (sharding := getattr(leaf, "sharding", None)) is None:
        return np.asarray(value).astype(np.float32)
    return jax.make_array_from_callback(leaf.shape, sharding, lambda index: value[index].astype(leaf.dtype, copy=False))


def name(path: tuple) -> str:
    """The name in a weights file of the leaf at a path of a tree."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _leaves(tree: dict) -> dict[str, Any]:
    return {name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
