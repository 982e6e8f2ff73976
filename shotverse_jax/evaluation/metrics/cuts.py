"""Cuts of a film: found in its pixels, and compared with those that were asked for."""

from collections.abc import Callable, Sequence

import numpy as np

Cuts = Sequence[Sequence[int]]
"""Of each film, the frames that begin its second and later shots, ascending."""

LEAST_FRAMES = 4
"""No shot is shorter: of cuts nearer to each other the surest counts."""
WEIGHTS = (4.99, -3.23, -2.04, 0.6, 0.88, 2.6, -0.89, -0.12, -0.76, 0.09, 1.09)
"""Logistic regression on `cut_features`, the bias last: `fit_weights` of training clips 0 to 499 of the stage
(`film_clip`) and of the same clips softened. The bias is moved so that 0 gives the best F1 there."""


def find_cuts(video_THWC: np.ndarray) -> list[int]:
    """Frames that begin a new shot, ascending. video_THWC: [T, H, W, 3] uint8, at least 32 rows; made for small films.

    A cut is a change of the picture and of its colours that stands out from those before and after it; so a fast pan is
    none, and a cut between two like views cannot be found.
    """
    if len(video_THWC) < 2 * LEAST_FRAMES:
        return []
    odds_C = cut_features(video_THWC) @ np.array(WEIGHTS[:-1]) + WEIGHTS[-1]
    found = [0, len(video_THWC)]
    for frame in np.argsort(-odds_C) + 1:
        if odds_C[frame - 1] > 0 and all(abs(frame - other) >= LEAST_FRAMES for other in found):
            found.append(int(frame))
    return sorted(found)[1:-1]


def cut_features(video_THWC: np.ndarray) -> np.ndarray:
    """[T - 1, 10] of the changes between neighbouring frames, T > 2: of each of two measures the log, and the larger
    and the smaller of the two changes next to it, and of the two after those."""
    x = video_THWC.astype(np.float32) / 255
    measures = _difference(_pooled(x, 16)), _color_difference(_pooled(x, 32))
    columns = []
    for change_C, floor in zip(measures, (0.004, 0.02), strict=True):
        log_C = np.log(change_C + floor)
        columns.append(log_C)
        for reach in (1, 2):
            near_2C = np.arange(len(log_C)) + np.array([[-reach], [reach]])
            outside_2C = (near_2C < 0) | (near_2C >= len(log_C))
            near_2C = log_C[np.where(outside_2C, near_2C[::-1], near_2C)]  # the neighbour that is there stands for both
            columns += [near_2C.max(0), near_2C.min(0)]
    return np.stack(columns, axis=1)


def fit_weights(features_NF: np.ndarray, is_cut_N: np.ndarray, ridge: float = 1e-4) -> np.ndarray:
    """[F + 1] weights of a logistic regression, the bias last, by Newton's method; `WEIGHTS` come from here."""
    x = np.concatenate([features_NF, np.ones((len(features_NF), 1))], axis=1)
    weights = np.zeros(x.shape[1])
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ weights))
        penalty = ridge * len(x) * np.eye(len(weights))
        weights -= np.linalg.solve((x.T * (p * (1 - p))) @ x + penalty, x.T @ (p - is_cut_N) + penalty @ weights)
    return weights


def _pooled(x: np.ndarray, rows: int) -> np.ndarray:
    """Means over squares of pixels, so that about `rows` rows are left; what does not fill a square is cut off."""
    size = max(x.shape[1] // rows, 1)
    height, width = x.shape[1] // size, x.shape[2] // size
    x = x[:, : height * size, : width * size]
    return x.reshape(len(x), height, size, width, size, 3).mean((2, 4))


def _difference(x: np.ndarray) -> np.ndarray:
    return np.abs(np.diff(x, axis=0)).mean((1, 2, 3))


def _color_difference(x: np.ndarray, levels: int = 6) -> np.ndarray:
    """Total variation distance, times two, of the colour histograms of neighbouring frames, from 0 to 2."""
    level_THWC = np.minimum((x * levels).astype(int), levels - 1)
    color_TP = (level_THWC @ np.array([levels**2, levels, 1])).reshape(len(x), -1)
    share_TN = np.stack([np.bincount(row, minlength=levels**3) for row in color_TP]) / color_TP.shape[1]
    return np.abs(np.diff(share_TN, axis=0)).sum(1)


def cut_f1(found: Cuts, true: Cuts, tolerance: int = 2) -> float:
    """F1 of the cuts of all films together: one is right within `tolerance` frames of one that was asked for.

    Every cut is matched once at most. 1 when there was nothing to find and nothing was found.
    """
    films = list(zip(found, true, strict=True))
    wrong = sum(_cost(f, t, lambda gap: 0.0 if gap <= tolerance else np.inf, 1.0) for f, t in films)
    every = sum(len(f) + len(t) for f, t in films)
    return 1 - wrong / every if every else 1.0


def shot_cut_accuracy(found: Cuts, true: Cuts, frames: Sequence[int]) -> float:
    """SCA of HoloCine (arXiv 2510.20822, A.1), mean over films: exp(-NSD), NSD the normalised shot discrepancy.

    NSD = (frames between matched cuts + penalties for missed and extra ones) / length of the film. The paper does not
    say how large a penalty is; here it is the mean length of a shot that was asked for, and cuts are matched in order
    so that the sum is least.

    Args:
        frames: length of each film.
    """
    films = zip(found, true, frames, strict=True)
    return float(np.mean([np.exp(-_cost(f, t, float, count / (len(t) + 1)) / count) for f, t, count in films]))


def _cost(found: Sequence[int], true: Sequence[int], pair: Callable[[int], float], single: float) -> float:
    """The least cost of matching two ascending lists in order: `pair` of the gap for a match, `single` for the rest."""
    row = [single * j for j in range(len(true) + 1)]
    for i, f in enumerate(found, start=1):
        above, row = row, [single * i]
        for j, t in enumerate(true, start=1):
            row.append(min(above[j - 1] + pair(abs(f - t)), above[j] + single, row[j - 1] + single))
    return row[-1]
