"""The similarity that brings the reconstruction of one shot into the world of the reconstruction of all shots.

Both reconstructions hold the cameras of the shot's *anchors*: frames that were given to both. `paper` is ShotVerse's
Algorithm 2 as printed; its scale is the ratio of the ways from the first to the last anchor, which says nothing about
a camera that stands, pans or comes back. `robust` takes the scale from the depths that both measured at one pixel.

Formulas, for anchors i with local poses (R_i, c_i) and global poses (Q_i, g_i): a similarity (s, R, t) has
g ≈ s R c + t and Q ≈ R R_i. It is applied to a pose as (R R_i, s R c_i + t): a pose that were multiplied by [sR | t]
would carry the scale in its rotation.

Array axes: N anchors; M points that both reconstructions measured.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from shotverse_jax.calibration.reconstruction import LEAST_POINTS, Reconstruction, shared
from shotverse_jax.calibration.weights import geman_mcclure, weighted_median
from shotverse_jax.camera import se3
from shotverse_jax.camera.similarity import similarity

METHODS = ("robust", "paper", "points")
"""`robust` is the default; `points` is Umeyama's similarity of shared points, reweighted, which needs no poses."""
EPSILON = 1e-6
"""The least way that a scale is divided by, in sizes of the scene."""
STILL = 0.02
"""A camera stands still that moves by less than this share of the scene's size: its way shows no scale."""
ROUNDS = 15
"""Rounds of reweighting; the scale of the residuals is found anew in each."""


class Similarity(NamedTuple):
    """A map of points x to s R x + t."""

    scale: float
    rotation_33: np.ndarray
    translation_3: np.ndarray

    def points(self, point_3: np.ndarray) -> np.ndarray:
        """Returns points [..., 3] in the other world."""
        return self.scale * point_3 @ self.rotation_33.T + self.translation_3

    def poses(self, pose_34: np.ndarray) -> np.ndarray:
        """Returns camera-to-world poses [..., 3, 4] in the other world; they stay rigid."""
        return se3.make(self.rotation_33 @ pose_34[..., :3], self.points(pose_34[..., 3]))

    def after(self, first: "Similarity") -> "Similarity":
        """Returns the map that applies `first` and then this one."""
        rotation = self.rotation_33 @ first.rotation_33
        return Similarity(self.scale * first.scale, rotation, self.points(first.translation_3))

    def inverse(self) -> "Similarity":
        """Returns the map back."""
        back = self.rotation_33.T
        return Similarity(1 / self.scale, back, -(back @ self.translation_3) / self.scale)


IDENTITY = Similarity(1.0, np.eye(3), np.zeros(3))


@dataclasses.dataclass(frozen=True, eq=False)
class Alignment:
    """How a shot was brought into the common world, and how well it fits.

    Attributes:
        similarity: from the shot's own world to the common one.
        method: where the scale is from: "depth ratio", "points", "centres", "displacement" (`paper`) or "none" for a
            camera that stands still, whose scale does not matter.
        rotation_deg_N: [N] angle between the aligned and the common rotation of every anchor.
        center_N: [N] distance between the aligned and the common centre of every anchor, in sizes of the scene.
        ratio_iqr: distance between the quartiles of the depth ratios over their median; nan without shared points.
        shared: number of points that both measured.
    """

    similarity: Similarity
    method: str
    rotation_deg_N: np.ndarray
    center_N: np.ndarray
    ratio_iqr: float
    shared: int


def align(local: Reconstruction, world: Reconstruction, anchors: np.ndarray, method: str = "robust") -> Alignment:
    """Returns the alignment of a shot's reconstruction.

    Args:
        local: the reconstruction of the shot by itself.
        world: the reconstruction of all shots.
        anchors: frames of the film that both were given; those that one of them did not register are left out.
        method: one of `METHODS`; "points" is "robust" where too few points are shared.

    Raises:
        ValueError: no anchor was registered in both, or the method is unknown.
    """
    anchors = world.found(local.found(anchors))
    if not len(anchors):
        raise ValueError("no anchor of the shot is registered in both reconstructions")
    if method not in METHODS:
        raise ValueError(f'the alignments are {", ".join(METHODS)}, got "{method}"')
    pose_N34, goal_N34 = local.poses(anchors), world.poses(anchors)
    mine, theirs = shared(local.points, world.points, anchors)
    mine, theirs = local.points[mine], world.points[theirs]
    ratio_M, weight_M = theirs.depth_M / mine.depth_M, np.sqrt(mine.weight_M * theirs.weight_M)
    enough = len(ratio_M) >= LEAST_POINTS
    if method == "paper":
        fit, source = paper(pose_N34, goal_N34, world.size), "displacement"
    elif method == "points" and enough:
        fit, source = by_points(local.world(mine), world.world(theirs), weight_M), "points"
    else:
        fit, source = robust(pose_N34, goal_N34, ratio_M if enough else None, weight_M, local.size)
    moved_N34 = fit.poses(pose_N34)
    return Alignment(
        similarity=fit,
        method=source,
        rotation_deg_N=np.degrees(se3.rotation_angle(se3.relative(moved_N34, goal_N34)[..., :3])),
        center_N=np.linalg.norm(moved_N34[:, :, 3] - goal_N34[:, :, 3], axis=1) / max(world.size, 1e-12),
        ratio_iqr=_spread(ratio_M, weight_M) if enough else float("nan"),
        shared=len(ratio_M),
    )


def paper(pose_N34: np.ndarray, goal_N34: np.ndarray, size: float = 1.0) -> Similarity:
    """Returns the similarity of ShotVerse's Algorithm 2.

    Its scale is d_global / max(d_local, ε), the ways from the first to the last anchor; R and t then minimise
    Σ ‖[Q_i | g_i] - [R R_i | s R c_i + t]‖², in which rotations and translations have the same weight. Three things are
    not printed and chosen here: the scale multiplies the local centres, T is a rigid motion, and ε is `EPSILON` of the
    scene.

    Args:
        pose_N34, goal_N34: local and global poses of the anchors, in their order in time.
        size: size of the common scene; default 1.
    """
    center_N3, goal_N3 = pose_N34[:, :, 3], goal_N34[:, :, 3]
    way, goal = (float(np.linalg.norm(path[-1] - path[0])) for path in (center_N3, goal_N3))
    least = EPSILON * size
    # Where nothing moves and nothing has a depth, all sizes are 0 and no scale is wrong.
    scale = goal / max(way, least) if max(way, least) > 0 else 1.0
    # The best t takes one mean to the other; what is left is linear in R, and its best R is the rotation nearest to M.
    centered_N3 = scale * (center_N3 - center_N3.mean(0))
    matrix_33 = np.einsum("nij,nkj->ik", goal_N34[:, :, :3], pose_N34[:, :, :3])
    matrix_33 += (goal_N3 - goal_N3.mean(0)).T @ centered_N3
    rotation_33 = se3.project_to_so3(matrix_33)
    return Similarity(scale, rotation_33, goal_N3.mean(0) - scale * rotation_33 @ center_N3.mean(0))


def robust(
    pose_N34: np.ndarray, goal_N34: np.ndarray, ratio_M: np.ndarray | None, weight_M: np.ndarray | None, size: float
) -> tuple[Similarity, str]:
    """Returns a similarity that exists for every camera motion, and where its scale is from.

    The rotation is the chordal mean of Q_i R_iᵀ, reweighted so that single bad anchors do not count. The scale is the
    weighted median of depth ratios, else the ratio of the spreads of the centres, else 1 where the camera stands still.
    The translation is the median of g_i - s R c_i.

    Args:
        pose_N34, goal_N34: local and global poses of the anchors, in any order.
        ratio_M, weight_M: ratios of the depths, common by local, and their weights; None where there are too few.
        size: size of the local scene.
    """
    rotation_33 = chordal_mean(goal_N34[:, :, :3] @ pose_N34[:, :, :3].swapaxes(1, 2))
    turned_N3, goal_N3 = pose_N34[:, :, 3] @ rotation_33.T, goal_N34[:, :, 3]
    if ratio_M is not None:
        scale, source = weighted_median(ratio_M, weight_M), "depth ratio"
    else:
        spread, goal = (float(np.sqrt(((x - x.mean(0)) ** 2).sum(1).mean())) for x in (turned_N3, goal_N3))
        moves = spread > STILL * size
        scale, source = (goal / spread, "centres") if moves else (1.0, "none")
    return Similarity(scale, rotation_33, np.median(goal_N3 - scale * turned_N3, axis=0)), source


def chordal_mean(rotation_N33: np.ndarray) -> np.ndarray:
    """Returns the rotation [3, 3] nearest to several, in which outliers lose their weight."""
    weight_N, mean = np.ones(len(rotation_N33)), np.eye(3)
    for _ in range(ROUNDS):
        mean = se3.project_to_so3(np.einsum("n,nij->ij", weight_N, rotation_N33))
        away_N = np.linalg.norm(rotation_N33 - mean, axis=(1, 2))
        weight_N = geman_mcclure(away_N)
    return mean


def by_points(local_M3: np.ndarray, world_M3: np.ndarray, weight_M: np.ndarray) -> Similarity:
    """Returns the similarity of points alone, by Umeyama's formula with the weights of Geman and McClure."""
    w_M, fit = weight_M, IDENTITY
    for _ in range(ROUNDS):
        fit = Similarity(*similarity(local_M3, world_M3, w_M))
        w_M = weight_M * geman_mcclure(np.linalg.norm(fit.points(local_M3) - world_M3, axis=1))
    return fit


def _spread(ratio_M: np.ndarray, weight_M: np.ndarray) -> float:
    low, middle, high = (weighted_median(ratio_M, weight_M, share) for share in (0.25, 0.5, 0.75))
    return (high - low) / middle
