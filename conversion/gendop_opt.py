"""Names and sizes of GenDoP's decoder (`mesh_decoder.*` of its files) and transformers' OPT, for `models/opt.py`."""

from typing import Any

import numpy as np

from shotverse_jax.config import OPTConfig

from .core import (
    TRANSPOSE,
    Entry,
    Table,
    Tensors,
    Transform,
    canonical_names,
    linear,
    norm,
)

NUM_HEADS = 8  # in the releases; the tensors do not show it

_ROOT = "mesh_decoder."
_LAYER = f"{_ROOT}model.layers.{{i}}."
_HF_NAMES = ((f"{_ROOT}model.embd.", f"{_ROOT}model.embed_tokens."), (f"{_ROOT}model.", "model.decoder."), (_ROOT, ""))
_HF_POSITIONS, _HF_OFFSET = "model.decoder.embed_positions.weight", 2  # transformers has two rows before position 0


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
    aliases=((r"(w\.)?(?=(model|lm_head)\.)", _ROOT),),  # the state_dict of the decoder alone, or a record of it
    # The condition encoders are other networks; old transformers also stored their position_ids.
    ignore=(r"(text|image|depth)_encoder\.", r"proj_cond(_text|_image|_depth)?\.", r"norm_cond\.", r"anchor_head\."),
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
    """Returns the config of a decoder from the shapes of its tensors, which do not show the number of heads.

    Raises:
        ValueError: The tensors are not a GenDoP decoder's.
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


def config_to_hf(config: OPTConfig) -> dict[str, Any]:
    """Returns arguments of transformers' `OPTConfig` for the same network: post-LN, no final norm, untied head."""
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
