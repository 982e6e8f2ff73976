"""Scaled dot-product attention behind one function; the kernel is chosen by value."""

import math
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu import splash_attention as splash

Kernel = Literal["xla", "cudnn", "splash"]

# Name of what the splash kernel keeps for its backward pass; `nn/stack.py` saves it under remat="save_attention".
SPLASH_RESIDUALS = "attention_residuals"
SPLASH_BLOCK = 512

# The xla kernel on CPU goes by chunks from so many scores on; a chunk has about so many, and at least so many queries.
CHUNK_FROM = 1 << 21
CHUNK_SCORES = 1 << 20
CHUNK_QUERIES = 32


def attend(
    q_BTNH: jax.Array,
    k_BSNH: jax.Array,
    v_BSNH: jax.Array,
    *,
    kernel: Kernel = "xla",
    causal: bool = False,
    mask_BTS: jax.Array | None = None,
    kv_lengths: jax.Array | None = None,
    scale: float | None = None,
) -> jax.Array:
    """softmax(scale q k^T) v with the softmax in float32, [B, T, N, H] in the dtype of q.

    Keys and values may have fewer heads than queries (grouped-query attention: query head n reads head
    n // (N / N_kv)). causal: query t sees keys 0..t, which needs T == S. mask_BTS: True where a key may be seen; its
    T axis may be 1 (the same keys for every query). kv_lengths [B]: only the first keys of a sample are real.
    A query that sees no key at all gets a meaningless, finite output. scale: 1 / sqrt(H) unless given.
    Raises ValueError for shapes that do not fit together and for masks the kernel cannot take.
    """
    heads, kv_heads = q_BTNH.shape[2], k_BSNH.shape[2]
    if heads % kv_heads:
        raise ValueError(f"attend: {heads} query heads cannot share {kv_heads} key heads; make one divide the other")
    if causal and q_BTNH.shape[1] != k_BSNH.shape[1]:
        raise ValueError(
            f"attend: causal needs as many queries as keys, got {q_BTNH.shape[1]} and {k_BSNH.shape[1]}; pass mask_BTS"
        )
    scale = 1.0 / math.sqrt(q_BTNH.shape[-1]) if scale is None else scale
    if kernel == "xla":
        return _attend_xla(q_BTNH, k_BSNH, v_BSNH, causal, mask_BTS, kv_lengths, scale)
    if kernel == "cudnn":
        if mask_BTS is not None:  # cuDNN's has a row for every query
            mask_BTS = jnp.broadcast_to(mask_BTS, (mask_BTS.shape[0], q_BTNH.shape[1], k_BSNH.shape[1]))
        return jax.nn.dot_product_attention(
            q_BTNH,
            k_BSNH,
            v_BSNH,
            mask=None if mask_BTS is None else mask_BTS[:, None],
            scale=scale,
            is_causal=causal,
            key_value_seq_lengths=kv_lengths,
            implementation="cudnn",
        )
    if kernel == "splash":
        return _attend_splash(q_BTNH, k_BSNH, v_BSNH, causal, mask_BTS, kv_lengths, scale)
    raise ValueError(f"attend: unknown kernel {kernel!r}; use xla, cudnn or splash")


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
    planes, by_chunks = partial(_planes, scale=scale), lambda *operands: _by_chunks(*operands, scale)
    operands = q_BKGTH, k_BKSH, v_BKSH, mask
    if batch * heads * queries * keys < CHUNK_FROM:
        mixed_BKGTH = planes(*operands)
    else:
        mixed_BKGTH = jax.lax.platform_dependent(*operands, cpu=by_chunks, default=planes)
    return mixed_BKGTH.reshape(batch, heads, queries, width).swapaxes(1, 2)


def _planes(q_BKGTH, k_BKSH, v_BKSH, mask_BTS, *, scale):
    """All at once; R are the queries of the heads that share a key head."""
    q_BKRH = q_BKGTH.reshape(*k_BKSH.shape[:2], -1, k_BKSH.shape[3])
    scores_BKRS = scale * jnp.einsum("BKRH,BKSH->BKRS", q_BKRH, k_BKSH, preferred_element_type=jnp.float32)
    if mask_BTS is not None:
        scores_BKGTS = scores_BKRS.reshape(*q_BKGTH.shape[:-1], -1)
        scores_BKGTS = jnp.where(mask_BTS[:, None, None], scores_BKGTS, jnp.finfo(jnp.float32).min)
        scores_BKRS = scores_BKGTS.reshape(scores_BKRS.shape)
    weights_BKRS = jax.nn.softmax(scores_BKRS, axis=-1).astype(v_BKSH.dtype)
    return jnp.einsum("BKRS,BKSH->BKRH", weights_BKRS, v_BKSH).reshape(q_BKGTH.shape)


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _by_chunks(q_BKGTH, k_BKSH, v_BKSH, mask_BTS, scale):
    """The same for one key head and some queries at a time, so that the scores stay in a CPU's cache; the backward
    pass computes them again rather than reading them back (FlashAttention, arXiv 2205.14135, algorithm 4). The batch
    stays whole, and with it its sharding."""
    return _forward_by_chunks(q_BKGTH, k_BKSH, v_BKSH, mask_BTS, scale)[0]


def _forward_by_chunks(q_BKGTH, k_BKSH, v_BKSH, mask_BTS, scale):
    """The output, and what the backward pass needs: the inputs, the output, the log of the sum of each query's exp."""
    chunks = _Chunks.of(q_BKGTH, k_BKSH)
    masks, mask_of = chunks.masks(mask_BTS)

    def head(operands):
        q_BGTH, k_BSH, v_BSH = operands

        def some(operands):
            q_BGTH, mask = operands
            scores_BGTS = _scores(q_BGTH, k_BSH, mask_of(mask), scale)
            most_BGT1 = jnp.max(scores_BGTS, axis=-1, keepdims=True)
            weights_BGTS = jnp.exp(scores_BGTS - most_BGT1)
            sum_BGT1 = jnp.sum(weights_BGTS, axis=-1, keepdims=True)
            mixed_BGTH = _mixed(weights_BGTS.astype(v_BSH.dtype), v_BSH) / sum_BGT1
            return mixed_BGTH.astype(q_BGTH.dtype), (most_BGT1 + jnp.log(sum_BGT1))[..., 0]

        mixed, log_sum = jax.lax.map(some, (chunks.cut(q_BGTH, 2), masks))
        return chunks.join(mixed, 2), chunks.join(log_sum, 2)

    out_BKGTH, log_sum_BKGT = _over_heads(head, q_BKGTH, k_BKSH, v_BKSH)
    return out_BKGTH, (q_BKGTH, k_BKSH, v_BKSH, mask_BTS, out_BKGTH, log_sum_BKGT)


def _backward_by_chunks(scale, kept, grad_BKGTH):
    q_BKGTH, k_BKSH, v_BKSH, mask_BTS, out_BKGTH, log_sum_BKGT = kept
    chunks = _Chunks.of(q_BKGTH, k_BKSH)
    masks, mask_of = chunks.masks(mask_BTS)
    # What softmax's gradient subtracts: its sum over keys is one over the few channels of the output.
    inner_BKGT = jnp.sum(grad_BKGTH.astype(jnp.float32) * out_BKGTH.astype(jnp.float32), axis=-1)

    def head(operands):
        q_BGTH, k_BSH, v_BSH, grad_BGTH, log_sum_BGT, inner_BGT = operands

        def some(sums, operands):
            q_BGTH, grad_BGTH, log_sum_BGT, inner_BGT, mask = operands
            scores_BGTS = _scores(q_BGTH, k_BSH, mask_of(mask), scale)
            weights_BGTS = jnp.exp(scores_BGTS - log_sum_BGT[..., None])
            change_BGTS = weights_BGTS * (_products(grad_BGTH, v_BSH) - inner_BGT[..., None]) * scale
            weights_BGTS, change_BGTS = (x.astype(q_BGTH.dtype) for x in (weights_BGTS, change_BGTS))
            sums = sums[0] + _over_queries(change_BGTS, q_BGTH), sums[1] + _over_queries(weights_BGTS, grad_BGTH)
            return sums, _mixed(change_BGTS, k_BSH).astype(q_BGTH.dtype)

        parts = (*(chunks.cut(x, 2) for x in (q_BGTH, grad_BGTH, log_sum_BGT, inner_BGT)), masks)
        zeros = jnp.zeros(k_BSH.shape, jnp.float32), jnp.zeros(v_BSH.shape, jnp.float32)
        (of_k, of_v), of_q = jax.lax.scan(some, zeros, parts)
        return chunks.join(of_q, 2), of_k.astype(k_BSH.dtype), of_v.astype(v_BSH.dtype)

    return *_over_heads(head, q_BKGTH, k_BKSH, v_BKSH, grad_BKGTH, log_sum_BKGT, inner_BKGT), None


_by_chunks.defvjp(_forward_by_chunks, _backward_by_chunks)


class _Chunks(NamedTuple):
    """How queries are cut: `number` chunks of `size`, the last one filled up with zeros."""

    queries: int
    number: int
    size: int

    @classmethod
    def of(cls, q_BKGTH, k_BKSH) -> "_Chunks":
        batch, _, group, queries, _ = q_BKGTH.shape
        scores = batch * group * queries * k_BKSH.shape[2]
        number = max(1, min(-(-scores // CHUNK_SCORES), queries // CHUNK_QUERIES))
        return cls(queries, number, -(-queries // number))

    def cut(self, x, axis):
        """[..., queries, ...] -> [number, ..., size, ...]."""
        x = jnp.pad(x, [(0, self.number * self.size - self.queries if a == axis else 0) for a in range(x.ndim)])
        return jnp.moveaxis(x.reshape(*x.shape[:axis], self.number, self.size, *x.shape[axis + 1 :]), axis, 0)

    def masks(self, mask_BTS):
        """What to hand to every chunk, and how its mask is made of that."""
        if mask_BTS is None or mask_BTS.shape[1] == 1:
            return None, lambda _: mask_BTS
        return self.cut(mask_BTS, 1), lambda mask: mask

    def join(self, x, axis):
        """The other way round than `cut`."""
        x = jnp.moveaxis(x, 0, axis)
        x = x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])
        return jax.lax.slice_in_dim(x, 0, self.queries, axis=axis)


def _over_heads(head, *xs_BK):
    """head of each key head's part, one after the other."""
    out = jax.lax.map(head, [jnp.moveaxis(x, 1, 0) for x in xs_BK])
    return tuple(jnp.moveaxis(x, 0, 1) for x in out)


def _scores(q_BGTH, k_BSH, mask_BTS, scale):
    scores_BGTS = scale * _products(q_BGTH, k_BSH)
    if mask_BTS is not None:
        scores_BGTS = jnp.where(mask_BTS[:, None], scores_BGTS, jnp.finfo(jnp.float32).min)
    return scores_BGTS


_products = partial(jnp.einsum, "BGTH,BSH->BGTS", preferred_element_type=jnp.float32)
_mixed = partial(jnp.einsum, "BGTS,BSH->BGTH", preferred_element_type=jnp.float32)


def _over_queries(weights_BGTS, a_BGTH):
    """With the queries of a group's heads on one axis, as XLA's CPU product is slower over two."""
    weights_BRS, a_BRH = (x.reshape(len(x), -1, x.shape[-1]) for x in (weights_BGTS, a_BGTH))
    return jnp.einsum("BRS,BRH->BSH", weights_BRS, a_BRH, preferred_element_type=jnp.float32)


def _both(a, b):
    return b if a is None else a & b


def _attend_splash(q_BTNH, k_BSNH, v_BSNH, causal, mask_BTS, kv_lengths, scale, interpret=False):
    """Pallas splash attention on TPU; masks are causal, by length or by key. The kernel takes multiples of 128, to
    which shorter inputs are filled up. Masks that differ by query, the text windows of shots, go to the xla kernel:
    their keys are few."""
    if mask_BTS is not None and mask_BTS.shape[1] != 1:
        return _attend_xla(q_BTNH, k_BSNH, v_BSNH, causal, mask_BTS, kv_lengths, scale)
    asked, given = q_BTNH.shape[1], k_BSNH.shape[1]
    q_BTNH = _filled(q_BTNH, asked)
    k_BSNH, v_BSNH = _filled(k_BSNH, given), _filled(v_BSNH, given)
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
        seen_BS = jnp.broadcast_to(seen_BS, (q_BTNH.shape[0], keys))
        segments = splash.SegmentIds(q=jnp.ones((len(seen_BS), queries), jnp.int32), kv=seen_BS.astype(jnp.int32))
        out_BNTH = jax.vmap(run)(q_BNTH, k_BNSH, v_BNSH, segments)
    return out_BNTH.swapaxes(1, 2)[:, :asked].astype(q_BTNH.dtype)


def _filled(x_BTNH, length):
    """Zeros after the last token, up to the next multiple of 128."""
    return jnp.pad(x_BTNH, ((0, 0), (0, -length % 128), (0, 0), (0, 0)))
