"""CLaTr checkpoints (the state_dict of a Lightning .ckpt) <-> `models/clatr.py`."""

from typing import Any

import jax
import numpy as np

from shotverse_jax.config import CLaTrConfig, Execution
from shotverse_jax.models.clatr import CLaTr

from .core import TRANSPOSE, Entry, Table, Tensors, abstract_params, canonical_names, linear, norm, to_flax

NUM_HEADS = 4  # of GenDoP's releases; the number is not among the tensors


def _attention(source: str, target: str) -> tuple[Entry, ...]:
    return (
        Entry(f"{source}.in_proj_weight", f"{target}/qkv/kernel", TRANSPOSE),  # q, k and v, one below the other
        Entry(f"{source}.in_proj_bias", f"{target}/qkv/bias"),
        *linear(f"{source}.out_proj", f"{target}/out_proj"),
    )


def _layers(source: str, target: str, norms: tuple[str, ...]) -> tuple[Entry, ...]:
    source, target = f"{source}.layers.{{i}}.", f"{target}/layers/"
    return (
        *_attention(f"{source}self_attn", f"{target}self_attn"),
        *(_attention(f"{source}multihead_attn", f"{target}cross_attn") if "cross_norm" in norms else ()),
        *(e for i in (1, 2) for e in linear(f"{source}linear{i}", f"{target}fc{i}")),
        *(e for i, name in enumerate(norms, 1) for e in norm(f"{source}norm{i}", f"{target}{name}")),
    )


def _encoder(name: str) -> tuple[Entry, ...]:
    return (
        Entry(f"{name}.tokens", f"{name}/queries"),
        *linear(f"{name}.projection", f"{name}/project"),
        *_layers(f"{name}.seqTransEncoder", name, ("self_norm", "mlp_norm")),
    )


TABLE = Table(
    entries=(
        *_encoder("traj_encoder"),
        *_encoder("text_encoder"),
        *_layers("traj_decoder.seqTransDecoder", "traj_decoder", ("self_norm", "cross_norm", "mlp_norm")),
        *linear("traj_decoder.final_layer", "traj_decoder/head"),
    )
)


def config_from_tensors(tensors: Tensors, num_heads: int = NUM_HEADS) -> CLaTrConfig:
    """The sizes of a CLaTr, read from its tensors; the number of heads is not in them.

    Raises ValueError when the tensors are not a CLaTr's.
    """
    names, stack = canonical_names(TABLE, tensors), "traj_encoder.seqTransEncoder.layers."
    sized = [f"{part}_encoder.projection.weight" for part in ("traj", "text")] + [f"{stack}0.linear1.weight"]
    if missing := [name for name in sized if name not in names]:
        raise ValueError(f"not a CLaTr: {', '.join(missing)} missing; give the .ckpt of all three networks")
    traj, text, mlp = (tensors[names[name]].shape for name in sized)
    return CLaTrConfig(
        hidden_size=traj[0],
        num_layers=len({name.removeprefix(stack).split(".")[0] for name in names if name.startswith(stack)}),
        num_heads=num_heads,
        mlp_size=mlp[0],
        feature_size=traj[1],
        text_size=text[1],
    )


def abstract(config: CLaTrConfig, dtype: str = "float32") -> dict[str, Any]:
    """The parameter tree of all three networks, as shapes."""
    mask = jax.ShapeDtypeStruct((1, 1), bool)
    traj, text = (jax.ShapeDtypeStruct((1, 1, n), np.float32) for n in (config.feature_size, config.text_size))
    return abstract_params(CLaTr(config, Execution()), traj, mask, text, mask, dtype=dtype)


def from_torch(tensors: Tensors, config: CLaTrConfig, dtype: str = "float32") -> dict[str, Any]:
    """Parameters of `CLaTr` in `dtype` from a checkpoint's tensors."""
    return to_flax(TABLE, tensors, abstract(config, dtype), cast=True)
