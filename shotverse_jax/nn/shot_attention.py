"""Attention shot by shot: HoloCine's sparse inter-shot attention, and the cutting that text windows share with it.

Axes: X tokens of the video, in the order of its shots; N heads, H head width.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from shotverse_jax.nn.attention import DEFAULT, attend


def sparse_attend(
    q_BXNH: jax.Array,
    k_BXNH: jax.Array,
    v_BXNH: jax.Array,
    lengths: Sequence[int],
    summary: int,
    *,
    kernel: str = DEFAULT,
) -> jax.Array:
    """HoloCine's inter-shot attention (arXiv 2510.20822 §3.2, its `firstk` mode), [B, X, N, H].

    The queries of a shot see all keys of their own shot and the first keys of every shot, their own among them: a
    shot's own first tokens are thus seen twice, with double weight, as in the original. With K shots of n tokens the
    work is the sum over shots of n (n + K summary), where full attention has X squared.

    Args:
        lengths: tokens of each shot; they sum to X.
        summary: how many first tokens stand for a shot in the eyes of others, in HoloCine one latent frame.
        kernel: a name of `nn.attention.KERNELS`.

    Raises:
        ValueError: lengths that do not sum to X, or a shot shorter than `summary`.
    """
    if sum(lengths) != q_BXNH.shape[1] or min(lengths) < summary:
        raise ValueError(
            f"sparse attention: shots of {tuple(lengths)} tokens must fill {q_BXNH.shape[1]} and each hold {summary}"
        )
    starts = np.cumsum((0, *lengths))[:-1]

    def summaries(x):
        return jnp.concatenate([x[:, start : start + summary] for start in starts], axis=1)

    # The same for every shot, so they are gathered once; every stacked shot below gets its sample's copy.
    first = summaries(k_BXNH), summaries(v_BXNH)

    def mix(shots, q, k, v):
        keys, values = (
            jnp.concatenate([own, jnp.repeat(every, len(shots), axis=0)], axis=1)
            for own, every in zip((k, v), first, strict=True)
        )
        return attend(q, keys, values, kernel=kernel)

    return by_shot(mix, lengths, q_BXNH, k_BXNH, v_BXNH)


def by_shot(mix: Callable[..., jax.Array], lengths: Sequence[int], *xs_BX: jax.Array) -> jax.Array:
    """Applies `mix` to each shot's tokens and joins the results in the order of the film, [B, X, ...].

    Shots of one length are stacked, [B * len(shots), length, ...], and go through one call mix(shots, *parts), so that
    a film of equal shots is one attention call however many shots it has. The batch stays the outer part of the first
    axis, so that its sharding survives.
    """
    starts, pieces = np.cumsum((0, *lengths)), {}
    for length in sorted(set(lengths)):
        shots = [shot for shot, n in enumerate(lengths) if n == length]
        stacked = (jnp.stack([x[:, starts[s] : starts[s] + length] for s in shots], axis=1) for x in xs_BX)
        mixed = mix(shots, *(x.reshape(-1, *x.shape[2:]) for x in stacked))
        mixed = mixed.reshape(-1, len(shots), *mixed.shape[1:])
        pieces |= {shot: mixed[:, i] for i, shot in enumerate(shots)}
    return jnp.concatenate([pieces[shot] for shot in range(len(lengths))], axis=1)
