"""Wan2.2 experts <-> `models/wan_dit.py`: the names of Wan, DiffSynth and HoloCine, and those of diffusers.

The camera encoders of ShotVerse, which published no weights, are `blocks.{i}.cam_encoder.{weight,bias}`.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from shotverse_jax.config import Execution, WanDiTConfig
from shotverse_jax.models.camera_encoder import CAMERA_SIZE
from shotverse_jax.models.wan_dit import WanDiT

from .core import (
    COPY,
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

WAN_HEAD_DIM = 128  # of every released size

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
# The affine norm before cross-attention; each of the two calls its parameter-free norm what this one has in the other.
_CROSS_NORM = (f"{_BLOCK}norm3", f"{_BLOCK}norm2", "blocks/cross_norm")
_MODULATIONS = (
    (f"{_BLOCK}modulation", f"{_BLOCK}scale_shift_table", "blocks/modulation"),
    ("head.modulation", "scale_shift_table", "head_modulation"),
)
_PATCH, _CAMERA = "patch_embedding", f"{_BLOCK}cam_encoder"  # the same in both


def table(config: WanDiTConfig, names: str = "wan") -> Table:
    """The table of an expert; both spellings are read, `names` ("wan" or "diffusers") is the one that is written."""
    column = {"wan": 0, "diffusers": 1}[names]
    patch = Transform(
        lambda w: w.reshape(w.shape[0], -1).T,  # a convolution whose stride is its kernel [D, C, 1, 2, 2]
        lambda w: w.T.reshape(-1, config.latent_channels, *config.patch),
    )

    entries = [*linear(_PATCH, "patch_embed", patch)]
    entries += [e for row in _LINEARS for e in linear(row[column], row[2])]
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
    """The expert's sizes, read from the shapes of its tensors (either spelling), and whether it has camera encoders.

    fields: what is not in the tensors (num_heads, rope, self_attention, rounding, eps); a head is 128 wide, as in all
    of Wan's releases, and the rest WanDiTConfig's, unless given. Raises ValueError when it is not a Wan transformer.
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


def abstract(config: WanDiTConfig, dtype: str = "float32") -> dict[str, Any]:
    """The parameter tree of an expert, as shapes."""
    config = replace(config, self_attention="full")  # the same parameters, and no shots to name

    def array(*shape):
        return jax.ShapeDtypeStruct(shape, np.float32)

    latents_BTHWC = array(1, 1, *config.patch[1:], config.latent_channels)
    camera_BTP = array(1, 1, CAMERA_SIZE) if config.camera else None
    inputs = latents_BTHWC, array(1), array(1, 1, config.text_size), None, None, camera_BTP
    return abstract_params(WanDiT(config, Execution()), *inputs, dtype=dtype)


def from_torch(tensors: Tensors, config: WanDiTConfig, dtype: str = "float32") -> dict[str, Any]:
    """Parameters of `WanDiT` in `dtype` from an expert's tensors (`core.read_safetensors`), either spelling."""
    return to_flax(table(config), tensors, abstract(config, dtype), cast=True)


def to_wan(params: Mapping[str, Any], config: WanDiTConfig) -> dict[str, np.ndarray]:
    """The tensors under Wan's names, which DiffSynth and HoloCine load."""
    return to_torch(table(config), params)


def to_diffusers(params: Mapping[str, Any], config: WanDiTConfig) -> dict[str, np.ndarray]:
    """The tensors under the names of diffusers' `WanTransformer3DModel`."""
    return to_torch(table(config, "diffusers"), params)


def config_to_diffusers(config: WanDiTConfig) -> dict[str, Any]:
    """Arguments of diffusers' `WanTransformer3DModel` for a network of these sizes; it has Wan's 3D RoPE, no camera."""
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
