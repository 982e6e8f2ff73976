"""Alignment of two sets of points by a similarity: scale, rotation and translation."""

import numpy as np


def similarity(
    source_N3: np.ndarray, target_N3: np.ndarray, weight_N: np.ndarray | None = None
) -> tuple[float, np.ndarray, np.ndarray]:
    """Returns the similarity that brings one set of points nearest to another in the least-squares sense.

    Source: S. Umeyama, "Least-squares estimation of transformation parameters between two point patterns", 1991.

    Args:
        source_N3: [N, 3] points x.
        target_N3: [N, 3] points y, in the same order.
        weight_N: [N] weights w, at least one positive; None (default) weighs all alike.

    Returns:
        scale s, rotation R [3, 3] and translation t [3] that minimise Σ w |s R x + t - y|². s is 1 when all x are one
        point. R is never a reflection.
    """
    weight_N = np.full(len(source_N3), 1.0) if weight_N is None else weight_N
    source_mean, target_mean = weight_N @ source_N3 / weight_N.sum(), weight_N @ target_N3 / weight_N.sum()
    # The best translation takes one mean to the other, so scale and rotation are found on centred points.
    source, target = source_N3 - source_mean, target_N3 - target_mean
    u, d, vt = np.linalg.svd(target.T @ (weight_N[:, None] * source))
    # The best orthogonal matrix may be a reflection; turning the weakest axis around gives the best rotation.
    sign = np.asarray([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * sign) @ vt
    # Points without spread fit every scale equally well; 1 leaves the unit as it is.
    spread = weight_N @ (source**2).sum(1)
    scale = float((d * sign).sum() / spread) if spread > 0 else 1.0
    return scale, rotation, target_mean - scale * rotation @ source_mean
