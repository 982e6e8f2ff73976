"""Many adapters of a controller in one file, each under the name that shots ask for it by.

A safetensors file whose tensors are called NAME/EXPERT/LINEAR/a and …/b, [in, rank] and [rank, out] with leading axes
where layers are stacked, in bfloat16; the scale is in b. Only what is asked for is read.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from shotverse_jax.files import replacing
from shotverse_jax.lora import Changes, Lora, name_key
from shotverse_jax.nn.linear import Adapter
from shotverse_jax.weights.safetensors import open_safetensors, read_metadata, write_safetensors

FORMAT = "shotverse_jax styles"
SUFFIX = ".safetensors"


def write_styles(path: str | Path, loras: Iterable[Lora]) -> None:
    """Writes adapters to one file, whole or not at all.

    Args:
        path: the file, .safetensors.
        loras: each with the name that it is asked for by; its weight is put into its matrices.

    Raises:
        ValueError: a name twice or with a "/", an adapter that changes whole parameters or is not finite, or the file
            cannot be written.
    """
    path, tensors, seen = Path(path), {}, set()
    if path.suffix != SUFFIX:
        raise ValueError(f"adapters are written to a file {SUFFIX}, got {path}")
    for lora in loras:
        if "/" in lora.name or name_key(lora.name) in seen:
            raise ValueError(f"every adapter of a file has a name of its own, without '/'; got {lora.name!r}")
        seen.add(name_key(lora.name))
        for expert, changes in lora.experts.items():
            if changes.deltas:
                raise ValueError(f"{lora.name} changes whole parameters, which a file of adapters has no place for")
            for place, pair in flatten_dict(changes.adapter).items():
                stem = "/".join((lora.name, expert, *place[:-1]))
                scaled = np.asarray(pair.b, np.float32) * np.float32(lora.weight * pair.scale)
                for name, array in (("a", np.asarray(pair.a, np.float32)), ("b", scaled)):
                    if not np.isfinite(array).all():
                        raise ValueError(f"{stem} holds NaN or infinity; it is not written")
                    tensors[f"{stem}/{name}"] = np.ascontiguousarray(array.astype(jnp.bfloat16))
    with replacing(path) as place:
        write_safetensors(place, tensors, tensors.items(), {"format": FORMAT})


def is_styles(path: Path) -> bool:
    """Whether a file holds adapters by name. Raises ValueError for a damaged safetensors file."""
    return path.suffix == SUFFIX and path.is_file() and read_metadata(path).get("format") == FORMAT


def style_names(path: Path) -> tuple[str, ...]:
    """The names of the adapters of a file, in its order. Raises ValueError for a damaged one."""
    return tuple(dict.fromkeys(name.partition("/")[0] for name in open_safetensors(path)))


def read_styles(path: Path, asked: Collection[str]) -> list[Lora]:
    """Returns the adapters of a file that are asked for.

    Args:
        path: the file.
        asked: names, compared by `lora.name_key`; one that the file lacks is not there in the result.

    Raises:
        ValueError: the file is damaged.
    """
    keys, found = set(map(name_key, asked)), {}
    for (name, expert), linears in _linears(path).items():
        if name_key(name) in keys:
            pairs = {
                place: {part: np.asarray(x).astype(np.float32) for part, x in pair.items()}
                for place, pair in linears.items()
            }
            found.setdefault(name, {})[expert] = pairs
    return [
        Lora(name, 1.0, {expert: _changes(path, linears) for expert, linears in experts.items()}, always=False)
        for name, experts in found.items()
    ]


def describe_styles(path: Path) -> Iterator[str]:
    """Yields a line about a file and one for each of its adapters: name, expert, rank, linears. Raises ValueError for a
    damaged file."""
    linears = _linears(path)
    yield f"{path}: {len({name for name, _ in linears})} adapters (LoRA), each for the shots that ask for its name"
    for (name, expert), pairs in linears.items():
        ranks = sorted({pair["b"].shape[-2] for pair in pairs.values() if "b" in pair})
        said = " to ".join(map(str, dict.fromkeys((ranks[0], ranks[-1])))) if ranks else "none"
        number = sum(math.prod(x.shape) for pair in pairs.values() for x in pair.values())
        nothing = not any(np.asarray(pair["b"]).any() for pair in pairs.values() if "b" in pair)
        targets = ", ".join(sorted({place[-1] for place in pairs}))
        rest = "; it changes nothing, its matrices are zero" if nothing else ""
        yield f"  {name:<16} expert {expert}, rank {said}, {number:,} parameters: {targets}{rest}"


def _linears(path: Path) -> dict[tuple[str, str], dict[tuple[str, ...], dict[str, Any]]]:
    """{(name, expert): {path of a linear: {"a" or "b": matrix}}} of a file; matrices are read when they are used."""
    found: dict[tuple[str, str], dict[tuple[str, ...], dict[str, Any]]] = {}
    for key, stored in open_safetensors(path).items():
        name, *parts, matrix = key.split("/")
        if len(parts) < 2 or parts[0] not in ("high", "low") or matrix not in ("a", "b"):
            raise ValueError(f"{path} is damaged: it has a tensor {key}, and they are called NAME/EXPERT/LINEAR/a or b")
        found.setdefault((name, parts[0]), {}).setdefault(tuple(parts[1:]), {})[matrix] = stored
    return found


def _changes(path: Path, linears: Mapping[tuple, Mapping[str, np.ndarray]]) -> Changes:
    pairs = {}
    for place, pair in linears.items():
        fits = len(pair) == 2 and min(x.ndim for x in pair.values()) >= 2
        if not fits or pair["a"].shape[:-2] != pair["b"].shape[:-2] or pair["a"].shape[-1] != pair["b"].shape[-2]:
            raise ValueError(f"{path} is damaged: the matrices a and b of {'/'.join(place)} are no pair")
        pairs[(*place, "adapter")] = Adapter(pair["a"], pair["b"], 1.0)
    return Changes(unflatten_dict(pairs), {})
