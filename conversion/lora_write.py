"""Adapters (LoRA) of ours for other programs: for the experts and for Qwen3-VL, in one of `FORMATS`.

The formats are those of Wan's ecosystem; for a planner only "peft". Each expert has a file of its own. `lora.py` reads
the same files, whatever wrote them.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from shotverse_jax.config import ControllerConfig, Qwen3VLTextConfig, WanDiTConfig
from shotverse_jax.files import replacing
from shotverse_jax.nn.linear import Adapter
from shotverse_jax.weights import adapted_experts, find_adapter, load_adapter
from shotverse_jax.weights.safetensors import write_safetensors

from . import wan_dit
from .core import Entry, Table, Tensors, read_safetensors, to_flax, to_torch
from .lora import Config, abstract_of, table_of
from .lora_scale import PEFT_FILE


@dataclass(frozen=True)
class Format:
    """A file format. A tensor is named `{prefix}{linear}.{down or up}.weight`.

    Attributes:
        prefix: Begins every name.
        names: The names of linears: "wan"; "flat", Wan's with "_" for "."; or "diffusers", which for a language model
            means those of transformers.
        down: The name of A.
        up: The name of B.
        scale: Where alpha / rank is: in a tensor `alpha` beside A and B, in adapter_config.json ("config"), or in B
            ("folded").
        file: The file name that the format's own loader looks for.
    """

    prefix: str
    names: Literal["wan", "flat", "diffusers"]
    down: str = "lora_A"
    up: str = "lora_B"
    scale: Literal["alpha", "config", "folded"] = "folded"
    file: str = "lora.safetensors"


FORMATS = {
    "diffsynth": Format("", "wan", "lora_A.default", "lora_B.default"),
    "comfyui": Format("diffusion_model.", "wan"),
    "kohya": Format("diffusion_model.", "wan", "lora_down", "lora_up", "alpha"),
    "musubi": Format("lora_unet_", "flat", "lora_down", "lora_up", "alpha"),
    "diffusers": Format("transformer.", "diffusers", file="pytorch_lora_weights.safetensors"),
    "peft": Format("base_model.model.", "diffusers", scale="config", file="adapter_model.safetensors"),
}
CAMERA_FILE, QUERY_FILE = "camera.safetensors", "query_embed.safetensors"


def to_tensors(adapter: Mapping[str, Any], config: Config, fmt: str) -> dict[str, np.ndarray]:
    """Returns the tensors of an adapter file, float32. The scale goes where the format keeps it (`peft_config`)."""
    form, tensors = _format(fmt, config), {}
    for entry, leaf in _entries(adapter, config, form):
        a, b = np.asarray(leaf.a, np.float32), np.asarray(leaf.b, np.float32)
        # These formats have no place for a scale, and their loaders multiply by 1.
        if form.scale == "folded":
            b = b * np.float32(leaf.scale)
        for i, (low, high) in enumerate(zip(a, b, strict=True) if entry.stacked else [(a, b)]):
            name = entry.name(i).removesuffix(".weight")
            stem = form.prefix + (name.replace(".", "_") if form.names == "flat" else name)
            down = entry.transform.to_torch(low)
            up = high.T.reshape(*high.T.shape, *(1,) * (down.ndim - 2))  # of a convolution, B is one too
            tensors[f"{stem}.{form.down}.weight"] = np.ascontiguousarray(down)
            tensors[f"{stem}.{form.up}.weight"] = np.ascontiguousarray(up)
            if form.scale == "alpha":
                tensors[f"{stem}.alpha"] = np.array(leaf.scale * a.shape[-1], np.float32)
    return tensors


def peft_config(adapter: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """Returns the values of PEFT's adapter_config.json for an adapter in the format "peft"."""
    sizes = {}
    for entry, leaf in _entries(adapter, config, FORMATS["peft"]):
        module = entry.source.removesuffix(".weight").split("{i}.")[-1]
        sizes[module] = leaf.a.shape[-1], leaf.scale * leaf.a.shape[-1], leaf.dropout
    # PEFT has one rank and one alpha, and lists of the linears that differ; the most frequent sizes keep them short.
    rank, alpha, dropout = Counter(sizes.values()).most_common(1)[0][0]
    return {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": dropout,
        "target_modules": sorted(sizes),
        "rank_pattern": {name: r for name, (r, *_) in sorted(sizes.items()) if r != rank},
        "alpha_pattern": {name: a for name, (_, a, _) in sorted(sizes.items()) if a != alpha},
        "bias": "none",
        "inference_mode": True,
    }


def write_adapter(
    adapter: Mapping[str, Any], config: Config, fmt: str, folder: str | Path, dtype: str = "bfloat16"
) -> list[Path]:
    """Writes an adapter in a format, with its config where the format has one, and returns the files.

    Raises:
        ValueError: An unknown format, or an adapter of another network.
    """
    form = _format(fmt, config)
    tensors = to_tensors(adapter, config, fmt)
    # alpha is a single number and stays float32: bfloat16 would round it for nothing.
    rounded = {name: tensor.astype(jnp.dtype(dtype)) if tensor.ndim else tensor for name, tensor in tensors.items()}
    paths = [_save(rounded, Path(folder) / form.file)]
    if form.scale == "config":
        path = Path(folder) / PEFT_FILE
        with replacing(path) as place:
            place.write_text(json.dumps(peft_config(adapter, config), indent=2) + "\n", encoding="utf-8")
        paths.append(path)
    return paths


def _entries(adapter: Mapping[str, Any], config: Config, form: Format) -> list[tuple[Entry, Adapter]]:
    entries = {entry.target: entry for entry in table_of(config, form.names).entries}
    leaves = {"/".join((*path[:-1], "kernel")): leaf for path, leaf in flatten_dict(adapter).items()}
    if unknown := sorted(leaves.keys() - entries.keys()):
        raise ValueError(f"the adapter is of another network: {', '.join(unknown)} is not in this one")
    return [(entries[target], leaf) for target, leaf in sorted(leaves.items())]


def _format(name: str, config: Config) -> Format:
    known = ["peft"] if isinstance(config, Qwen3VLTextConfig) else list(FORMATS)
    if name not in known:
        whose = "a planner" if len(known) == 1 else "a controller"
        raise ValueError(f'cannot write the adapter of {whose} as "{name}"; its formats are {", ".join(known)}')
    return FORMATS[name]


def _save(tensors: Tensors, path: Path) -> Path:
    write_safetensors(path, tensors, tensors.items(), {"format": "pt"})
    return path


# ---------------------------------------------------------------------------------------------------- whole models


def write_camera(camera: Mapping[str, Any], config: WanDiTConfig, path: str | Path, dtype: str = "bfloat16") -> Path:
    """Writes camera encoders {"kernel", "bias"} under names like Wan's; no other program has a format for them."""
    tensors = to_torch(_camera_table(config), {"blocks": {"camera": camera}})
    return _save({name: tensor.astype(jnp.dtype(dtype)) for name, tensor in tensors.items()}, Path(path))


def read_camera(path: str | Path, config: WanDiTConfig) -> dict[str, np.ndarray]:
    """Reads camera encoders as `params["blocks"]["camera"]`, float32; ValueError for a file that does not fit."""
    camera = abstract_of(replace(config, camera=True))["blocks"]["camera"]
    tensors = to_flax(_camera_table(config), read_safetensors(path), {"blocks": {"camera": camera}}, cast=True)
    return tensors["blocks"]["camera"]


def _camera_table(config: WanDiTConfig) -> Table:
    entries = wan_dit.table(replace(config, camera=True)).entries
    return Table(tuple(entry for entry in entries if entry.target.startswith("blocks/camera/")))


def export(source: str | Path, fmt: str, out: str | Path) -> list[Path]:
    """Writes the adapters of a training run in another program's format, and returns the files.

    Each expert of a controller gets a folder, with its camera encoders beside the adapter. The adapter of a planner has
    the query embeddings beside it. Weights are bfloat16, as in all of our folders.

    Args:
        source: The folder of the run, or its `export/adapter`.
        fmt: A name in `FORMATS`.
        out: The folder to write.

    Raises:
        ValueError: There is no adapter, the format is unknown, or the folder cannot be written.
    """
    folder, out = find_adapter(source), Path(out)
    with replacing(out) as place:
        paths = _export(folder, fmt, place)
        return [out / path.relative_to(place) for path in paths]


def _export(folder: Path, fmt: str, out: Path) -> list[Path]:
    paths = []
    for expert in adapted_experts(folder):
        config, adapter, params = load_adapter(folder, expert)
        if isinstance(config, ControllerConfig):
            dit = config.expert(expert)
            paths += write_adapter(adapter, dit, fmt, out / expert)
            if params:
                paths.append(write_camera(params["blocks"]["camera"], dit, out / expert / CAMERA_FILE))
        else:
            paths += write_adapter(adapter, config.text, fmt, out)
            if "queries" in params:
                queries = {"query_embed": params["queries"].astype(jnp.bfloat16)}
                paths.append(_save(queries, out / QUERY_FILE))
    return paths
