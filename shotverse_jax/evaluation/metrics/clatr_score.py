"""CLaTr score: how well a trajectory's latent agrees with its text's."""

import numpy as np


def clatr_score(pred: np.ndarray, ref: np.ndarray, mask: np.ndarray | None = None) -> dict[str, float]:
    """Returns 100 times the mean cosine of paired latents, at least 0 ("CLaTr-CLIP" in GenDoP's paper).

    Source: GenDoP `evaluate/eval/src/metrics/modules/clatr_score.py`.

    Args:
        pred: [N, D] latents of trajectories.
        ref: [N, D] latents of their texts.
        mask: [N] bool, True where a pair counts; None (default) for all.

    Returns:
        clatr_score.

    Raises:
        ValueError: the shapes differ, no pair counts, or a latent is zero.
    """
    pred, ref = np.asarray(pred, np.float64), np.asarray(ref, np.float64)
    if pred.shape != ref.shape or ref.ndim != 2:
        raise ValueError(f"latents must be pairs [N, D], got {pred.shape} against {ref.shape}")
    if mask is not None:
        pred, ref = pred[np.asarray(mask, bool)], ref[np.asarray(mask, bool)]
    if not len(ref):
        raise ValueError("no pair of latents to compare")
    norms = np.linalg.norm(pred, axis=1) * np.linalg.norm(ref, axis=1)
    if not norms.all():
        raise ValueError(f"pair {int(np.argmin(norms))} holds a latent of zeros, which has no direction")
    # GenDoP clips the mean and not each pair: this is where the zeros in its tables come from.
    return {"clatr_score": max(0.0, 100.0 * float(np.mean((pred * ref).sum(1) / norms)))}
