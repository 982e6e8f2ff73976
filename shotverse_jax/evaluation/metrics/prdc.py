"""Precision, recall, density and coverage of a set of generated features against real ones."""

import numpy as np


def prdc(
    pred: np.ndarray, ref: np.ndarray, mask: np.ndarray | None = None, *, k: int = 3, chunks: int = 5
) -> dict[str, float]:
    """Returns precision, recall, density and coverage by nearest neighbours, as GenDoP and E.T. report them.

    The ball of a feature reaches to its k-th neighbour in its own set; a point on the sphere is outside. Both sets are
    split, in order, into `chunks` parts, and each value is the mean over the parts.
    Source: GenDoP `evaluate/eval/src/metrics/modules/prdc.py`.

    Args:
        pred, ref: [N, D] features of generated and real samples, in the same order.
        mask: [N] bool, True where a sample counts; None (default) for all.
        k: number of the neighbour; default 3.
        chunks: number of parts; default 5.

    Returns:
        precision: share of generated features inside a real ball.
        recall: share of real features inside a generated ball.
        density: number of real balls around a generated feature, divided by k.
        coverage: share of real balls with a generated feature inside.
        recall_upstream: GenDoP's recall, to compare with published numbers. It applies the radius of the i-th generated
            feature to the distances from the i-th real one.

    Raises:
        ValueError: the shapes differ, or a part has no k-th neighbour.
    """
    pred, ref = _valid(pred, ref, mask)
    # The parts are those of torch.chunk in the original: all of one size, rounded up, and the last one shorter.
    size = max(1, -(-len(ref) // chunks))
    parts = [(pred[i : i + size], ref[i : i + size]) for i in range(0, len(ref), size)]
    smallest = min((len(part) for part, _ in parts), default=0)
    if smallest <= k:
        raise ValueError(
            f"{len(ref)} samples in {chunks} parts leave one of {smallest}, but the {k}-th neighbour needs {k + 1}; "
            "evaluate more samples or use fewer parts"
        )
    values = [_part(*part, k) for part in parts]
    return {name: float(np.mean([value[name] for value in values])) for name in values[0]}


def _valid(pred, ref, mask):
    pred, ref = np.asarray(pred, np.float64), np.asarray(ref, np.float64)
    if pred.shape != ref.shape or ref.ndim != 2:
        raise ValueError(f"features must be [N, D] and as many on both sides, got {pred.shape} against {ref.shape}")
    return (pred, ref) if mask is None else (pred[np.asarray(mask, bool)], ref[np.asarray(mask, bool)])


def _part(pred: np.ndarray, ref: np.ndarray, k: int) -> dict[str, float]:
    distance_RP = _distances(ref, pred)
    # A feature is its own nearest one, so the k-th neighbour is at index k.
    ref_radius = np.partition(_distances(ref, ref), k, axis=1)[:, k]
    pred_radius = np.partition(_distances(pred, pred), k, axis=1)[:, k]
    in_ref = distance_RP < ref_radius[:, None]
    return {
        "precision": in_ref.any(0).mean(),
        "recall": (distance_RP < pred_radius[None, :]).any(1).mean(),
        "density": in_ref.sum(0).mean() / k,
        "coverage": (distance_RP.min(1) < ref_radius).mean(),
        "recall_upstream": (distance_RP < pred_radius[:, None]).any(1).mean(),
    }


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    square = (a * a).sum(1)[:, None] + (b * b).sum(1)[None, :] - 2 * a @ b.T
    # Rounding makes the square of a tiny distance negative.
    return np.sqrt(np.maximum(square, 0.0))
