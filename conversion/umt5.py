"""Names and sizes of UMT5 encoders for `models/umt5.py`.

They are Wan's models_t5_umt5-xxl-enc-bf16.pth or a transformers UMT5EncoderModel.
"""

import re

from shotverse_jax.config import UMT5Config

from .core import COPY, TRANSPOSE, Entry, Table, Tensors, canonical_names

# Wan's name, transformers' name, our path, transform.
_LAYER, _HF_ATTN, _HF_MLP = "blocks.{i}.", "encoder.block.{i}.layer.0.", "encoder.block.{i}.layer.1."
_BIAS = f"{_LAYER}pos_embedding.embedding.weight"
_NAMES = (
    ("token_embedding.weight", "shared.weight", "embedding", COPY),
    (f"{_LAYER}norm1.weight", f"{_HF_ATTN}layer_norm.weight", "layers/attn_norm/scale", COPY),
    *(
        (f"{_LAYER}attn.{x}.weight", f"{_HF_ATTN}SelfAttention.{x}.weight", f"layers/attn/{x}_proj/kernel", TRANSPOSE)
        for x in "qkvo"
    ),
    # Every layer of UMT5 has its own table of relative positions; T5 has one, in its first layer.
    (_BIAS, f"{_HF_ATTN}SelfAttention.relative_attention_bias.weight", "layers/attn/relative_bias", COPY),
    (f"{_LAYER}norm2.weight", f"{_HF_MLP}layer_norm.weight", "layers/mlp_norm/scale", COPY),
    *(
        (f"{_LAYER}ffn.{wan}.weight", f"{_HF_MLP}DenseReluDense.{hf}.weight", f"layers/{ours}_proj/kernel", TRANSPOSE)
        for wan, hf, ours in (("gate.0", "wi_0", "gate"), ("fc1", "wi_1", "up"), ("fc2", "wo", "down"))
    ),
    ("norm.weight", "encoder.final_layer_norm.weight", "norm/scale", COPY),
)


def _alias(wan: str, hf: str) -> tuple[str, str]:
    return re.escape(hf).replace(r"\{i\}", r"(\d+)") + "$", wan.replace("{i}", r"\1")


# TABLE reads both spellings and writes Wan's; HF_TABLE reads and writes transformers' alone.
TABLE = Table(
    entries=tuple(Entry(wan, target, transform) for wan, _, target, transform in _NAMES),
    aliases=tuple(_alias(wan, hf) for wan, hf, *_ in _NAMES),
    ignore=(r"spiece_model$",),  # the tokenizer's bytes, which ComfyUI's files hold
    ties=(("encoder.embed_tokens.weight", "token_embedding.weight"),),
)
HF_TABLE = Table(
    entries=tuple(Entry(hf, target, transform) for _, hf, target, transform in _NAMES),
    ties=(("encoder.embed_tokens.weight", "shared.weight"),),
)


def config_from_tensors(tensors: Tensors, max_distance: int = UMT5Config.max_distance) -> UMT5Config:
    """Returns the config of an encoder from the shapes of its tensors.

    They do not show `max_distance`, where the last bucket of relative positions begins.

    Raises:
        ValueError: The tensors are not a UMT5 encoder's.
    """
    names = canonical_names(TABLE, tensors)
    sized = {
        "embedding": "token_embedding.weight",
        "query": "blocks.0.attn.q.weight",
        "gate": "blocks.0.ffn.gate.0.weight",
        "bias": _BIAS.replace("{i}", "0"),
    }
    if missing := [name for name in sized.values() if name not in names]:
        raise ValueError(f"not a UMT5 encoder: {', '.join(missing)} missing; give Wan's T5 or a UMT5EncoderModel")
    shapes = {part: tensors[names[name]].shape for part, name in sized.items()}
    buckets, num_heads = shapes["bias"]
    vocab_size, hidden_size = shapes["embedding"]
    return UMT5Config(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        num_layers=len({name.split(".")[1] for name in names if name.startswith("blocks.")}),
        num_heads=num_heads,
        head_dim=shapes["query"][0] // num_heads,
        mlp_size=shapes["gate"][0],
        buckets=buckets,
        max_distance=max_distance,
    )
