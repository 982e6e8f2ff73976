"""Scaled dot-product attention behind one function, `attend`, and the table `KERNELS` of what can compute it.

A kernel is chosen by name (`Execution.attention`). Whoever needs to know something of a kernel reads its row of the
table, so a new kernel is written in this file alone; its name also joins the choices of `Execution.attention`.

Axes: B batch, T queries, S keys, N heads, H head width. Beside the legend's: K heads of keys and values, G query heads
that share one of them, R = G * T.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu import splash_attention as splash

from shotverse_jax.nn import attention_chunks

DEFAULT = "xla"


class Kernel(NamedTuple):
    """One way to compute attention, and what the rest of the project must know of it.

    run: (q_BTNH, k_BSNH, v_BSNH, causal, mask_BTS, kv_lengths_B, scale) -> the output [B, T, N, H]; arguments as in
        `attend`, the optional ones may be None.
    platforms: where it runs, by the names of `jax.default_backend()`.
    dtypes: the types of queries, keys and values that it takes.
    query_masks: whether it takes a mask that differs from query to query. `attend` gives such masks to the default
        kernel otherwise.
    partitioned: whether the compiler splits it over the devices of a mesh. One that it cannot split must run inside
        `jax.shard_map` (`parallel/sequence.py`).
    residual: whether an equation of a program (its primitive's name, its parameters) is what the kernel's backward
        pass reads; `remat="save_attention"` keeps these (`nn/stack.py`). None for a kernel without residuals, which
        the backward pass computes again.
    """

    run: Callable[..., jax.Array]
    platforms: tuple[str, ...]
    dtypes: tuple[str, ...]
    query_masks: bool
    partitioned: bool
    residual: Callable[[str, dict[str, Any]], bool] | None


def attend(
    q_BTNH: jax.Array,
    k_BSNH: jax.Array,
    v_BSNH: jax.Array,
    *,
    kernel: str = DEFAULT,
    causal: bool = False,
    mask_BTS: jax.Array | None = None,
    kv_lengths: jax.Array | None = None,
    scale: float | None = None,
) -> jax.Array:
    """softmax(scale q k^T) v with the softmax in float32, [B, T, N, H] in the dtype of q.

    Keys and values may have fewer heads than queries: query head n reads key head n // (N / N_kv) (grouped-query
    attention, arXiv 2305.13245).

    Args:
        kernel: a name of `KERNELS`; the default takes every shape and every mask.
        causal: query t sees keys 0..t; needs T == S.
        mask_BTS: bool, True where query t may see key s. Its T axis may be 1, the same keys for every query.
        kv_lengths: [B] int; only the first keys of a sample are real.
        scale: default 1 / sqrt(H).

    A query that sees no key at all gets a meaningless, finite output.

    Raises:
        ValueError: shapes that do not fit together, or an unknown kernel.
    """
    heads, kv_heads = q_BTNH.shape[2], k_BSNH.shape[2]
    if heads % kv_heads:
        raise ValueError(f"attend: {heads} query heads cannot share {kv_heads} key heads; make one divide the other")
    if causal and q_BTNH.shape[1] != k_BSNH.shape[1]:
        raise ValueError(
            f"attend: causal needs as many queries as keys, got {q_BTNH.shape[1]} and {k_BSNH.shape[1]}; pass mask_BTS"
        )
    if kernel not in KERNELS:
        raise ValueError(f"attend: unknown kernel {kernel!r}; use one of {', '.join(KERNELS)}")
    scale = 1.0 / math.sqrt(q_BTNH.shape[-1]) if scale is None else scale
    row = KERNELS[kernel]
    if mask_BTS is not None and mask_BTS.shape[1] != 1 and not row.query_masks:
        # In this project these are the text windows of shots, whose keys are few: the plain form is cheap.
        row = KERNELS[DEFAULT]
    return row.run(q_BTNH, k_BSNH, v_BSNH, causal, mask_BTS, kv_lengths, scale)


def kernels_on(platform: str, dtype: str = "bfloat16") -> tuple[str, ...]:
    """Names of the kernels that run on a platform ("cpu", "gpu" or "tpu") in a dtype, the fastest first."""
    return tuple(name for name, row in reversed(KERNELS.items()) if platform in row.platforms and dtype in row.dtypes)


# ------------------------------------------------------------------------------------------------------------ xla


def _attend_xla(q_BTNH, k_BSNH, v_BSNH, causal, mask_BTS, kv_lengths, scale):
    """Heads first: the matrix products then run over whole [T, S] planes, which CPUs do faster, backward above all."""
    batch, queries, heads, width = q_BTNH.shape
    keys, kv_heads = k_BSNH.shape[1:3]
    q_BKGTH = q_BTNH.swapaxes(1, 2).reshape(batch, kv_heads, heads // kv_heads, queries, width)
    k_BKSH, v_BKSH = k_BSNH.swapaxes(1, 2), v_BSNH.swapaxes(1, 2)
    mask = mask_BTS
    if causal:
        mask = _both(mask, jnp.tril(jnp.ones((1, queries, keys), bool)))
    if kv_lengths is not None:
        mask = _both(mask, jnp.arange(keys) < kv_lengths[:, None, None])
    planes = partial(_planes, scale=scale)
    operands = q_BKGTH, k_BKSH, v_BKSH, mask
    scores = batch * heads * queries * keys
    by_chunks = lambda *operands: attention_chunks.attend_by_chunks(*operands, scale)  # noqa: E731
    if scores < attention_chunks.CHUNK_FROM:
        mixed_BKGTH = planes(*operands)
    elif scores < attention_chunks.MOST_SCORES:  # only a CPU gains by chunks
        mixed_BKGTH = jax.lax.platform_dependent(*operands, cpu=by_chunks, default=planes)
    else:  # other kernels are faster on accelerators, but they may not take float32; all scores would not fit
        mixed_BKGTH = by_chunks(*operands)
    return mixed_BKGTH.reshape(batch, heads, queries, width).swapaxes(1, 2)


def _planes(q_BKGTH, k_BKSH, v_BKSH, mask_BTS, *, scale):
    """All scores at once; R are the queries of the heads that share a key head."""
    q_BKRH = q_BKGTH.reshape(*k_BKSH.shape[:2], -1, k_BKSH.shape[3])
    scores_BKRS = scale * jnp.einsum("BKRH,BKSH->BKRS", q_BKRH, k_BKSH, preferred_element_type=jnp.float32)
    if mask_BTS is not None:
        scores_BKGTS = scores_BKRS.reshape(*q_BKGTH.shape[:-1], -1)
        # The lowest finite number, not -inf: a query that sees no key then gets equal weights instead of NaN.
        scores_BKGTS = jnp.where(mask_BTS[:, None, None], scores_BKGTS, jnp.finfo(jnp.float32).min)
        scores_BKRS = scores_BKGTS.reshape(scores_BKRS.shape)
    weights_BKRS = jax.nn.softmax(scores_BKRS, axis=-1).astype(v_BKSH.dtype)
    return jnp.einsum("BKRS,BKSH->BKRH", weights_BKRS, v_BKSH).reshape(q_BKGTH.shape)


def _both(a, b):
    return b if a is None else a & b


def _filled(x_BTNH, multiple):
    """Zeros after the last token, up to the next multiple."""
    missing = -x_BTNH.shape[1] % multiple
    return jnp.pad(x_BTNH, ((0, 0), (0, missing), (0, 0), (0, 0))) if missing else x_BTNH


# ---------------------------------------------------------------------------------------------------------- cudnn


def _attend_cudnn(q_BTNH, k_BSNH, v_BSNH, causal, mask_BTS, kv_lengths, scale):
    """cuDNN's fused attention, as JAX offers it; for bfloat16 and float16 only."""
    queries, keys = q_BTNH.shape[1], k_BSNH.shape[1]
    if mask_BTS is not None:  # cuDNN's masks have a row for every query
        mask_BTS = jnp.broadcast_to(mask_BTS, (mask_BTS.shape[0], queries, keys))
    # The backward pass takes even lengths only. A query that fills up is cut off below; a key that fills up is hidden:
    # by causality from all real queries, else by the mask or the lengths.
    q_BTNH, k_BSNH, v_BSNH = (_filled(x, 2) for x in (q_BTNH, k_BSNH, v_BSNH))
    if mask_BTS is not None and (queries % 2 or keys % 2):
        mask_BTS = jnp.pad(mask_BTS, ((0, 0), (0, queries % 2), (0, 0)), constant_values=True)
        mask_BTS = jnp.pad(mask_BTS, ((0, 0), (0, 0), (0, keys % 2)))
    elif mask_BTS is None and keys % 2 and not causal and kv_lengths is None:
        kv_lengths = jnp.full(len(k_BSNH), keys, jnp.int32)
    out_BTNH = jax.nn.dot_product_attention(
        q_BTNH,
        k_BSNH,
        v_BSNH,
        mask=None if mask_BTS is None else mask_BTS[:, None],
        scale=scale,
        is_causal=causal,
        key_value_seq_lengths=kv_lengths,
        implementation="cudnn",
    )
    return out_BTNH[:, :queries]


# --------------------------------------------------------------------------------------------------------- splash

SPLASH_BLOCK = 512  # tokens of a block of queries or keys at most; shorter sequences have smaller blocks
SPLASH_RESIDUALS = "attention_residuals"  # the name that the kernel's forward pass gives to its residuals


def _attend_splash(q_BTNH, k_BSNH, v_BSNH, causal, mask_BTS, kv_lengths, scale, interpret=False):
    """Pallas' splash attention for TPUs (jax.experimental); masks are causal, by length or by key.

    interpret: run the kernel step by step on any platform, for tests.
    """
    # The kernel takes multiples of 128 tokens; shorter inputs are filled up, and keys that fill up are hidden.
    asked, given = q_BTNH.shape[1], k_BSNH.shape[1]
    q_BTNH, k_BSNH, v_BSNH = (_filled(x, 128) for x in (q_BTNH, k_BSNH, v_BSNH))
    queries, keys, heads = q_BTNH.shape[1], k_BSNH.shape[1], q_BTNH.shape[2]
    seen_BS = None
    if mask_BTS is not None:
        seen_BS = jnp.pad(mask_BTS[:, 0], ((0, 0), (0, keys - given)))
    if kv_lengths is not None:
        seen_BS = _both(seen_BS, jnp.arange(keys) < kv_lengths[:, None])
    elif keys > given and seen_BS is None:
        seen_BS = (jnp.arange(keys) < given)[None]
    head_mask = splash.CausalMask((queries, keys)) if causal else splash.FullMask((queries, keys))
    block_q, block_kv = math.gcd(queries, SPLASH_BLOCK), math.gcd(keys, SPLASH_BLOCK)
    run = splash.make_splash_mha(
        mask=splash.MultiHeadMask([head_mask] * heads),
        block_sizes=splash.BlockSizes(
            block_q=block_q,
            block_kv=block_kv,
            block_kv_compute=block_kv,
            block_q_dkv=block_q,
            block_kv_dkv=block_kv,
            block_kv_dkv_compute=block_kv,
            block_q_dq=block_q,
            block_kv_dq=block_kv,
        ),
        head_shards=1,
        q_seq_shards=1,
        residual_checkpoint_name=SPLASH_RESIDUALS,
        interpret=interpret,
    )
    q_BNTH, k_BNSH, v_BNSH = ((x.swapaxes(1, 2)) for x in (q_BTNH * scale, k_BSNH, v_BSNH))
    if seen_BS is None:
        out_BNTH = jax.vmap(run)(q_BNTH, k_BNSH, v_BNSH)
    else:
        # A query sees the keys of its own segment: 1 for all queries and for the keys that may be seen, 0 for others.
        seen_BS = jnp.broadcast_to(seen_BS, (q_BTNH.shape[0], keys))
        segments = splash.SegmentIds(q=jnp.ones((len(seen_BS), queries), jnp.int32), kv=seen_BS.astype(jnp.int32))
        out_BNTH = jax.vmap(run)(q_BNTH, k_BNSH, v_BNSH, segments)
    return out_BNTH.swapaxes(1, 2)[:, :asked].astype(q_BTNH.dtype)


# ------------------------------------------------------------------------------------------------------ the table

# The default first; where several kernels run on a platform, the later one is the faster.
KERNELS: dict[str, Kernel] = {
    DEFAULT: Kernel(
        _attend_xla,
        platforms=("cpu", "gpu", "tpu"),
        dtypes=("float32", "bfloat16"),
        query_masks=True,
        partitioned=True,
        residual=None,
    ),
    "cudnn": Kernel(
        _attend_cudnn,
        platforms=("gpu",),
        dtypes=("bfloat16",),
        query_masks=True,
        partitioned=False,
        residual=lambda name, params: name.startswith("dot_product_attention_fwd"),
    ),
    "splash": Kernel(
        _attend_splash,
        platforms=("tpu",),
        dtypes=("float32", "bfloat16"),
        query_masks=False,
        partitioned=False,
        residual=lambda name, params: name == "name" and params["name"] == SPLASH_RESIDUALS,
    ),
}
