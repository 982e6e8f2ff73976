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
    pred_root, ref_root = _root(pred), _root(ref)
    # With S = RᵀR, S_r S_p has the eigenvalues of (R_r R_pᵀ)(R_r R_pᵀ)ᵀ, whose square roots are singular values. The
    # roots of eigenvalues would make rounding errors of 1e-16 to ones of 1e-8, each of them for many features.
    cross = np.linalg.svd(ref_root @ pred_root.T, compute_uv=False).sum()
    value = mean @ mean + (pred_root**2).sum() + (ref_root**2).sum() - 2 * cross
    # A distance that is zero may be rounded to a number below it.
    return {"fcd": max(0.0, float(value))}


def _root(feature_ND: np.ndarray) -> np.ndarray:
    """A matrix R [min(N, D), D] with RᵀR = the unbiased covariance [D, D]."""
    centred_ND = feature_ND - feature_ND.mean(0)
    return np.linalg.qr(centred_ND, mode="r") / np.sqrt(len(feature_ND) - 1)
