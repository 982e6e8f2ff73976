"""Adapters (LoRA) of other programs become ours, and the reverse: for the experts and for Qwen3-VL.

A file names each linear as `wan_dit.py` or `qwen3_vl.py` does, under a prefix, and holds A [rank, in] and B [out, rank]
for it. Reading needs no hint of the format. Writing takes one of `FORMATS`, which are those of Wan's ecosystem; for a
planner only "peft". Each expert has a file of its own.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from shotverse_jax.config import ControllerConfig, Qwen3VLTextConfig, WanDiTConfig
from shotverse_jax.files import replacing, write_safetensors
from shotverse_jax.lora import Changes
from shotverse_jax.nn.linear import Adapter
from shotverse_jax.weights import abstract, adapted_experts, find_adapter, load_adapter
from shotverse_jax.weights.safetensors import read_metadata

from . import qwen3_vl, wan_dit
from .core import Entry, Table, Tensors, canonical_names, read_safetensors, to_flax, to_torch
from .problems import Problems

Config = WanDiTConfig | Qwen3VLTextConfig


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
CAMERA_FILE, QUERY_FILE, PEFT_FILE = "camera.safetensors", "query_embed.safetensors", "adapter_config.json"

_KEY = re.compile(
    r"(?P<prefix>base_model\.model\.|transformer\.|diffusion_model\.|pipe\.dit\.|lora_unet_)?(?P<name>.+?)\."
    r"(?:lora_(?P<low>A|B|down|up)(?:\.(?!weight$|bias$)[^.]+)?\.(?P<kind>weight|bias)|(?P<whole>alpha|diff|diff_b|diff_m))"
)
_LACKING = "for a parameter that the network lacks"
_PARTS = {"A": "a", "down": "a", "B": "b", "up": "b", "alpha": "alpha"}  # the rest are deltas
_TENSORS = {"diff": ".weight", "diff_b": ".bias", "diff_m": ".modulation"}  # the last is lightx2v's, of a block
# With these values of PEFT's LoraConfig an adapter is more than A and B, or its base is not the model itself.
_BEYOND_LORA = (
    *("use_dora", "use_qalora", "use_bdlora", "layer_replication"),
    *("alora_invocation_tokens", "arrow_config", "kasa_config"),
)
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga", "mica")


# ---------------------------------------------------------------------------------------------------- reading


def read_changes(path: str | Path, config: Config) -> Changes:
    """Reads an adapter file, or PEFT's folder of one, for an expert or for the language model of a planner.

    Raises:
        ValueError: There is no such file, or it does not fit the network; every key that is not used is listed.
    """
    path = adapter_file(path)
    tensors = read_safetensors(path)
    try:
        return from_tensors(tensors, config, peft_values(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def adapter_file(path: str | Path) -> Path:
    """The adapter file at a path, which may be the folder that a program wrote it to."""
    path = Path(path)
    if path.is_dir():
        return next((path / f.file for f in FORMATS.values() if (path / f.file).is_file()), path)
    return path


def peft_values(path: Path, module: str = "transformer") -> dict[str, Any] | None:
    """PEFT's LoraConfig from adapter_config.json beside the file, or from its header, where diffusers writes it.

    module: the network that the values of a header are for, in diffusers' words.
    """
    folder = path if path.is_dir() else path.parent
    try:
        if (folder / PEFT_FILE).is_file():
            return json.loads((folder / PEFT_FILE).read_text(encoding="utf-8"))
        if path.suffix != ".safetensors" or not path.is_file():
            return None
        header = read_metadata(path).get("lora_adapter_metadata", "null")
        config = json.loads(header)
    except json.JSONDecodeError as error:
        raise ValueError(f"the LoRA config of {path} is not JSON: {error}") from error
    return config and {name.removeprefix(f"{module}."): value for name, value in config.items()}


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
            pair, or a wrong shape. All of them are listed.
    """
    _check_peft(peft or {})
    table, leaves = _table(config), flatten_dict(_abstract(config), sep="/")
    slots = {
        entry.name(i): (entry, i)
        for entry in table.entries
        for i in (range(leaves[entry.target].shape[0]) if entry.stacked else [...])
    }
    problems, deltas, pairs, unused = Problems(), {}, {}, ()
    for tensor, (name, keys) in _group(tensors, table, slots, problems).items():
        entry, i = slots[tensor]
        values = {part: np.asarray(tensors[key], np.float32) for part, key in keys.items()}
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
        scale = _scale(name, len(high), values.get("alpha"), peft)
        pairs.setdefault(entry.target, {})[i] = low, high, scale
        if "bias" in keys:
            target = entry.target.removesuffix("kernel") + "bias"
            # The bias belongs to B, so the scale of the pair is also its own.
            _add_delta(deltas, leaves, target, i, scale * values["bias"], keys["bias"], problems)
    if not strict and (pairs or deltas):
        unused = tuple(sorted(problems.kinds.pop(_LACKING, ())))
    problems.raise_any("the adapter")
    adapters = {target.replace("/kernel", "/adapter"): _stack(pairs[target], leaves[target]) for target in pairs}
    return Changes(unflatten_dict(adapters, sep="/"), deltas, unused)


def _group(tensors: Tensors, table: Table, slots: Mapping, problems: Problems) -> dict[str, tuple[str, dict]]:
    """{tensor of the network: (name of the linear in the file, {part: key})}.

    The parts are a, b, alpha, bias (that of B) and delta.
    """
    # In flat names "_" stands for "." and is also a letter of the names, so only the list of all linears can undo it.
    flat = {name.removesuffix(".weight").replace(".", "_"): name.removesuffix(".weight") for name in slots}
    keys, prefixes, styles = {}, {}, {}
    for key, tensor in tensors.items():
        match = _KEY.fullmatch(key)
        if match is None or (match["low"] in ("A", "down") and match["kind"] == "bias"):
            problems.add("not a key of a LoRA", key)
            continue
        prefixes.setdefault(match["prefix"], key)
        if match["low"]:
            # One program writes A and B or down and up; both in one file mean that files were mixed.
            styles.setdefault(match["low"] in "AB", key)
        if tensor.size != 1 if match["whole"] == "alpha" else tensor.ndim == 0:
            problems.add("wrong shape", f"{key} {tensor.shape}")
            continue
        name = flat.get(match["name"], match["name"]) if match["prefix"] == "lora_unet_" else match["name"]
        part = "bias" if match["kind"] == "bias" else _PARTS.get(match["low"] or match["whole"], "delta")
        keys[key] = name, name + _TENSORS.get(match["whole"], ".weight"), part
    if len(prefixes) > 1 or len(styles) > 1:
        for key in {*prefixes.values(), *styles.values()}:
            problems.add("keys of several formats", key)
    if not tensors:
        problems.add("not a key of a LoRA", "the file is empty")
    canonical = canonical_names(table, dict.fromkeys(tensor for _, tensor, _ in keys.values()))
    ours = {stored: tensor for tensor, stored in canonical.items() if tensor in slots}
    found: dict[str, tuple[str, dict]] = {}
    for key, (name, tensor, part) in keys.items():
        if tensor not in ours:
            problems.add(_LACKING, key)
            continue
        _, parts = found.setdefault(ours[tensor], (name, {}))
        if part in parts:
            problems.add("the same twice", f"{parts[part]} and {key}")
        parts[part] = key
    return found


def _add_delta(deltas: dict, leaves: Mapping, target: str, i: Any, delta: np.ndarray, key: str, problems: Problems):
    whole = deltas.get(target, np.zeros(leaves[target].shape, np.float32)) if target in leaves else None
    if whole is None or whole[i].shape != delta.shape:
        wanted = "which the network lacks" if whole is None else f"which has {whole[i].shape}"
        problems.add("wrong shape", f"{key} {delta.shape} for {target}, {wanted}")
        return
    whole[i] += delta
    deltas[target] = whole


def _scale(name: str, rank: int, alpha: np.ndarray | None, peft: Mapping[str, Any] | None) -> float:
    if alpha is not None:
        return alpha.item() / rank
    if not peft:
        return 1.0
    patterns = (peft.get("alpha_pattern") or {}).items()
    value = next((value for key, value in patterns if re.match(rf"(.*\.)?({key})$", name)), peft["lora_alpha"])
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


def _table(config: Config, names: str = "wan") -> Table:
    if isinstance(config, Qwen3VLTextConfig):
        return qwen3_vl.TABLE
    return wan_dit.table(config, "diffusers" if names == "diffusers" else "wan")


def _abstract(config: Config) -> dict[str, Any]:
    return abstract("language_model" if isinstance(config, Qwen3VLTextConfig) else "wan_dit", config)


# ---------------------------------------------------------------------------------------------------- writing


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
    entries = {entry.target: entry for entry in _table(config, form.names).entries}
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
    camera = _abstract(replace(config, camera=True))["blocks"]["camera"]
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
        ValueError: There is no adapter, or the format is unknown.
    """
    folder, out = find_adapter(source), Path(out)
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
