"""Contrastive losses of two sides, such as clips and texts: rows tell their partners from all others of a batch.

Axes: B samples, of which row i of one side belongs to row i of the other; D numbers of a vector.
"""

import jax
import jax.numpy as jnp
import optax


def unit(x: jax.Array) -> jax.Array:
    """Vectors of length 1, along the last axis."""
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def info_nce(a_BD: jax.Array, b_BD: jax.Array, same_BB: jax.Array, temperature: float) -> jax.Array:
    """The cross-entropy of telling each row's partner from the other rows by the cosine, in both directions.

    same_BB: [B, B] bool, symmetric; pairs that are left out. The partner itself always stays.
    """
    logits_BB = unit(a_BD) @ unit(b_BD).T / temperature
    left_out = same_BB & ~jnp.eye(len(same_BB), dtype=bool)
    logits_BB = jnp.where(left_out, -jnp.inf, logits_BB)
    partners_B = jnp.arange(len(logits_BB))
    entropy = optax.losses.softmax_cross_entropy_with_integer_labels
    return (entropy(logits_BB, partners_B).mean() + entropy(logits_BB.T, partners_B).mean()) / 2


def multi_positive(logits_BB: jax.Array, right_BB: jax.Array, left_out_BB: jax.Array) -> jax.Array:
    """The cross-entropy of telling the right columns from the others, in both directions.

    The target of a row is spread evenly over all columns that are right for it; with one right column each it is that
    of `info_nce`.

    Args:
        logits_BB: products of rows and columns.
        right_BB: bool; a row's own column is right in any case.
        left_out_BB: bool, pairs that count in no sum; those that are right stay.
    """
    right_BB = right_BB | jnp.eye(len(right_BB), dtype=bool)
    logits_BB = jnp.where(left_out_BB & ~right_BB, -jnp.inf, logits_BB)

    def entropy(logits, right):
        log_share = jnp.where(right, jax.nn.log_softmax(logits, axis=1), 0.0)
        return -(log_share.sum(1) / right.sum(1)).mean()

    return (entropy(logits_BB, right_BB) + entropy(logits_BB.T, right_BB.T)) / 2


def first(cosine_BB: jax.Array, same_BB: jax.Array) -> jax.Array:
    """The share of rows whose largest cosine is at a right answer: their own column, or one that is the same."""
    best_B1 = cosine_BB.argmax(1)[:, None]
    right = same_BB | jnp.eye(len(same_BB), dtype=bool)
    return jnp.take_along_axis(right, best_B1, axis=1).mean()
