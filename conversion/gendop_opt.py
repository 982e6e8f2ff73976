"""GenDoP checkpoints (`mesh_decoder.*` of its .safetensors files) <-> `models/opt.py`, and transformers' OPT."""

from typing import Any

import jax
import numpy as np

from shotverse_jax.config import Execution, OPTConfig
from shotverse_jax.models.opt import OPTDecoder

from .core import (
    TRANSPOSE,
    Entry,
    Table,
    Tensors,
    Transform,
    abstract_params,
    canonical_names,
    linear,
    norm,
    to_flax,
    to_torch,
)

NUM_HEADS = 8  # of the releases; the number is not among the tensors

_ROOT = "mesh_decoder."
_LAYER = f"{_ROOT}model.layers.{{i}}."
_HF_NAMES = ((f"{_ROOT}model.embd.", f"{_ROOT}model.embed_tokens."), (f"{_ROOT}model.", "model.decoder."), (_ROOT, ""))
_HF_POSITIONS, _HF_OFFSET = "model.decoder.embed_positions.weight", 2  # rows that transformers has before position 0


TABLE = Table(
    entries=(
        Entry(f"{_ROOT}model.embd.weight", "embed"),
        Entry(f"{_ROOT}model.embed_positions.weight", "positions"),
        *(
            e
            for name in ("q_proj", "k_proj", "v_proj", "out_proj")
            for e in linear(f"{_LAYER}self_attn.{name}", f"layers/{name}")
        ),
        *norm(f"{_LAYER}self_attn_layer_norm", "layers/attn_norm"),
        *linear(f"{_LAYER}fc1", "layers/fc1"),
        *linear(f"{_LAYER}fc2", "layers/fc2"),
        *norm(f"{_LAYER}final_layer_norm", "layers/final_norm"),
        Entry(f"{_ROOT}lm_head.weight", "lm_head/kernel", TRANSPOSE),
    ),
    aliases=((r"(w\.)?(?=(model|lm_head)\.)", _ROOT),),  # the decoder alone, as its own state_dict or a record of it
    # The condition encoders are other networks; old transformers also stored their position_ids.
    ignore=(r"(text|image|depth)_encoder\.", r"proj_cond(_text|_image|_depth)?\.", r"norm_cond\."),
)


def _hf_entry(entry: Entry) -> Entry:
    name, transform = entry.source, entry.transform
    for old, new in _HF_NAMES:
        name = new + name.removeprefix(old) if name.startswith(old) else name
    if name == _HF_POSITIONS:
        transform = Transform(lambda w: w[_HF_OFFSET:], lambda w: np.pad(w, ((_HF_OFFSET, 0), (0, 0))))
    return Entry(name, entry.target, transform)


HF_TABLE = Table(tuple(_hf_entry(entry) for entry in TABLE.entries))  # transformers' names, read and written


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


def to_hf(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """The tensors of transformers' `OPTForCausalLM` from parameters of `OPTDecoder` (or their gradients)."""
    return to_torch(HF_TABLE, params)


def config_to_hf(config: OPTConfig) -> dict[str, Any]:
    """Arguments of transformers' `OPTConfig` for the same network: post-LN, no final norm, untied head."""
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "word_embed_proj_dim": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "ffn_dim": config.mlp_size,
        "max_position_embeddings": config.max_positions,
        "dropout": config.dropout,
        "do_layer_norm_before": False,
        "activation_function": "relu",
        "tie_word_embeddings": False,
        "pad_token_id": 0,
    }
