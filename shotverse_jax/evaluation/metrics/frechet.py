"""Fréchet distance between two sets of features, each seen as one Gaussian."""

import numpy as np


def frechet(pred: np.ndarray, ref: np.ndarray, mask: np.ndarray | None = None) -> dict[str, float]:
    """Returns |μ_p - μ_r|² + tr(S_p + S_r) - 2 tr((S_r S_p)^½) with unbiased covariances, in float64.

    On CLaTr latents this is FCD ("CLaTr-FID" in GenDoP's paper). The value depends strongly on the number of samples:
    compare only sets of one size. Source: GenDoP `evaluate/eval/src/metrics/modules/fcd.py`.

    Args:
        pred, ref: [N, D] and [M, D] features.
        mask: [N] bool, True where a sample counts, on both sides, which must then be of one size; None (default) for
            all.

    Returns:
        fcd.

    Raises:
        ValueError: the widths differ, or a side has fewer than two samples.
    """
    pred, ref = np.asarray(pred, np.float64), np.asarray(ref, np.float64)
    if mask is not None:
        mask = np.asarray(mask, bool)
        pred, ref = pred[mask], ref[mask]
    if pred.ndim != 2 or ref.ndim != 2 or pred.shape[1] != ref.shape[1]:
        raise ValueError(f"features must be [N, D] with one D, got {pred.shape} against {ref.shape}")
    if min(len(pred), len(ref)) < 2:
        raise ValueError(f"a covariance needs two samples or more, got {len(pred)} and {len(ref)}")
    mean = pred.mean(0) - ref.mean(0)
    # The covariance of a single feature is a number for NumPy and not a matrix.
    pred_cov = np.atleast_2d(np.cov(pred, rowvar=False))
    ref_cov = np.atleast_2d(np.cov(ref, rowvar=False))
    # S_r S_p has the eigenvalues of the symmetric S_r^½ S_p S_r^½, which can be found stably.
    value, vector = np.linalg.eigh(ref_cov)
    # Rounding makes the zero eigenvalues of few samples slightly negative.
    root = vector * np.sqrt(np.maximum(value, 0.0)) @ vector.T
    eigenvalues = np.linalg.eigvalsh(root @ pred_cov @ root)
    cross = np.sqrt(np.maximum(eigenvalues, 0.0)).sum()
    return {"fcd": float(mean @ mean + np.trace(pred_cov) + np.trace(ref_cov) - 2 * cross)}
