"""Retrieval: does the trajectory find its caption among all, and the caption its trajectory (R@k, median rank)."""

from collections.abc import Sequence

import numpy as np

RANKS = (1, 2, 3, 5, 10)


def retrieval(
    pred: np.ndarray, ref: np.ndarray, same: np.ndarray | None = None, *, ranks: Sequence[int] = RANKS
) -> dict[str, float]:
    """Returns the shares of samples whose partner is among the k nearest by the cosine, of all N.

    A sample with several right partners counts by the best placed one. Equal cosines count against the sample, so that
    latents that are all the same find nothing.
    Source: GenDoP `evaluate/CLaTr/src/training/metrics.py`.

    Args:
        pred: [N, D] latents of trajectories.
        ref: [N, D] latents of their captions, in the same order.
        same: [N, N] bool, True where the caption of one is right for the other; None (default) for none but its own.
        ranks: the values of k; default 1, 2, 3, 5 and 10.

    Returns:
        text_r1, text_r2, …: shares of trajectories that find their caption; text_median_rank, from 1.
        trajectory_r1, …: shares of captions that find their trajectory; trajectory_median_rank.

    Raises:
        ValueError: the shapes differ, or a latent is zero.
    """
    pred, ref = np.asarray(pred, np.float64), np.asarray(ref, np.float64)
    if pred.shape != ref.shape or ref.ndim != 2 or not len(ref):
        raise ValueError(f"latents must be pairs [N, D], got {pred.shape} against {ref.shape}")
    norms = [np.linalg.norm(x, axis=1, keepdims=True) for x in (pred, ref)]
    if not min(norm.min() for norm in norms):
        raise ValueError("a latent of zeros has no direction")
    cosine_PR = (pred / norms[0]) @ (ref / norms[1]).T
    right = np.eye(len(ref), dtype=bool) if same is None else np.asarray(same, bool) | np.eye(len(ref), dtype=bool)
    values = {}
    for side, cosine, partners in (("text", cosine_PR, right), ("trajectory", cosine_PR.T, right.T)):
        best = np.where(partners, cosine, -np.inf).max(1, keepdims=True)
        rank = 1 + ((cosine >= best) & ~partners).sum(1)
        values |= {f"{side}_r{k}": float((rank <= k).mean()) for k in ranks}
        values[f"{side}_median_rank"] = float(np.median(rank))
    return values
