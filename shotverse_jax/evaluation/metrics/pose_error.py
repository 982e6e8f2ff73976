"""How far a camera path is from a reference, within each shot and between shots."""

import itertools

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.similarity import similarity
from shotverse_jax.camera.trajectory import Trajectory

STILL = 1e-3
"""A path shorter than this fraction of the scene's extent stands still: no scale can be fitted to it."""


def pose_error(pred: Trajectory, ref: Trajectory, mask: np.ndarray | None = None) -> dict[str, float]:
    """Returns the pose errors of one scene. Papers mean different things by "RotErr"; each name here says its meaning.

    The world frames of both paths do not matter, nor does the scale of `pred`. One scale is fitted for the whole scene,
    by least squares over the cameras relative to the first camera of their shot; a scale per shot would hide errors
    between shots. Lengths are divided by the reference's extent, its largest distance from the first camera.

    Args:
        pred, ref: the two paths, with the same shots and frames.
        mask: [T] bool, True for frames whose predicted pose is known (a reconstruction may lose some); None (default)
            for all. The first known frame of a shot is its anchor; shots without one are left out.

    Returns:
        rot_deg_mean: angle in degrees between poses relative to the first of their shot, mean over frames.
        trans_rel_mean: distance between translations relative to the first pose of their shot, mean over frames; nan
            when the reference stands still.
        xshot_rot_deg, xshot_trans_rel: angle and distance between the relative poses of the first cameras of two shots,
            mean over pairs of shots; nan for a single shot. Only these two show whether the shots share one world. When
            either path stands still within all its shots, the scale is fitted to the first cameras instead; with fewer
            than three shots it then means little.
        ate_rmse: root mean square distance between cameras after the best similarity over the scene, in units of the
            reference.
        static_shots: number of shots whose reference stands still.
        coverage: fraction of frames that counted.

    Raises:
        ValueError: the paths have other frames or cuts, or the mask keeps no frame.
    """
    if len(pred) != len(ref) or pred.spans != ref.spans:
        raise ValueError(f"both paths need the same shots, got {pred.spans} against {ref.spans}")
    mask = np.ones(len(ref), bool) if mask is None else np.asarray(mask, bool)
    if mask.shape != (len(ref),) or not mask.any():
        raise ValueError(f"the mask must be [{len(ref)}] and keep a frame, got {mask.shape} with {mask.sum()} kept")
    shots = [np.flatnonzero(mask & (ref.shot_T == k)) for k in range(ref.num_shots)]
    shots = [frames for frames in shots if len(frames)]
    p_in, r_in = (_within(path.pose_T34, shots) for path in (pred, ref))
    p_x, r_x = (_between(path.pose_T34, shots) for path in (pred, ref))
    extent = _extent(ref.pose_T34[mask])
    still = [_is_still(ref.pose_T34[frames], extent) for frames in shots]
    pred_still = all(_is_still(pred.pose_T34[frames], _extent(pred.pose_T34[mask])) for frames in shots)
    # A camera that stands still within its shots shows no scale there; then only the ways between the shots do.
    scale = _fit_scale(p_x, r_x) if all(still) or pred_still else _fit_scale(p_in, r_in)
    return {
        "rot_deg_mean": _rotation_error(p_in, r_in),
        "trans_rel_mean": float("nan") if all(still) else _translation_error(p_in, r_in, scale, extent),
        "xshot_rot_deg": _rotation_error(p_x, r_x),
        "xshot_trans_rel": _translation_error(p_x, r_x, scale, extent),
        "ate_rmse": _ate(pred.pose_T34[mask, :, 3], ref.pose_T34[mask, :, 3]),
        "static_shots": float(sum(still)),
        "coverage": float(mask.mean()),
    }


def _within(pose_T34: np.ndarray, shots: list[np.ndarray]) -> np.ndarray:
    """Poses relative to the first of their shot, the shots one after the other."""
    return np.concatenate([se3.relative(pose_T34[frames[0]], pose_T34[frames]) for frames in shots])


def _between(pose_T34: np.ndarray, shots: list[np.ndarray]) -> np.ndarray:
    """Relative poses of the first cameras of every pair of shots, [pairs, 3, 4]."""
    first = [pose_T34[frames[0]] for frames in shots]
    return np.reshape([se3.relative(a, b) for a, b in itertools.combinations(first, 2)], (-1, 3, 4))


def _extent(pose_T34: np.ndarray) -> float:
    return float(np.linalg.norm(pose_T34[:, :, 3] - pose_T34[0, :, 3], axis=1).max())


def _is_still(pose_T34: np.ndarray, scene_extent: float) -> bool:
    # The length of the way counts and not the distance between its ends, which is 0 for a loop.
    length = np.linalg.norm(np.diff(pose_T34[:, :, 3], axis=0), axis=1).sum()
    return bool(length <= STILL * scene_extent)


def _fit_scale(pred_34: np.ndarray, ref_34: np.ndarray) -> float:
    """Factor on `pred` with the least squared distance, at least 0: a negative one would turn the path around."""
    square = (pred_34[:, :, 3] ** 2).sum()
    return max(0.0, float((pred_34[:, :, 3] * ref_34[:, :, 3]).sum() / square)) if square > 0 else 0.0


def _rotation_error(pred_34: np.ndarray, ref_34: np.ndarray) -> float:
    if not len(ref_34):
        return float("nan")
    return float(np.degrees(se3.rotation_angle(se3.relative(pred_34, ref_34)[..., :3])).mean())


def _translation_error(pred_34: np.ndarray, ref_34: np.ndarray, scale: float, extent: float) -> float:
    if not len(ref_34) or extent == 0:
        return float("nan")
    return float(np.linalg.norm(scale * pred_34[:, :, 3] - ref_34[:, :, 3], axis=1).mean() / extent)


def _ate(pred_N3: np.ndarray, ref_N3: np.ndarray) -> float:
    scale, rotation, translation = similarity(pred_N3, ref_N3)
    aligned = scale * pred_N3 @ rotation.T + translation
    return float(np.sqrt(((aligned - ref_N3) ** 2).sum(1).mean()))
