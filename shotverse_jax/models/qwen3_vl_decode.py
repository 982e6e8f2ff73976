"""Qwen3-VL's text decoder laid out for writing token by token: the same blocks, with their weights where they are read.

Training and reading scan over stacked layers. On a CPU a scan would copy each layer's weights and cache at every token,
so there (`Execution.unroll`) weights and cache are lists with an entry for each layer.

Axes as in `qwen3_vl.py`.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from shotverse_jax.config import Execution, Qwen3VLTextConfig
from shotverse_jax.models.qwen3_vl import Block, Qwen3VLText, cache_mask
from shotverse_jax.nn.norm import RMSNorm
from shotverse_jax.nn.rope import mrope_table

Params = Mapping[str, Any]


def decode_weights(params: Params, config: Qwen3VLTextConfig, execution: Execution) -> dict:
    """Parameters of `Qwen3VLText` as `extend` takes them; to be made once for a set of parameters."""
    params = dict(params)
    if execution.unroll:
        params["layers"] = [_layer(params["layers"], i) for i in range(config.num_layers)]
    return params


@jax.jit
def _layer(stacked: Params, i: int) -> Params:
    # i is traced, so that all layers share one small program.
    return jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, i, keepdims=False), stacked)


def empty_cache(config: Qwen3VLTextConfig, execution: Execution, batch: int, length: int) -> Any:
    """A cache with room for `length` tokens and none in it."""
    if not execution.unroll:
        return Qwen3VLText(config, execution).empty_cache(batch, length)
    shape = (batch, length, config.num_kv_heads, config.head_dim)
    return [{name: jnp.zeros(shape, execution.dtype) for name in ("k", "v")} for _ in range(config.num_layers)]


def extend(
    weights: Params,
    config: Qwen3VLTextConfig,
    execution: Execution,
    x_BTD: jax.Array,
    cache: Any,
    start: jax.Array | int,
    positions_3BT: jax.Array,
    real_BS: jax.Array,
    deepstack_KBTD: jax.Array | None = None,
) -> tuple[jax.Array, Any]:
    """(states [B, T, D] of T further tokens, the cache with them in it), as `Qwen3VLText.extend`.

    weights: of `decode_weights`. cache: of `empty_cache`, or of an earlier call.
    """
    if not execution.unroll:
        arguments = x_BTD, cache, start, positions_3BT, real_BS, deepstack_KBTD
        return Qwen3VLText(config, execution).apply({"params": weights}, *arguments, method="extend")
    rope = mrope_table(positions_3BT, config.mrope_section, config.rope_theta)
    mask_BTS = cache_mask(x_BTD.shape[1], real_BS.shape[1], start) & real_BS[:, None]
    block, x_BTD, after = Block(config, execution), x_BTD.astype(execution.dtype), []
    if deepstack_KBTD is not None:
        deepstack_KBTD = deepstack_KBTD.astype(execution.dtype)
    for number, (layer, held) in enumerate(zip(weights["layers"], cache, strict=True)):
        added = deepstack_KBTD if deepstack_KBTD is not None and number < len(deepstack_KBTD) else None
        own = {"cache": held, "number": number}
        arguments = x_BTD, rope, mask_BTS, start, added
        x_BTD, held = block.apply({"params": layer}, *arguments, deterministic=True, layer=own)
        after.append(held)
    return RMSNorm(config.rms_norm_eps).apply({"params": weights["norm"]}, x_BTD), after
