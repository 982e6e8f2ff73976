"""Adapters (LoRA) of other programs become changes of ours: for the experts and for Qwen3-VL.

A file names each linear as `wan_dit.py` or `qwen3_vl.py` does (`lora_keys.py`), and holds A [rank, in] and B [out,
rank] for it, with alpha there or elsewhere (`lora_scale.py`). Reading needs no hint of the format. `lora_write.py`
writes.
"""

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from shotverse_jax.config import Qwen3VLTextConfig, WanDiTConfig
from shotverse_jax.files import reading
from shotverse_jax.lora import Changes
from shotverse_jax.nn.linear import Adapter
from shotverse_jax.weights import abstract

from . import qwen3_vl, wan_dit
from .core import Table, Tensors
from .lora_keys import Key, Keys, is_image_branch
from .lora_scale import PEFT_FILE, file_scale
from .problems import Problems
from .sources import TORCH_SUFFIXES, open_checkpoint

Config = WanDiTConfig | Qwen3VLTextConfig

_LACKING = "for a parameter that the network lacks"
_IMAGE = "of the branch for an image, which the network lacks (strict=False leaves them out)"
# The file names of diffusers, PEFT and our own export.
_NAMES = [
    f"{name}{end}"
    for end in (".safetensors", *TORCH_SUFFIXES)
    for name in ("lora", "pytorch_lora_weights", "adapter_model")
]
# With these values of PEFT's LoraConfig an adapter is more than A and B, or its base is not the model itself.
_BEYOND_LORA = (
    *("use_dora", "use_qalora", "use_bdlora", "layer_replication"),
    *("alora_invocation_tokens", "arrow_config", "kasa_config"),
)
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga", "mica")


def read_changes(path: str | Path, config: Config, *, strict: bool = True) -> Changes:
    """Reads an adapter file, or PEFT's folder of one, for an expert or for the language model of a planner.

    Args:
        path: A .safetensors or PyTorch file, or a folder with one.
        config: The config of the network.
        strict: As `from_tensors`.

    Raises:
        ValueError: There is no such file, or it does not fit the network; every key that is not used is listed.
    """
    path = adapter_file(path)
    tensors, metadata = read_tensors(path)
    said = file_scale(path, metadata, tensors)
    return read_part(path, tensors, config, said.values, strict=strict)


def read_part(
    path: Path, tensors: Tensors, config: Config, peft: Mapping[str, Any] | None = None, *, strict: bool
) -> Changes:
    """Returns what `from_tensors` makes of the tensors of a file, or of those for one expert; errors name the file."""
    with reading(path, "an adapter"):
        try:
            return from_tensors(tensors, config, peft, strict=strict)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def adapter_file(path: str | Path) -> Path:
    """The adapter file at a path, which may be the folder that a program wrote it to."""
    path = Path(path)
    if path.is_dir():
        return next((path / name for name in _NAMES if (path / name).is_file()), path)
    return path


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], Mapping[str, Any]]:
    """Reads the tensors of an adapter file, and what stands beside them (`Source.metadata`).

    Single numbers count by their names: that of a linear's alpha is a tensor, one for the whole file stands beside.

    Raises:
        ValueError: As `open_checkpoint`.
    """
    source = open_checkpoint(path)
    tensors, metadata = {name: np.array(tensor) for name, tensor in source.items()}, dict(source.metadata)
    for name in [name for name, tensor in tensors.items() if tensor.size == 1 and "." not in name]:
        metadata[name] = tensors.pop(name).item()
    for name, value in source.metadata.items():
        if name.endswith(".alpha") and isinstance(value, int | float):
            tensors[name] = np.float32(value)
    return tensors, metadata


def from_tensors(
    tensors: Tensors, config: Config, peft: Mapping[str, Any] | None = None, *, strict: bool = True
) -> Changes:
    """Returns the changes that the tensors of an adapter file make.

    The scale of a linear is alpha / rank where the file has an alpha, else the one of `peft`, else 1 (the rule of
    DiffSynth and ComfyUI). The layers of one stack get the largest of their ranks, filled up with zeros. Where their
    scales differ, the stack's scale is 1 and each B contains its own.

    Args:
        tensors: The tensors of the file.
        config: The config of the network.
        peft: The LoraConfig that came with the file.
        strict: Whether keys for parameters that the network lacks are an error. False lists them in `unused`.

    Raises:
        ValueError: Keys of several formats, keys of something that is not a LoRA or not for this network, half of a
            pair, a wrong shape, NaN or infinity. All of them are listed.
    """
    _check_peft(peft or {})
    table, leaves = table_of(config), flatten_dict(abstract_of(config), sep="/")
    slots = {
        entry.name(i): (entry, i)
        for entry in table.entries
        for i in (range(leaves[entry.target].shape[0]) if entry.stacked else [...])
    }
    problems, deltas, pairs, unused = Problems(), {}, {}, ()
    for tensor, (place, keys) in _group(tensors, config, slots, problems).items():
        entry, i = slots[tensor]
        values = {part: np.asarray(tensors[key], np.float32) for part, key in keys.items()}
        for part, value in values.items():
            if not np.isfinite(value).all():
                problems.add("NaN or infinity", keys[part])
        if "delta" in keys:
            delta = entry.transform.to_flax(values.pop("delta"))
            _add_delta(deltas, leaves, entry.target, i, delta, keys.pop("delta"), problems)
        if not keys:
            continue
        if "a" not in keys or "b" not in keys or not entry.target.endswith("/kernel"):
            for key in keys.values():
                problems.add("not a pair of A and B of a linear", key)
            continue
        # A has the input side of its linear, of a convolution too, so the entry's transform fits it. B is always a
        # matrix.
        low, high = entry.transform.to_flax(values["a"]), values["b"].reshape(len(values["b"]), -1).T
        shape = leaves[entry.target].shape[-2:]
        if low.shape != (shape[0], len(high)) or high.shape[1] != shape[1]:
            wrong = f"{keys['a']} {values['a'].shape} with B {values['b'].shape}, {entry.target} has {shape}"
            problems.add("wrong shape", wrong)
            continue
        scale = scale_of(place, len(high), values.get("alpha"), peft)
        pairs.setdefault(entry.target, {})[i] = low, high, scale
        if "bias" in keys:
            target = entry.target.removesuffix("kernel") + "bias"
            # The bias belongs to B, so the scale of the pair is also its own.
            _add_delta(deltas, leaves, target, i, scale * values["bias"], keys["bias"], problems)
    if not strict and (pairs or deltas):
        unused = tuple(sorted((*problems.kinds.pop(_IMAGE, ()), *problems.kinds.pop(_LACKING, ()))))
    problems.raise_any("the adapter")
    adapters = {target.replace("/kernel", "/adapter"): _stack(pairs[target], leaves[target]) for target in pairs}
    return Changes(unflatten_dict(adapters, sep="/"), deltas, unused)


def keys_of(config: Config) -> Keys:
    """Returns the reader of keys for the network of a config."""
    if isinstance(config, Qwen3VLTextConfig):
        return Keys([table_of(config)])
    return Keys([table_of(config), table_of(config, "diffusers")])


def _group(tensors: Tensors, config: Config, slots: Mapping, problems: Problems) -> dict[str, tuple[Key, dict]]:
    """{tensor of the network: (a key for it, {part: key})}."""
    keys, prefixes, styles = keys_of(config), {}, {}
    found: dict[str, tuple[Key, dict]] = {}
    for text, tensor in tensors.items():
        key = keys.read(text)
        if key is None:
            problems.add("not a key of a LoRA", text)
            continue
        if key.paired:
            # One program writes A and B or down and up; both in one file mean that files were mixed.
            styles.setdefault(key.paired, text)
        least = 2 if key.part in ("a", "b") else 1
        if tensor.size != 1 if key.part == "alpha" else tensor.ndim < least or not tensor.size:
            problems.add("wrong shape", f"{text} {tensor.shape}")
        elif key.tensor not in slots:
            problems.add(_IMAGE if is_image_branch(text) else _LACKING, text)
        else:
            prefixes.setdefault(key.prefix, text)
            first, parts = found.setdefault(key.tensor, (key, {}))
            if first.name != key.name:
                problems.add("the same tensor under two names", f"{first.name} and {text}")
            elif key.part in parts:
                problems.add("the same twice", f"{parts[key.part]} and {text}")
            parts[key.part] = text
    if len(prefixes) > 1 or len(styles) > 1:
        for text in {*prefixes.values(), *styles.values()}:
            problems.add("keys of several formats", text)
    if not tensors:
        problems.add("not a key of a LoRA", "the file is empty")
    return found


def _add_delta(deltas: dict, leaves: Mapping, target: str, i: Any, delta: np.ndarray, key: str, problems: Problems):
    whole = deltas.get(target, np.zeros(leaves[target].shape, np.float32)) if target in leaves else None
    if whole is None or whole[i].shape != delta.shape:
        wanted = "which the network lacks" if whole is None else f"which has {whole[i].shape}"
        problems.add("wrong shape", f"{key} {delta.shape} for {target}, {wanted}")
        return
    whole[i] += delta
    deltas[target] = whole


def scale_of(key: Key, rank: int, alpha: np.ndarray | None, peft: Mapping[str, Any] | None) -> float:
    """Returns alpha / rank of a linear: by its tensor alpha, else by the values of a LoraConfig, else 1."""
    if alpha is not None:
        return alpha.item() / rank
    if not peft:
        return 1.0
    patterns = (peft.get("alpha_pattern") or {}).items()
    names = key.name, key.prefix + key.name
    own = (value for pattern, value in patterns if any(re.match(rf"(.*\.)?({pattern})$", name) for name in names))
    value = next(own, peft["lora_alpha"])
    # Rank-stabilised LoRA divides alpha by the square root of the rank.
    return value / (rank**0.5 if peft.get("use_rslora") else rank)


def _stack(layers: Mapping[Any, tuple], kernel: jax.ShapeDtypeStruct) -> Adapter:
    """One adapter from {layer: (A, B, scale)}. Layers without one get zeros."""
    scales = {scale for *_, scale in layers.values()}
    rank = max(len(high) for _, high, _ in layers.values())
    *stack, width_in, width_out = kernel.shape
    # Zeros add nothing to A B, so layers of different ranks fit one array, and a layer without an adapter stays as it
    # is.
    a, b = np.zeros((*stack, width_in, rank), np.float32), np.zeros((*stack, rank, width_out), np.float32)
    for i, (low, high, scale) in layers.items():
        a[i][:, : len(high)] = low
        b[i][: len(high)] = high if len(scales) == 1 else high * np.float32(scale)
    return Adapter(a, b, scales.pop() if len(scales) == 1 else 1.0)


def _check_peft(peft: Mapping[str, Any]) -> None:
    beyond = [name for name in _BEYOND_LORA if peft.get(name)]
    if peft.get("peft_type", "LORA") != "LORA":
        beyond.append(f"peft_type {peft['peft_type']}")
    if str(peft.get("init_lora_weights")).startswith(_CHANGES_BASE):
        beyond.append(f"init_lora_weights {peft['init_lora_weights']}")
    if beyond:
        raise ValueError(
            f"the adapter is not a plain LoRA ({', '.join(beyond)}); fold it into its model with PEFT first"
        )
    if peft and "lora_alpha" not in peft:
        raise ValueError(f"the LoRA config has no lora_alpha; give the {PEFT_FILE} that PEFT wrote")


def table_of(config: Config, names: str = "wan") -> Table:
    """Returns the table of the network that an adapter is for; names: "wan" or "diffusers" for an expert."""
    if isinstance(config, Qwen3VLTextConfig):
        return qwen3_vl.TABLE
    return wan_dit.table(config, "diffusers" if names == "diffusers" else "wan")


@functools.lru_cache(maxsize=8)  # tracing a network takes longer than reading an adapter
def abstract_of(config: Config) -> dict[str, Any]:
    """Returns the parameters of the network that an adapter is for, as shapes."""
    return abstract("language_model" if isinstance(config, Qwen3VLTextConfig) else "wan_dit", config)
