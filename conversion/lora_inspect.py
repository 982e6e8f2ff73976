"""What an adapter file is, in words: its network, ranks, scales and experts, and whether it changes anything."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from shotverse_jax.config import Qwen3VLTextConfig, WanDiTConfig
from shotverse_jax.files import reading

from .adapters import by_expert, said_by
from .lora import keys_of, read_tensors, scale_of
from .lora_keys import Key, Keys, is_image_branch
from .lora_scale import FileScale, file_scale

_NETWORKS = (("Wan's video transformer", WanDiTConfig()), ("Qwen3-VL's text decoder", Qwen3VLTextConfig()))


def is_adapter(names: Iterable[str]) -> bool:
    """Returns True for the names of an adapter's tensors: most of them are A, B or alpha of something."""
    names, keys = list(names), keys_of(WanDiTConfig())
    return 2 * sum(keys.read(name) is not None for name in names) > len(names)


def describe(path: Path) -> Iterator[str]:
    """Yields lines about an adapter file. Raises ValueError as `lora.read_tensors` and `lora_scale.file_scale`."""
    tensors, metadata = read_tensors(path)
    if bad := [name for name, tensor in tensors.items() if not np.isfinite(np.asarray(tensor, np.float32)).all()]:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise ValueError(f"{path}: {bad[0]}{more} holds NaN or infinity; the adapter is damaged")
    with reading(path, "an adapter"):
        lines = [*_described(path, tensors, metadata)]
    yield from lines


def _described(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> Iterator[str]:
    title, keys = _network(tensors)
    parts = by_expert(tensors)
    for expert, part in parts.items():
        module = "transformer_2" if expert == "low" else "transformer"
        whom = f"the expert {expert} of {title}" if expert else _whom(metadata, title)
        yield f"{path}: an adapter (LoRA) for {whom}"
        yield from _contents(part, keys, file_scale(path, metadata, part, module))


def _network(tensors: Mapping[str, Any]) -> tuple[str, Keys]:
    """The network that has most of the tensors, and the reader of its keys."""
    found = []
    for title, config in _NETWORKS:
        keys = keys_of(config)
        known = sum((key := keys.read(name)) is not None and key.tensor is not None for name in tensors)
        found.append((known, title, keys))
    known, title, keys = max(found, key=lambda one: one[0])
    return (title if known else "a network that is not known here"), keys


def _whom(metadata: Mapping[str, Any], title: str) -> str:
    said = said_by(metadata)
    return f"the expert {said.pop()} of {title}, as its metadata say" if said else title


def _contents(tensors: Mapping[str, np.ndarray], keys: Keys, said: FileScale) -> Iterator[str]:
    read = {name: key for name in tensors if (key := keys.read(name)) is not None}
    linears: dict[tuple, dict[str, str]] = {}
    for name, key in read.items():
        linears.setdefault((key.prefix, key.name), {})[key.part] = name
    pairs = [parts for parts in linears.values() if "a" in parts and "b" in parts]
    ranks = sorted({tensors[parts["b"]].shape[1] for parts in pairs})
    scales = sorted({_scale(tensors, read[parts["b"]], parts, said) for parts in pairs})
    in_tensors = any("alpha" in parts for parts in pairs)
    where = "a tensor of each linear" if in_tensors else said.where
    yield f"  {len(pairs)} linears, rank {_range(ranks)}, scale alpha / rank {_range(scales)} (alpha: {where})"
    prefixes, styles = ({getattr(key, field) for key in read.values()} - {""} for field in ("prefix", "paired"))
    yield f"  keys: {' and '.join(sorted(styles))} below {', '.join(sorted(prefixes)) or 'no prefix'}"
    if wholes := sum(key.part == "delta" for key in read.values()):
        yield f"  {wholes} whole changes of weights, biases and norms"
    if image := [name for name in tensors if is_image_branch(name)]:
        yield f"  {len(image)} keys of a branch for an image, which text-to-video models lack: {image[0]}, …"
    if said.note and not in_tensors:
        yield f"  {said.note}"
    deltas = [tensors[name] for name, key in read.items() if key.part == "delta"]
    if not any(map(np.any, deltas)) and not any(_changes(tensors, read, parts, said) for parts in pairs):
        yield "  it changes nothing: A, B or alpha of every linear is zero"


def _scale(tensors: Mapping[str, np.ndarray], key: Key, parts: Mapping[str, str], said: FileScale) -> float:
    alpha = tensors[parts["alpha"]] if "alpha" in parts else None
    return scale_of(key, tensors[parts["b"]].shape[1], alpha, said.values)


def _changes(tensors: Mapping[str, Any], read: Mapping[str, Key], parts: Mapping[str, str], said: FileScale) -> bool:
    a, b = (np.asarray(tensors[parts[part]], np.float32) for part in "ab")
    ranks = np.any(a.reshape(len(a), -1), 1) & np.any(b.reshape(*b.shape[:2], -1), (0, 2))
    return bool(_scale(tensors, read[parts["b"]], parts, said)) and bool(ranks.any())


def _range(values: list) -> str:
    if not values:
        return "none"
    return f"{values[0]:g}" if len(values) == 1 else f"{values[0]:g} to {values[-1]:g}"
