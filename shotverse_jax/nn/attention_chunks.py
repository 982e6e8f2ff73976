"""Attention on a CPU, a chunk of the queries at a time, so that the scores stay in the processor's cache.

The mathematics is FlashAttention's (arXiv 2205.14135, algorithms 1 and 4) without its inner loop over keys: a chunk of
queries sees all of its keys at once. The forward pass keeps the logarithm of each query's sum of exponentials, and the
backward pass computes the scores again from it, so that no pass ever holds all scores.

Axes beside the legend's: K heads of keys and values, G query heads that share one of them, R = G * T, and 1 for an axis
that was summed or reduced.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

# Attention with fewer scores than this is not cut.
CHUNK_FROM = 1 << 21
# Attention with more scores than this (1 GiB in float32) is cut on accelerators too.
MOST_SCORES = 1 << 28
# A chunk has about so many scores (4 MB in float32), and at least so many queries: matrix products of fewer are slow.
CHUNK_SCORES = 1 << 20
CHUNK_QUERIES = 32


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def attend_by_chunks(
    q_BKGTH: jax.Array, k_BKSH: jax.Array, v_BKSH: jax.Array, mask_BTS: jax.Array | None, scale: float
) -> jax.Array:
    """The same as `attention._planes`, for one key head and some queries at a time: [B, K, G, T, H].

    The batch is never cut, so that its sharding over devices survives. mask_BTS: True where a query may see a key;
    its B and T axes may be 1.
    """
    return _forward(q_BKGTH, k_BKSH, v_BKSH, mask_BTS, scale)[0]


def _forward(q_BKGTH, k_BKSH, v_BKSH, mask_BTS, scale):
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
            # Dividing after the product with v touches H numbers a query instead of S.
            mixed_BGTH = _mixed(weights_BGTS.astype(v_BSH.dtype), v_BSH) / sum_BGT1
            return mixed_BGTH.astype(q_BGTH.dtype), (most_BGT1 + jnp.log(sum_BGT1))[..., 0]

        mixed, log_sum = jax.lax.map(some, (chunks.cut(q_BGTH, 2), masks))
        return chunks.join(mixed, 2), chunks.join(log_sum, 2)

    out_BKGTH, log_sum_BKGT = _over_heads(head, q_BKGTH, k_BKSH, v_BKSH)
    return out_BKGTH, (q_BKGTH, k_BKSH, v_BKSH, mask_BTS, out_BKGTH, log_sum_BKGT)


def _backward(scale, kept, grad_BKGTH):
    q_BKGTH, k_BKSH, v_BKSH, mask_BTS, out_BKGTH, log_sum_BKGT = kept
    chunks = _Chunks.of(q_BKGTH, k_BKSH)
    masks, mask_of = chunks.masks(mask_BTS)
    # The gradient of a softmax subtracts a sum over keys. That sum equals one over the few channels of the output
    # (FlashAttention, Eq. 4), so it is known before any score is computed again.
    inner_BKGT = jnp.sum(grad_BKGTH.astype(jnp.float32) * out_BKGTH.astype(jnp.float32), axis=-1)

    def head(operands):
        q_BGTH, k_BSH, v_BSH, grad_BGTH, log_sum_BGT, inner_BGT = operands

        def some(sums, operands):
            q_BGTH, grad_BGTH, log_sum_BGT, inner_BGT, mask = operands
            scores_BGTS = _scores(q_BGTH, k_BSH, mask_of(mask), scale)
            weights_BGTS = jnp.exp(scores_BGTS - log_sum_BGT[..., None])
            change_BGTS = weights_BGTS * (_products(grad_BGTH, v_BSH) - inner_BGT[..., None]) * scale
            weights_BGTS, change_BGTS = (x.astype(q_BGTH.dtype) for x in (weights_BGTS, change_BGTS))
            # Every chunk of queries adds to the gradients of all keys and values; they are summed in float32.
            sums = sums[0] + _over_queries(change_BGTS, q_BGTH), sums[1] + _over_queries(weights_BGTS, grad_BGTH)
            return sums, _mixed(change_BGTS, k_BSH).astype(q_BGTH.dtype)

        parts = (*(chunks.cut(x, 2) for x in (q_BGTH, grad_BGTH, log_sum_BGT, inner_BGT)), masks)
        zeros = jnp.zeros(k_BSH.shape, jnp.float32), jnp.zeros(v_BSH.shape, jnp.float32)
        (of_k, of_v), of_q = jax.lax.scan(some, zeros, parts)
        return chunks.join(of_q, 2), of_k.astype(k_BSH.dtype), of_v.astype(v_BSH.dtype)

    return *_over_heads(head, q_BKGTH, k_BKSH, v_BKSH, grad_BKGTH, log_sum_BKGT, inner_BKGT), None


attend_by_chunks.defvjp(_forward, _backward)


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
        """(an array to scan over with the chunks, or None; a function from an item of it to that chunk's mask)."""
        if mask_BTS is None or mask_BTS.shape[1] == 1:
            return None, lambda _: mask_BTS
        return self.cut(mask_BTS, 1), lambda mask: mask

    def join(self, x, axis):
        """The inverse of `cut`."""
        x = jnp.moveaxis(x, 0, axis)
        x = x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])
        return jax.lax.slice_in_dim(x, 0, self.queries, axis=axis)


def _over_heads(head, *xs_BK):
    """head(part) of each key head's part of the arrays, one after the other, the results stacked on axis 1."""
    out = jax.lax.map(head, [jnp.moveaxis(x, 1, 0) for x in xs_BK])
    return tuple(jnp.moveaxis(x, 0, 1) for x in out)


def _scores(q_BGTH, k_BSH, mask_BTS, scale):
    scores_BGTS = scale * _products(q_BGTH, k_BSH)
    if mask_BTS is not None:
        # The lowest finite number, not -inf: a query that sees no key then gets equal weights instead of NaN.
        scores_BGTS = jnp.where(mask_BTS[:, None], scores_BGTS, jnp.finfo(jnp.float32).min)
    return scores_BGTS


_products = partial(jnp.einsum, "BGTH,BSH->BGTS", preferred_element_type=jnp.float32)
_mixed = partial(jnp.einsum, "BGTS,BSH->BGTH", preferred_element_type=jnp.float32)


def _over_queries(weights_BGTS, a_BGTH):
    """Sum over the queries of all heads of a group, [B, S, H]; heads and queries are one axis, as XLA's CPU product is
    slower over two."""
    weights_BRS, a_BRH = (x.reshape(len(x), -1, x.shape[-1]) for x in (weights_BGTS, a_BGTH))
    return jnp.einsum("BRS,BRH->BSH", weights_BRS, a_BRH, preferred_element_type=jnp.float32)
