"""Qwen3-VL checkpoints (safetensors as on the Hugging Face hub) <-> `models/qwen3_vl.py`; the text tower only."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from shotverse_jax.config import Execution, Qwen3VLTextConfig
from shotverse_jax.models.qwen3_vl import Qwen3VLText

from .core import TRANSPOSE, Entry, Table, Tensors, abstract_params, to_flax

_ROOT = "model.language_model."


def _linear(name: str) -> Entry:
    return Entry(f"{_ROOT}layers.{{i}}.{name}.weight", f"layers/{name.replace('.', '/')}/kernel", TRANSPOSE)


def _norm(name: str) -> Entry:
    return Entry(f"{_ROOT}layers.{{i}}.{name}.weight", f"layers/{name.replace('.', '/')}/scale")


TABLE = Table(
    entries=(
        Entry(f"{_ROOT}embed_tokens.weight", "embedding"),
        _norm("input_layernorm"),
        *(_linear(f"self_attn.{name}") for name in ("q_proj", "k_proj", "v_proj", "o_proj")),
        *(_norm(f"self_attn.{name}") for name in ("q_norm", "k_norm")),
        _norm("post_attention_layernorm"),
        *(_linear(f"mlp.{name}") for name in ("gate_proj", "up_proj", "down_proj")),
        Entry(f"{_ROOT}norm.weight", "norm/scale"),
    ),
    aliases=(
        # The hub and transformers, transformers before 4.52, ComfyUI, and the bare text model.
        (r"(model\.language_model\.|language_model\.(model\.)?|model\.)?(?=(embed_tokens|layers|norm)\.)", _ROOT),
        (r"(model\.|language_model\.)?lm_head\.", "lm_head."),
    ),
    ignore=(r"(model\.)?visual\.",),
    ties=(("lm_head.weight", f"{_ROOT}embed_tokens.weight"),),
)


def config_from_hf(config: Mapping[str, Any]) -> Qwen3VLTextConfig:
    """The text tower's config from a checkpoint's config.json (or its text_config alone), either spelling of the rope.

    Raises ValueError for a missing key and for what this network does not have: an untied head, attention bias,
    another activation or a scaled rope.
    """
    text = config.get("text_config", config)
    rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
    fields = {
        "vocab_size": text.get("vocab_size"),
        "hidden_size": text.get("hidden_size"),
        "num_layers": text.get("num_hidden_layers"),
        "num_heads": text.get("num_attention_heads"),
        "num_kv_heads": text.get("num_key_value_heads"),
        "head_dim": text.get("head_dim"),
        "mlp_size": text.get("intermediate_size"),
        "rope_theta": rope.get("rope_theta", text.get("rope_theta")),
        "mrope_section": rope.get("mrope_section"),
        "rms_norm_eps": text.get("rms_norm_eps"),
    }
    if missing := [name for name, value in fields.items() if value is None]:
        raise ValueError(f"the Qwen3-VL config lacks {', '.join(missing)}; give the checkpoint's own config.json")
    unsupported = {
        "tie_word_embeddings": not config.get("tie_word_embeddings", True),
        "attention_bias": text.get("attention_bias", False),
        "hidden_act": text.get("hidden_act", "silu") != "silu",
        "rope_type": rope.get("rope_type", "default") != "default",
    }
    if wrong := [name for name, bad in unsupported.items() if bad]:
        raise ValueError(
            f"unsupported Qwen3-VL text config: {', '.join(wrong)}; a tied, bias-free silu model is expected"
        )
    section = tuple(fields["mrope_section"])
    if 2 * sum(section) != fields["head_dim"]:
        raise ValueError(f"mrope_section {section} must sum to half of head_dim {fields['head_dim']}")
    return Qwen3VLTextConfig(**fields | {"mrope_section": section, "rope_theta": float(fields["rope_theta"])})


def abstract(config: Qwen3VLTextConfig, dtype: str = "float32") -> dict[str, Any]:
    """The parameter tree of the text tower, as shapes."""
    x_BTD = jax.ShapeDtypeStruct((1, 1, config.hidden_size), np.float32)
    return abstract_params(Qwen3VLText(config, Execution()), x_BTD, dtype=dtype)


def from_hf(tensors: Tensors, config: Qwen3VLTextConfig, dtype: str = "float32") -> dict[str, Any]:
    """Parameters of `Qwen3VLText` in `dtype` from a checkpoint's tensors (`core.read_safetensors`)."""
    return to_flax(TABLE, tensors, abstract(config, dtype), cast=True)
