"""What matches say about cameras: the rotation between two pictures, the average of many, and whether poses fit them.

A camera that only turns needs no more than this.

Array axes: N pictures; P pairs of pictures; M matches of a pair.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from shotverse_jax.calibration.weights import geman_mcclure
from shotverse_jax.camera import se3

LEAST_MATCHES = 15
"""Matches without which a pair of pictures says nothing."""
TOLERANCE = 2.0
"""Pixels by which a match may miss the rotation of its pair."""
_ROUNDS = 20
_FOCAL_PAIRS = 12


class Pair(NamedTuple):
    """Two pictures and the unit rays [M, 3] of their matches, each in its own camera."""

    first: int
    second: int
    ray_M3: np.ndarray
    other_M3: np.ndarray


def rays(pixel_M2: np.ndarray, lens_4: np.ndarray) -> np.ndarray:
    """Returns unit vectors [M, 3] in the camera towards pixels, of a lens fx, fy, cx, cy."""
    ray_M3 = np.concatenate([(pixel_M2 - lens_4[2:]) / lens_4[:2], np.ones((len(pixel_M2), 1))], axis=1)
    return ray_M3 / np.linalg.norm(ray_M3, axis=1, keepdims=True)


def between(ray_M3: np.ndarray, other_M3: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rotation R [3, 3] with other ≈ R ray, outliers aside, and the angles [M] that are left, radians."""
    weight_M, rotation_33, angle_M = np.ones(len(ray_M3)), np.eye(3), np.zeros(len(ray_M3))
    for _ in range(_ROUNDS):
        rotation_33 = se3.project_to_so3(other_M3.T @ (weight_M[:, None] * ray_M3))
        angle_M = np.linalg.norm(other_M3 - ray_M3 @ rotation_33.T, axis=1)
        weight_M = geman_mcclure(angle_M)
    return rotation_33, angle_M


def average(count: int, edges: Sequence[tuple[int, int, np.ndarray, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Returns rotations that agree best with those between pairs, by reweighted least squares on the rotation group.

    Source: A. Chatterjee, V. M. Govindu, "Efficient and robust large-scale rotation averaging", ICCV 2013, with the
    weights of Geman and McClure.

    Args:
        count: number of pictures N.
        edges: (i, j, R, weight) of pairs, with R_j ≈ R R_i for world-to-camera rotations R_i, R_j.

    Returns:
        [N, 3, 3] world-to-camera rotations, and [N] bool: True for the largest set of pictures that edges connect, the
        first of which has the identity.
    """
    rotation_N33, group_N = _spread_out(count, edges)
    chosen = np.flatnonzero(group_N == np.bincount(group_N).argmax())
    place_N = np.full(count, -1)
    place_N[chosen] = np.arange(len(chosen))
    kept = [edge for edge in edges if place_N[edge[0]] >= 0 and place_N[edge[1]] >= 0]
    if len(chosen) > 1:
        i_P, j_P = (place_N[[edge[k] for edge in kept]] for k in (0, 1))
        between_P33, weight_P = np.stack([edge[2] for edge in kept]), np.array([edge[3] for edge in kept])
        rotation_N33[chosen] = _descend(rotation_N33[chosen], i_P, j_P, between_P33, weight_P)
    return rotation_N33 @ rotation_N33[chosen[0]].T, group_N == group_N[chosen[0]]


def _spread_out(count, edges) -> tuple[np.ndarray, np.ndarray]:
    """Rotations along the tree of the strongest edges, and the number of the connected set of every picture."""
    rotation_N33, group_N = np.tile(np.eye(3), (count, 1, 1)), np.arange(count)
    # Kruskal's tree: two sets that an edge connects become one, turned so that the edge holds.
    for i, j, turn_33, _ in sorted(edges, key=lambda edge: -edge[3]):
        if group_N[i] == group_N[j]:
            continue
        moved = group_N == group_N[j]
        rotation_N33[moved] = rotation_N33[moved] @ (rotation_N33[j].T @ turn_33 @ rotation_N33[i])
        group_N[moved] = group_N[i]
    return rotation_N33, group_N


def _descend(rotation_N33, i_P, j_P, between_P33, weight_P) -> np.ndarray:
    """Gauss-Newton steps: every picture's turn is the solution of one linear system, the graph's Laplacian."""
    count = len(rotation_N33)
    for turn in range(2 * _ROUNDS):
        error_P33 = rotation_N33[j_P].swapaxes(1, 2) @ between_P33 @ rotation_N33[i_P]
        error_P3 = se3.so3_log(error_P33)
        away_P = np.linalg.norm(error_P3, axis=1)
        # Sums of distances come first: they find the way from a bad start, where the median residual is no measure.
        w_P = weight_P * (1 / np.maximum(away_P, 1e-3) if turn < _ROUNDS else geman_mcclure(away_P))
        matrix_NN = np.zeros((count, count))
        np.add.at(matrix_NN, (i_P, i_P), w_P)
        np.add.at(matrix_NN, (j_P, j_P), w_P)
        np.add.at(matrix_NN, (i_P, j_P), -w_P)
        np.add.at(matrix_NN, (j_P, i_P), -w_P)
        pull_N3 = np.zeros((count, 3))
        np.add.at(pull_N3, j_P, w_P[:, None] * error_P3)
        np.add.at(pull_N3, i_P, -w_P[:, None] * error_P3)
        # The first picture keeps its rotation: the others have no unique one without it.
        step_N3 = np.zeros((count, 3))
        step_N3[1:] = np.linalg.lstsq(matrix_NN[1:, 1:], pull_N3[1:], rcond=None)[0]
        rotation_N33 = rotation_N33 @ se3.so3_exp(step_N3)
    return rotation_N33


def turned(pairs: Sequence[Pair], focal: float) -> tuple[list[tuple[int, int, np.ndarray, float]], np.ndarray]:
    """Returns edges for `average` of what only turned, and the share [P] of every pair's matches that a turn explains.

    focal: of the lens, pixels; a match is explained within `TOLERANCE` pixels.
    """
    edges, share_P = [], np.zeros(len(pairs))
    for p, pair in enumerate(pairs):
        rotation_33, angle_M = between(pair.ray_M3, pair.other_M3)
        good = int((angle_M * focal < TOLERANCE).sum())
        share_P[p] = good / len(angle_M)
        edges.append((pair.first, pair.second, rotation_33, float(good)))
    return edges, share_P


def focal(pairs: Sequence[Pair], start: float) -> tuple[float, bool]:
    """Returns the focal length in pixels with which turns explain most matches, and whether others explain fewer.

    Args:
        pairs: pictures of one lens, whose principal point is right.
        start: the focal length that the rays of the pairs were made with, pixels. Those from a third of it to four
            times it are tried; it is returned where they do as well.
    """

    def miss(value: float) -> float:
        """Mean of the median misses of the pairs, in pixels."""
        total = 0.0
        for pair in chosen:
            ray_M3, other_M3 = (_with_focal(rays_M3, value / start) for rays_M3 in (pair.ray_M3, pair.other_M3))
            turned_M3 = ray_M3 @ between(ray_M3, other_M3)[0].T
            # Angles by the focal length would be too small beside the middle of the picture, for short lenses most.
            pixel_M2, seen_M2 = (value * x_M3[:, :2] / np.maximum(x_M3[:, 2:], 1e-3) for x_M3 in (turned_M3, other_M3))
            total += float(np.median(np.linalg.norm(pixel_M2 - seen_M2, axis=1)))
        return total / len(chosen)

    # The widest turns say most about the lens; pairs that are alike say nothing.
    widest = sorted(pairs, key=lambda pair: -np.linalg.norm(pair.ray_M3 - pair.other_M3, axis=1).mean())
    chosen = widest[:_FOCAL_PAIRS]
    tried = start * np.geomspace(1 / 3, 4, 26)
    misses = np.array([miss(value) for value in tried])
    best = int(misses.argmin())
    low, high = tried[max(best - 1, 0)], tried[min(best + 1, len(tried) - 1)]
    for _ in range(12):  # golden section
        left, right = high - 0.618 * (high - low), low + 0.618 * (high - low)
        low, high = (low, right) if miss(left) < miss(right) else (left, high)
    sure = bool(np.median(misses) > max(2 * misses[best], 0.1))
    return (float((low + high) / 2), True) if sure else (start, False)


def _with_focal(ray_M3: np.ndarray, factor: float) -> np.ndarray:
    """The rays of a lens with a focal length longer by a factor."""
    ray_M3 = ray_M3 * [1, 1, factor]
    return ray_M3 / np.linalg.norm(ray_M3, axis=1, keepdims=True)


def explained(pair: Pair, pose_34: np.ndarray, other_34: np.ndarray, focal: float, near: float) -> float:
    """Returns the share of a pair's matches that two camera-to-world poses explain, within `TOLERANCE` pixels.

    A point that one camera sees is somewhere on its ray from the depth `near` to infinity; the other camera sees that
    part of the ray as an arc, and a match is explained if it is on it. The arc of a camera that only turned is a point.
    """
    turn_33 = other_34[:, :3].T @ pose_34[:, :3]
    far_M3 = pair.ray_M3 @ turn_33.T
    near_M3 = near * far_M3 + other_34[:, :3].T @ (pose_34[:, 3] - other_34[:, 3])
    near_M3 /= np.linalg.norm(near_M3, axis=1, keepdims=True)
    pole_M3 = np.cross(far_M3, near_M3)
    length_M = np.linalg.norm(pole_M3, axis=1)
    pole_M3 /= np.maximum(length_M, 1e-12)[:, None]
    q = pair.other_M3
    # Beyond its two ends the arc's great circle does not count.
    inside_M = ((np.cross(pole_M3, far_M3) * q).sum(1) > 0) & ((np.cross(near_M3, pole_M3) * q).sum(1) > 0)
    ends_M = np.minimum(np.linalg.norm(q - far_M3, axis=1), np.linalg.norm(q - near_M3, axis=1))
    miss_M = np.where(inside_M & (length_M > 1e-9), np.abs((pole_M3 * q).sum(1)), ends_M)
    return float((miss_M * focal < TOLERANCE).mean())
