"""Names and sizes of Wan2.2's experts for `models/wan_dit.py`: those of Wan, DiffSynth, HoloCine and diffusers.

The camera encoders of ShotVerse, which published no weights, are `blocks.{i}.cam_encoder.{weight,bias}`.
"""

import re
from collections.abc import Mapping
from typing import Any

from shotverse_jax.config import WanDiTConfig

from .core import (
    COPY,
    Entry,
    Table,
    Transform,
    canonical_names,
    linear,
    norm,
)

WAN_HEAD_DIM = 128  # in every released size

_BLOCK = "blocks.{i}."
_FIRST_AXIS = Transform(lambda w: w[0], lambda w: w[None])  # [1, n, D] <-> [n, D]

# Wan's name, diffusers' name, our path.
_LINEARS = (
    ("text_embedding.0", "condition_embedder.text_embedder.linear_1", "text_in"),
    ("text_embedding.2", "condition_embedder.text_embedder.linear_2", "text_out"),
    ("time_embedding.0", "condition_embedder.time_embedder.linear_1", "time_in"),
    ("time_embedding.2", "condition_embedder.time_embedder.linear_2", "time_out"),
    ("time_projection.1", "condition_embedder.time_proj", "time_proj"),
    ("head.head", "proj_out", "head"),
    *(
        (f"{_BLOCK}{ours}.{name}", f"{_BLOCK}{theirs}.{their_name}", f"blocks/{ours}/{name}_proj")
        for ours, theirs in (("self_attn", "attn1"), ("cross_attn", "attn2"))
        for name, their_name in (("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("o", "to_out.0"))
    ),
    (f"{_BLOCK}ffn.0", f"{_BLOCK}ffn.net.0.proj", "blocks/ffn_in"),
    (f"{_BLOCK}ffn.2", f"{_BLOCK}ffn.net.2", "blocks/ffn_out"),
)
_QK_NORMS = tuple(
    (f"{_BLOCK}{ours}.norm_{name}", f"{_BLOCK}{theirs}.norm_{name}", f"blocks/{ours}/{name}_norm")
    for ours, theirs in (("self_attn", "attn1"), ("cross_attn", "attn2"))
    for name in "qk"
)
# The affine norm before cross-attention. Each program uses the other's name of it for a norm without parameters.
_CROSS_NORM = (f"{_BLOCK}norm3", f"{_BLOCK}norm2", "blocks/cross_norm")
_MODULATIONS = (
    (f"{_BLOCK}modulation", f"{_BLOCK}scale_shift_table", "blocks/modulation"),
    ("head.modulation", "scale_shift_table", "head_modulation"),
)
_PATCH, _CAMERA = "patch_embedding", f"{_BLOCK}cam_encoder"  # both spellings have these


def table(config: WanDiTConfig, names: str = "wan") -> Table:
    """Returns the table of an expert. It reads both spellings and writes `names`, "wan" or "diffusers"."""
    column = {"wan": 0, "diffusers": 1}[names]
    patch = Transform(
        lambda w: w.reshape(w.shape[0], -1).T,  # a convolution whose stride is its kernel [D, C, 1, 2, 2]
        lambda w: w.T.reshape(-1, config.latent_channels, *config.patch),
    )

    entries = [*linear(_PATCH, "patch_embed", patch)]
    entries += [e for row in _LINEARS for e in linear(row[column], row[2])]
    # These are RMS norms, which have no bias, over the full width and not per head.
    entries += [Entry(f"{row[column]}.weight", f"{row[2]}/scale", COPY) for row in _QK_NORMS]
    entries += norm(_CROSS_NORM[column], _CROSS_NORM[2])
    entries += [Entry(row[column], row[2], _FIRST_AXIS) for row in _MODULATIONS]
    if config.camera:
        entries += linear(_CAMERA, "blocks/camera")
    rows = (*_LINEARS, *_QK_NORMS, _CROSS_NORM, *_MODULATIONS)
    return Table(tuple(entries), aliases=tuple(_alias(row[1 - column], row[column]) for row in rows))


def _alias(known: str, name: str) -> tuple[str, str]:
    pattern = re.escape(known).replace(r"\{i\}", r"(\d+)")
    return rf"{pattern}(?=\.(weight|bias)$|$)", name.replace("{i}", r"\g<1>")


def config_from_tensors(tensors: Mapping[str, Any], **fields: Any) -> WanDiTConfig:
    """Returns the config of an expert from the shapes of its tensors in either spelling.

    fields: Values that the tensors do not show: num_heads (by default heads are 128 wide, as in all of Wan's
    releases), rope, self_attention, rounding and eps (by default those of WanDiTConfig).

    Raises:
        ValueError: The tensors are not a Wan transformer's.
    """
    names = canonical_names(table(WanDiTConfig()), tensors)
    sized = ("patch_embedding", "text_embedding.0", "time_embedding.0", "blocks.0.ffn.0")
    if missing := [f"{name}.weight" for name in sized if f"{name}.weight" not in names]:
        raise ValueError(f"not a Wan transformer: {', '.join(missing)} missing; give the file of one expert")
    patch, text, time, mlp = (tensors[names[f"{name}.weight"]].shape for name in sized)
    if len(patch) != 5:
        raise ValueError(f"patch_embedding.weight has shape {patch}, expected [width, channels, 1, 2, 2]")
    layers = {name.split(".")[1] for name in names if name.startswith("blocks.")}
    sizes = {
        "hidden_size": patch[0],
        "num_layers": len(layers),
        "num_heads": max(1, patch[0] // WAN_HEAD_DIM),
        "mlp_size": mlp[0],
        "frequency_size": time[1],
        "text_size": text[1],
        "latent_channels": patch[1],
        "patch": tuple(patch[2:]),
        "camera": any(name.startswith("blocks.0.cam_encoder.") for name in names),
    }
    return WanDiTConfig(**sizes | fields)


def config_to_diffusers(config: WanDiTConfig) -> dict[str, Any]:
    """Returns arguments of diffusers' `WanTransformer3DModel`, which has Wan's 3D RoPE and no cameras."""
    return {
        "patch_size": config.patch,
        "num_attention_heads": config.num_heads,
        "attention_head_dim": config.head_dim,
        "in_channels": config.latent_channels,
        "out_channels": config.latent_channels,
        "text_dim": config.text_size,
        "freq_dim": config.frequency_size,
        "ffn_dim": config.mlp_size,
        "num_layers": config.num_layers,
        "eps": config.eps,
    }
