"""Names and sizes of Qwen3-VL checkpoints for `models/qwen3_vl.py`: the text decoder alone, or both towers."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from shotverse_jax.config import Qwen3VLConfig, Qwen3VLTextConfig, Qwen3VLVisionConfig

from .core import COPY, TRANSPOSE, Entry, Table, Transform

_ROOT = "model.language_model."
_VISION = "model.visual."


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
        # Spellings of the hub and transformers, of transformers before 4.52, of ComfyUI, and of the text model alone.
        (r"(model\.language_model\.|language_model\.(model\.)?|model\.)?(?=(embed_tokens|layers|norm)\.)", _ROOT),
        (r"(model\.|language_model\.)?lm_head\.", "lm_head."),
    ),
    # A network of text alone leaves the vision tower of the same checkpoint out.
    ignore=(r"(model\.)?visual\.",),
    # The head is the embedding, and some files hold it twice.
    ties=(("lm_head.weight", f"{_ROOT}embed_tokens.weight"),),
)

# The stored convolution is [out, channels, frames, y, x].
_PATCHES = Transform(lambda w: w.transpose(1, 2, 3, 4, 0), lambda w: w.transpose(4, 0, 1, 2, 3))


def _seen(source: str, target: str, weight: str = "kernel", transform: Transform = TRANSPOSE) -> tuple[Entry, Entry]:
    return (
        Entry(f"{_VISION}{source}.weight", f"vision/{target}/{weight}", transform),
        Entry(f"{_VISION}{source}.bias", f"vision/{target}/bias"),
    )


def _seen_norm(source: str, target: str) -> tuple[Entry, Entry]:
    return _seen(source, target, "scale", COPY)


def _merger(source: str, target: str) -> tuple[Entry, ...]:
    linears = [entry for n in ("linear_fc1", "linear_fc2") for entry in _seen(f"{source}.{n}", f"{target}/{n}")]
    return (*_seen_norm(f"{source}.norm", f"{target}/norm"), *linears)


# Both towers: the parameters of `Qwen3VL`. TABLE makes those below "text".
FULL_TABLE = Table(
    entries=(
        *(dataclasses.replace(entry, target=f"text/{entry.target}") for entry in TABLE.entries),
        *_seen("patch_embed.proj", "patch_embed", transform=_PATCHES),
        Entry(f"{_VISION}pos_embed.weight", "vision/position"),
        *_seen_norm("blocks.{i}.norm1", "blocks/norm1"),
        *_seen("blocks.{i}.attn.qkv", "blocks/qkv"),
        *_seen("blocks.{i}.attn.proj", "blocks/proj"),
        *_seen_norm("blocks.{i}.norm2", "blocks/norm2"),
        *_seen("blocks.{i}.mlp.linear_fc1", "blocks/linear_fc1"),
        *_seen("blocks.{i}.mlp.linear_fc2", "blocks/linear_fc2"),
        *_merger("merger", "merger"),
        *_merger("deepstack_merger_list.{i}", "deepstack_mergers"),
    ),
    aliases=(*TABLE.aliases, (r"(model\.)?visual\.", _VISION)),
    ties=TABLE.ties,
)


def table(config: Qwen3VLTextConfig) -> Table:
    """Returns the table of a text decoder; one that is not tied has a head of its own."""
    return TABLE if config.tied else _untied(TABLE, "head")


def full_table(config: Qwen3VLConfig) -> Table:
    """Returns the table of both towers."""
    return FULL_TABLE if config.text.tied else _untied(FULL_TABLE, "text/head")


def _untied(tied: Table, head: str) -> Table:
    return dataclasses.replace(tied, entries=(*tied.entries, Entry("lm_head.weight", head)), ties=())


# Our fields and the names in a checkpoint's config.json: in its text_config, in its vision_config and at its top.
_TEXT_FIELDS = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "num_kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "mlp_size": "intermediate_size",
    "rms_norm_eps": "rms_norm_eps",
}
_VISION_FIELDS = {
    "hidden_size": "hidden_size",
    "num_layers": "depth",
    "num_heads": "num_heads",
    "mlp_size": "intermediate_size",
    "out_size": "out_hidden_size",
    "in_channels": "in_channels",
    "patch_size": "patch_size",
    "temporal_patch_size": "temporal_patch_size",
    "merge_size": "spatial_merge_size",
    "position_grid": "num_position_embeddings",  # squared
    "deepstack_layers": "deepstack_visual_indexes",
}
_TOKEN_FIELDS = {"image_token": "image_token_id", "video_token": "video_token_id"}


def _from_fields(names: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, Any]:
    return {ours: values.get(theirs) for ours, theirs in names.items()}


def _to_fields(names: Mapping[str, str], config: Any) -> dict[str, Any]:
    return {theirs: getattr(config, ours) for ours, theirs in names.items()}


def config_from_hf(config: Mapping[str, Any]) -> Qwen3VLTextConfig:
    """Returns the config of the text decoder from a config.json or its text_config, in either spelling of the rope.

    Raises:
        ValueError: A missing key, or something that our network does not have: an attention bias, another
            activation or a scaled rope.
    """
    text = config.get("text_config", config)
    rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
    fields = _from_fields(_TEXT_FIELDS, text) | {
        "rope_theta": rope.get("rope_theta", text.get("rope_theta")),
        "mrope_section": rope.get("mrope_section"),
        # At the top of the file alone: what a text_config says of it is not read by transformers either.
        "tied": bool(config.get("tie_word_embeddings", True)),
    }
    if missing := [name for name, value in fields.items() if value is None]:
        raise ValueError(f"the Qwen3-VL config lacks {', '.join(missing)}; give the checkpoint's own config.json")
    unsupported = {
        "attention_bias": text.get("attention_bias", False),
        "hidden_act": text.get("hidden_act", "silu") != "silu",
        "rope_type": rope.get("rope_type", "default") != "default",
    }
    if wrong := [name for name, bad in unsupported.items() if bad]:
        raise ValueError(f"unsupported Qwen3-VL text config: {', '.join(wrong)}; a bias-free silu model is expected")
    section = tuple(fields["mrope_section"])
    # Each frequency of the rope turns one pair of channels.
    if 2 * sum(section) != fields["head_dim"]:
        raise ValueError(f"mrope_section {section} must sum to half of head_dim {fields['head_dim']}")
    return Qwen3VLTextConfig(**fields | {"mrope_section": section, "rope_theta": float(fields["rope_theta"])})


def full_config_from_hf(config: Mapping[str, Any]) -> Qwen3VLConfig:
    """Returns the config of both towers from a checkpoint's config.json.

    Raises:
        ValueError: As `config_from_hf`; or a vision tower that our network does not have, or towers that do not fit
            each other.
    """
    if "vision_config" not in config:
        raise ValueError("the Qwen3-VL config lacks vision_config; give the checkpoint's own config.json")
    text, vision = config_from_hf(config), config["vision_config"]
    fields, tokens = _from_fields(_VISION_FIELDS, vision), _from_fields(_TOKEN_FIELDS, config)
    if missing := [name for name, value in (fields | tokens).items() if value is None]:
        raise ValueError(f"the Qwen3-VL config lacks {', '.join(missing)}; give the checkpoint's own config.json")
    side, layers = math.isqrt(fields["position_grid"]), tuple(fields["deepstack_layers"])
    wrong = {
        "hidden_act": vision.get("hidden_act", "gelu_pytorch_tanh") != "gelu_pytorch_tanh",
        "num_position_embeddings": side**2 != fields["position_grid"],
        "out_hidden_size": fields["out_size"] != text.hidden_size,
        "deepstack_visual_indexes": not 0 < len(layers) <= text.num_layers
        or list(layers) != sorted(set(layers) & set(range(fields["num_layers"]))),
    }
    if named := [name for name, bad in wrong.items() if bad]:
        raise ValueError(
            f"unsupported Qwen3-VL vision config: {', '.join(named)}; expected are tanh GELU, a square table of "
            "positions, features as wide as the text, and rising indexes of its blocks, at most one per text layer"
        )
    theta = float((vision.get("rope_parameters") or {}).get("rope_theta", Qwen3VLVisionConfig.rope_theta))
    fields |= {"position_grid": side, "deepstack_layers": layers, "rope_theta": theta}
    return Qwen3VLConfig(text, Qwen3VLVisionConfig(**fields), **tokens)


def config_to_hf(config: Qwen3VLTextConfig | Qwen3VLConfig) -> dict[str, Any]:
    """Returns arguments of transformers' `Qwen3VLTextConfig`, or of `Qwen3VLConfig` for both towers.

    `config_from_hf` and `full_config_from_hf` read them back from a config.json. `layer_norm_eps` of the vision tower
    has no name there; it is always 1e-6.
    """
    if isinstance(config, Qwen3VLConfig):
        vision = config.vision
        return {
            "text_config": config_to_hf(config.text),
            "vision_config": _to_fields(_VISION_FIELDS, vision)
            | {
                "num_position_embeddings": vision.position_grid**2,
                "deepstack_visual_indexes": list(vision.deepstack_layers),
                "rope_parameters": {"rope_theta": vision.rope_theta, "rope_type": "default"},
            },
            **_to_fields(_TOKEN_FIELDS, config),
            "tie_word_embeddings": config.text.tied,
        }
    rope = {"rope_theta": config.rope_theta, "rope_type": "default", "mrope_section": list(config.mrope_section)}
    untied = {} if config.tied else {"tie_word_embeddings": False}
    return _to_fields(_TEXT_FIELDS, config) | {"rope_parameters": rope} | untied
