"""Statistics that outliers do not change."""

import numpy as np


def geman_mcclure(residual: np.ndarray) -> np.ndarray:
    """Returns the weights (1 + (r/c)²)⁻² of residuals, c = 1.5 of their median; all 1 where half of them are 0."""
    width = 1.5 * float(np.median(residual))
    return np.ones_like(residual) if width <= 1e-12 else (1 + (residual / width) ** 2) ** -2


def weighted_median(value_M: np.ndarray, weight_M: np.ndarray, share: float = 0.5) -> float:
    """Returns the value below which `share` of the weight lies; default the median."""
    order = np.argsort(value_M, kind="stable")
    below = np.cumsum(weight_M[order]) - 0.5 * weight_M[order]
    return float(np.interp(share * weight_M.sum(), below, value_M[order]))
