"""GenDoP checkpoints (the `mesh_decoder.*` tensors of its .safetensors files) <-> `models/opt.py`."""

from typing import Any

import jax
import numpy as np

from shotverse_jax.config import Execution, OPTConfig
from shotverse_jax.models.opt import OPTDecoder

from .core import TRANSPOSE, Entry, Table, Tensors, abstract_params, canonical_names, to_flax

_ROOT = "mesh_decoder."
_LAYER = f"{_ROOT}model.layers.{{i}}."


def _linear(source: str, target: str) -> tuple[Entry, Entry]:
    weight, bias = f"{_LAYER}{source}.weight", f"{_LAYER}{source}.bias"
    return Entry(weight, f"layers/{target}/kernel", TRANSPOSE), Entry(bias, f"layers/{target}/bias")


def _norm(source: str, target: str) -> tuple[Entry, Entry]:
    weight, bias = f"{_LAYER}{source}.weight", f"{_LAYER}{source}.bias"
    return Entry(weight, f"layers/{target}/scale"), Entry(bias, f"layers/{target}/bias")


TABLE = Table(
    entries=(
        Entry(f"{_ROOT}model.embd.weight", "embed"),
        Entry(f"{_ROOT}model.embed_positions.weight", "positions"),
        *(e for name in ("q_proj", "k_proj", "v_proj", "out_proj") for e in _linear(f"self_attn.{name}", name)),
        *_norm("self_attn_layer_norm", "attn_norm"),
        *_linear("fc1", "fc1"),
        *_linear("fc2", "fc2"),
        *_norm("final_layer_norm", "final_norm"),
        Entry(f"{_ROOT}lm_head.weight", "lm_head/kernel", TRANSPOSE),
    ),
    aliases=((r"(w\.)?(?=(model|lm_head)\.)", _ROOT),),  # the decoder alone, as its own state_dict or a record of it
    # The condition encoders are other networks; old transformers also stored their position_ids.
    ignore=(r"(text|image|depth)_encoder\.", r"proj_cond(_text|_image|_depth)?\.", r"norm_cond\."),
)


def config_from_tensors(tensors: Tensors, num_heads: int) -> OPTConfig:
    """The decoder's sizes, read from its tensors; the number of heads is not in them (8 in GenDoP's releases).

    Raises ValueError when the tensors are not a GenDoP decoder's.
    """
    names = canonical_names(TABLE, tensors)
    sized = {name: f"{_ROOT}model.{name}.weight" for name in ("embd", "embed_positions", "layers.0.fc1")}
    if missing := [name for name in sized.values() if name not in names]:
        raise ValueError(f"not a GenDoP decoder: {', '.join(missing)} missing; give a GenDoP .safetensors file")
    shapes = {name: tensors[names[full]].shape for name, full in sized.items()}
    layer = len(f"{_ROOT}model.layers.")
    indices = {name[layer:].split(".")[0] for name in names if name.startswith(f"{_ROOT}model.layers.")}
    vocab_size, hidden_size = shapes["embd"]
    return OPTConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        num_layers=len(indices),
        num_heads=num_heads,
        ffn_size=shapes["layers.0.fc1"][0],
        max_positions=shapes["embed_positions"][0],
    )


def abstract(config: OPTConfig, dtype: str = "float32") -> dict[str, Any]:
    """The parameter tree of the decoder, as shapes."""
    prefix_BPD = jax.ShapeDtypeStruct((1, 1, config.hidden_size), np.float32)
    return abstract_params(
        OPTDecoder(config, Execution()), prefix_BPD, jax.ShapeDtypeStruct((1, 1), np.int32), dtype=dtype
    )


def from_torch(tensors: Tensors, config: OPTConfig, dtype: str = "float32") -> dict[str, Any]:
    """Parameters of `OPTDecoder` in `dtype` from a checkpoint's tensors (`core.read_safetensors`)."""
    return to_flax(TABLE, tensors, abstract(config, dtype), cast=True)
