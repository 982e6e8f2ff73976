"""A model's folder on disk: config.json, weights in safetensors files, tokenizer.json where the model reads text."""

import dataclasses
import functools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from shotverse_jax.config import from_dict

SHIPPED = Path(__file__).parent
CONFIG, TOKENIZER, WEIGHTS = "config.json", "tokenizer.json", "model.safetensors"


def find(what: str, folder_or_name: str | Path, files: Iterable[str]) -> Path:
    """A folder that has all `files`, by its path or as the shipped one of that name.

    what: the kind of model, for the messages; its first word begins the names of the shipped ones ("planner_small").

    Raises:
        ValueError: no such folder (with the names of what ships), or a file is missing.
    """
    folder = next((f for f in (Path(folder_or_name), SHIPPED / folder_or_name) if f.is_dir()), None)
    if folder is None:
        pattern = f"{what.split()[0].lower()}_*/{CONFIG}"
        shipped = ", ".join(sorted(path.parent.name for path in SHIPPED.glob(pattern))) or "none"
        raise ValueError(f"no {what} called {folder_or_name}: give a folder or the name of a shipped one ({shipped})")
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} is not a {what}: it has no {' and no '.join(missing)}")
    return folder


def write(
    what: str,
    folder: str | Path,
    config: Any,
    params: dict,
    weights: str = WEIGHTS,
    tokenizer_file: str | Path | None = None,
) -> None:
    """Writes every field of a config, the parameters in bfloat16 (tree paths joined by "/") and the tokenizer.

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
    save_file(tensors, folder / weights, metadata={"format": f"shotverse_jax {what}"})
    if tokenizer is not None:
        (folder / TOKENIZER).write_text(tokenizer, encoding="utf-8")
    values = json.dumps(dataclasses.asdict(config), indent=2)
    (folder / CONFIG).write_text(values + "\n", encoding="utf-8")


def read_config(folder: Path, cls: type) -> Any:
    """The config of a folder as the dataclass `cls`; ValueError when it is not JSON or has other fields."""
    try:
        values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{folder / CONFIG} is not JSON: {error}") from error
    return from_dict(cls, values)


def read_params(path: Path, abstract: dict) -> dict:
    """The float32 NumPy parameters of a safetensors file.

    Raises:
        ValueError: not such a file, or parameters that are not those of the tree `abstract` (all of them listed).
    """
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from error
    expected = _leaves(abstract)
    problems = [f"missing {name}" for name in expected if name not in tensors]
    problems += [f"unexpected {name}" for name in tensors if name not in expected]
    problems += [
        f"{name} has shape {list(tensors[name].shape)}, expected {list(expected[name].shape)}"
        for name in expected.keys() & tensors.keys()
        if tensors[name].shape != expected[name].shape
    ]
    if problems:
        raise ValueError(f"the weights in {path} do not fit the {CONFIG} beside them: " + "; ".join(sorted(problems)))
    params: dict = {}
    for name, value in tensors.items():
        *parents, leaf = name.split("/")
        functools.reduce(lambda node, part: node.setdefault(part, {}), parents, params)[leaf] = value.astype(np.float32)
    return params


def _leaves(tree: dict) -> dict[str, Any]:
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in paths}
