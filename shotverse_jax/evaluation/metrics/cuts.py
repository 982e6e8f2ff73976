"""Cuts of a film: how they are found in its pixels, and how they are compared with those that were asked for."""

from collections.abc import Callable, Sequence

import numpy as np

Cuts = Sequence[Sequence[int]]
"""For each film, the first frames of its second and later shots, ascending."""

LEAST_FRAMES = 4
"""Frames of the shortest shot: of two cuts that are nearer to each other, the more certain one counts."""
WEIGHTS = (4.99, -3.23, -2.04, 0.6, 0.88, 2.6, -0.89, -0.12, -0.76, 0.09, 1.09)
"""Weights of a logistic regression on `cut_features`, the bias last. `fit_weights` found them on training clips 0 to
499 of the stage (`film_clip`) and on blurred copies of these. The bias is moved so that the threshold 0 has the best
F1."""


def find_cuts(video_THWC: np.ndarray) -> list[int]:
    """Returns the frames that begin a new shot, ascending.

    A cut is a change of the picture and of its colours that is larger than the changes before and after it. A fast pan
    is therefore no cut, and a cut between two similar views is not found.

    Args:
        video_THWC: [T, H, W, 3] uint8, at least 32 rows; the weights were fitted to small films.
    """
    if len(video_THWC) < 2 * LEAST_FRAMES:
        return []
    return cuts_of_odds(cut_odds(*changes(video_THWC)))


def cut_odds(difference_C: np.ndarray, color_difference_C: np.ndarray) -> np.ndarray:
    """Returns the log-odds [T - 1] of a cut before every frame but the first, from the `changes` of T > 2 frames."""
    return cut_features(difference_C, color_difference_C) @ np.array(WEIGHTS[:-1]) + WEIGHTS[-1]


def cuts_of_odds(odds_C: np.ndarray) -> list[int]:
    """Returns the frames that begin a new shot, ascending, from the log-odds [T - 1] of `cut_odds`."""
    # The most certain cut first; the film's two ends count as cuts, so that no shot at an end is too short.
    found = [0, len(odds_C) + 1]
    for frame in np.argsort(-odds_C) + 1:
        if odds_C[frame - 1] > 0 and all(abs(frame - other) >= LEAST_FRAMES for other in found):
            found.append(int(frame))
    return sorted(found)[1:-1]


def changes(video_THWC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns how much pixels and colours change between neighbouring frames, [T - 1] each.

    The first is the mean difference of pixels (0 to 1) of about 16 rows, the second the distance of the colour
    histograms (0 to 2) of about 32 rows.
    """
    x = video_THWC.astype(np.float32) / 255
    return _difference(pooled(x, 16)), _color_difference(pooled(x, 32))


def cut_features(difference_C: np.ndarray, color_difference_C: np.ndarray) -> np.ndarray:
    """Returns features [T - 1, 10] of the `changes` between neighbouring frames of a film of T > 2 frames.

    There are five features for each of the two measures: the logarithm of the change; the larger and the smaller of the
    two changes next to it; the larger and the smaller of the two changes after those.
    """
    columns = []
    # The floors keep the logarithm finite where nothing changes from one frame to the next.
    for change_C, floor in ((difference_C, 0.004), (color_difference_C, 0.02)):
        log_C = np.log(change_C + floor)
        columns.append(log_C)
        for reach in (1, 2):
            near_2C = np.arange(len(log_C)) + np.array([[-reach], [reach]])
            outside_2C = (near_2C < 0) | (near_2C >= len(log_C))
            near_2C = log_C[np.where(outside_2C, near_2C[::-1], near_2C)]  # the neighbour that is there stands for both
            columns += [near_2C.max(0), near_2C.min(0)]
    return np.stack(columns, axis=1)


def fit_weights(features_NF: np.ndarray, is_cut_N: np.ndarray, ridge: float = 1e-4) -> np.ndarray:
    """Fits a logistic regression by Newton's method.

    Args:
        features_NF: [N, F] features.
        is_cut_N: [N] 1 for a cut, else 0.
        ridge: penalty on the squared weights, per sample; default 1e-4.

    Returns:
        [F + 1] weights, the bias last.
    """
    x = np.concatenate([features_NF, np.ones((len(features_NF), 1))], axis=1)
    weights = np.zeros(x.shape[1])
    # The loss is convex and Newton's method gets near its least value in a few steps; 30 leave plenty of room.
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ weights))
        penalty = ridge * len(x) * np.eye(len(weights))
        weights -= np.linalg.solve((x.T * (p * (1 - p))) @ x + penalty, x.T @ (p - is_cut_N) + penalty @ weights)
    return weights


def pooled(x: np.ndarray, rows: int) -> np.ndarray:
    """Means over squares of pixels that leave about `rows` rows; pixels that do not fill a square are dropped."""
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
    """Returns the F1 of the cuts of all films together.

    A cut is right when it is within `tolerance` frames of one that was asked for; every cut is matched at most once.
    Without any cuts, asked or found, the value is 1.

    Args:
        found: cuts found in each film.
        true: cuts asked for in each film.
        tolerance: frames; default 2.
    """
    films = list(zip(found, true, strict=True))
    # A pair that does not match costs 2 (one missed, one extra): F1 = 1 - cost / (found + asked).
    wrong = sum(_cost(f, t, lambda gap: 0.0 if gap <= tolerance else np.inf, 1.0) for f, t in films)
    every = sum(len(f) + len(t) for f, t in films)
    return 1 - wrong / every if every else 1.0


def shot_cut_accuracy(found: Cuts, true: Cuts, frames: Sequence[int]) -> float:
    """Returns the shot cut accuracy (SCA) of HoloCine, the mean over films of exp(-NSD).

    The normalised shot discrepancy NSD is the sum of the distances between matched cuts, in frames, and of penalties
    for missed and extra cuts, divided by the length of the film. The paper does not say how large a penalty is; here it
    is the mean length of a shot that was asked for, and cuts are matched in order with the least sum.
    Source: HoloCine, arXiv 2510.20822, appendix A.1.

    Args:
        found: cuts found in each film.
        true: cuts asked for in each film.
        frames: length of each film in frames.
    """
    films = zip(found, true, frames, strict=True)
    return float(np.mean([np.exp(-_cost(f, t, float, count / (len(t) + 1)) / count) for f, t, count in films]))


def _cost(found: Sequence[int], true: Sequence[int], pair: Callable[[int], float], single: float) -> float:
    """The least cost of matching two ascending lists in order: `pair(gap)` for a match, `single` for any other cut.

    Dynamic programming, as in the edit distance: `row[j]` is the least cost for the first i found and j true cuts.
    """
    row = [single * j for j in range(len(true) + 1)]
    for i, f in enumerate(found, start=1):
        above, row = row, [single * i]
        for j, t in enumerate(true, start=1):
            row.append(min(above[j - 1] + pair(abs(f - t)), above[j] + single, row[j - 1] + single))
    return row[-1]
