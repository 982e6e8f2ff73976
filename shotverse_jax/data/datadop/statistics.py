"""How far the cameras of a data set are from its subjects: the statistics of tokens around the subject (VERTIGO)."""

from collections.abc import Sequence

import numpy as np

from shotverse_jax.camera.tokens.gendop import GenDoPTokenizer
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.config import GenDoPTokenConfig

SHARE = 99.0
"""Percent of all values that are within mean ± scale."""
LEAST_SCALE = 1e-6
"""The scale of an axis along which nothing moves."""


def places_of(trajectory: Trajectory, subject_at_origin: bool = False) -> np.ndarray:
    """Returns the positions [30, 3] of a shot's poses around its subject, as tokens of "origin_global" have them.

    subject_at_origin: what a trajectory without a stage is, as `GenDoPTokenConfig.without_stage`; default refused.

    Raises:
        ValueError: there are several shots, or no stage.
    """
    known = "subject" if subject_at_origin else "refused"
    return GenDoPTokenizer(GenDoPTokenConfig(world="origin_global", without_stage=known)).places(trajectory)


def token_statistics(place_KT3: Sequence[np.ndarray]) -> dict[str, tuple[float, ...]]:
    """Returns the mean and scale of translations and anchors, as fields of `GenDoPTokenConfig`.

    The mean is that of the values between the 1st and the 99th percentile; 99 % of all values are within mean ± scale.
    VERTIGO calls its own robust p99 statistics, and has not published how they were computed.

    place_KT3: what `places_of` returns, of each shot.

    Raises:
        ValueError: there are no shots.
    """
    if not len(place_KT3):
        raise ValueError("there are no shots to take statistics of")
    place_KT3 = np.asarray(place_KT3)
    anchor_K3 = place_KT3[:, 0]
    values = {"translation": (place_KT3 - anchor_K3[:, None]).reshape(-1, 3), "anchor": anchor_K3}
    found = {}
    for name, value_N3 in values.items():
        mean_3, scale_3 = zip(*map(_robust, value_N3.T), strict=True)
        found |= {f"{name}_mean": mean_3, f"{name}_scale": scale_3}
    return found


def _robust(value_N: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(value_N, (100 - SHARE, SHARE))
    mean = value_N[(low <= value_N) & (value_N <= high)].mean()
    return float(mean), max(float(np.percentile(np.abs(value_N - mean), SHARE)), LEAST_SCALE)
