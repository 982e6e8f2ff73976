"""Poses as files hold them, with rounding, scale and left-handed worlds, made rigid."""

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats.options import ReadOptions
from shotverse_jax.camera.formats.record import Reading
from shotverse_jax.camera.trajectory import RIGID_TOLERANCE

QUATERNION_TOLERANCE = 0.01
"""Distance of a quaternion's norm from 1 that is rounding in the text."""
QUATERNION_MENDED = 0.1
"""Distance of a quaternion's norm from 1 up to which it is normalised, with a note, whatever the option tolerance."""
UPSIDE_DOWN = 0.98
"""A first quaternion whose x is above this is a camera upside down, up to 23 degrees."""
LARGEST_SCALE = 1e6
"""Matrices of a larger scale are not camera poses, and their squares leave the range of numbers."""


def matrices(reading: Reading, options: ReadOptions, notes: list[str]) -> np.ndarray:
    """Returns the poses [T, 3, 4] as the file has them, with those of quaternions; lost poses hold NaN.

    Raises:
        ValueError: a quaternion's norm is further from 1 than the tolerance, or the option quaternion is given for a
            file without quaternions.
    """
    if reading.quaternion_T4 is None:
        if options.quaternion is not None:
            raise ValueError("the option quaternion does not go with this file, which holds no quaternions")
        return np.array(reading.pose_T34, np.float64)
    order = options.quaternion or reading.quaternion_order
    q_T4 = np.asarray(reading.quaternion_T4, np.float64)
    q_T4 = q_T4 if order == "wxyz" else q_T4[:, [3, 0, 1, 2]]
    with np.errstate(over="ignore", invalid="ignore"):
        # A huge entry squares to infinity, and an infinite norm is refused below.
        norm = np.sqrt((q_T4 * q_T4).sum(-1))
    # Trackers that have lost the camera write zeros or NaN.
    lost = (norm == 0) | np.isnan(norm)
    error = np.where(lost, 0, np.abs(norm - 1))
    if not error.max() < max(QUATERNION_MENDED, options.tolerance):
        worst = int(np.argmax(error))
        raise ValueError(
            f"pose {worst}: its quaternion has norm {norm[worst]:.4g}, expected 1"
            + (f"; the option tolerance={_round_up(error[worst])} reads it" if error[worst] < 1 else "")
        )
    if error.max() >= QUATERNION_TOLERANCE:
        notes.append(f"quaternions with norms up to {error.max():.2g} away from 1 were normalised")
    first = q_T4[np.argmin(lost)]
    if order == "xyzw" and options.quaternion is None and abs(first[1]) > UPSIDE_DOWN:
        notes.append(
            f"the first quaternion is {' '.join(f'{value:.3g}' for value in first[[1, 2, 3, 0]])}, which read as "
            "x y z w is a camera upside down; if the file writes the real part first, --read quaternion=wxyz reads it"
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        rotation = se3.quaternion_to_rotation(np.where(lost[:, None], np.nan, q_T4))
    return se3.make(rotation, np.asarray(reading.position_T3, np.float64))


def camera_to_world(
    pose_T34: np.ndarray, world_to_camera: bool, lost_T: np.ndarray, options: ReadOptions, notes: list[str]
) -> np.ndarray:
    """Returns exact camera-to-world poses [T, 3, 4] of matrices that are rigid but for rounding, scale or a mirror.

    A uniform scale is divided out: of the rotation alone in a camera-to-world matrix, where it is the camera's own
    size, and of the whole matrix in a world-to-camera one, whose projection it does not change. Lost poses stay NaN.

    Raises:
        ValueError: a pose is a reflection, or further from a rotation than the tolerance.
    """
    pose_T34 = np.where(lost_T[:, None, None], np.eye(3, 4), pose_T34)
    if (np.abs(pose_T34[:, :, :3]).max((1, 2)) > LARGEST_SCALE).any():
        worst = int(np.argmax(np.abs(pose_T34[:, :, :3]).max((1, 2))))
        raise ValueError(f"pose {worst} is not rigid: its rotation has huge entries")
    pose_T34 = _unmirrored(pose_T34, world_to_camera, lost_T, options, notes)
    m_T33 = pose_T34[:, :, :3]
    gram_T33 = m_T33 @ m_T33.swapaxes(1, 2)
    scale_T = np.sqrt(np.trace(gram_T33, axis1=1, axis2=2) / 3)
    with np.errstate(divide="ignore", invalid="ignore"):
        shape_T = np.abs(gram_T33 / scale_T[:, None, None] ** 2 - np.eye(3)).max((1, 2))
        whole_T = np.abs(gram_T33 - np.eye(3)).max((1, 2))
    scaled_T = (whole_T > options.tolerance) & (shape_T <= options.tolerance) & (scale_T > 1 / LARGEST_SCALE)
    divisor_T = np.where(scaled_T, scale_T, 1.0)
    if scaled_T.any():
        low, high = (f"{value:.6g}" for value in (scale_T[scaled_T].min(), scale_T[scaled_T].max()))
        size = low if low == high else f"{low} to {high}"
        notes.append(f"the matrices have a uniform scale of {size}, which was divided out")
    m_T33 = m_T33 / divisor_T[:, None, None]
    error_T = np.abs(m_T33 @ m_T33.swapaxes(1, 2) - np.eye(3)).max((1, 2))
    _check(m_T33, error_T, options)
    rotation_T33 = se3.project_to_so3(m_T33)
    if error_T.max() > RIGID_TOLERANCE:
        angle = np.degrees(np.arcsin(min(np.abs(m_T33 - rotation_T33).max(), 1)))
        notes.append(f"matrices up to {error_T.max():.2g} off were replaced by the nearest rotations, by {angle:.2g}°")
    shift_T3 = pose_T34[:, :, 3] / (divisor_T[:, None] if world_to_camera else 1)
    pose_T34 = se3.make(rotation_T33, shift_T3)
    pose_T34 = se3.inverse(pose_T34) if world_to_camera else pose_T34
    return np.where(lost_T[:, None, None], np.nan, pose_T34)


def _check(m_T33: np.ndarray, error_T: np.ndarray, options: ReadOptions) -> None:
    mirrored = (np.linalg.det(m_T33) < 0) & (error_T <= options.tolerance)
    if mirrored.any():
        raise ValueError(f"pose {int(np.argmax(mirrored))} is a reflection (determinant -1), not a rotation")
    if not error_T.max() <= options.tolerance:
        worst = int(np.argmax(error_T))
        more = ""
        if error_T[worst] < 0.5:
            more = f"; the option tolerance={_round_up(error_T[worst])} reads it as the nearest rotation"
        raise ValueError(f"pose {worst} is not rigid: its rotation is off by {error_T[worst]:.3g}{more}")


def _round_up(error: float) -> str:
    """An error with two digits, rounded up, as a tolerance that just accepts it."""
    unit = 10.0 ** (np.floor(np.log10(error)) - 1)
    return f"{np.ceil(error / unit * 1.0001) * unit:.2g}"


def _unmirrored(
    pose_T34: np.ndarray, world_to_camera: bool, lost_T: np.ndarray, options: ReadOptions, notes: list[str]
) -> np.ndarray:
    """Mirrors a left-handed world's x axis, if the options say so; the motions seen from the camera stay."""
    determinant = np.linalg.det(pose_T34[:, :, :3])
    # Only a whole film of reflections is a left-handed world. A single one is a damaged pose, which is refused later.
    if not (determinant[~lost_T] < 0).all():
        if options.mirror_world:
            notes.append("mirror_world changed nothing: the poses are no reflections")
        return pose_T34
    if not options.mirror_world:
        if (np.abs(determinant[~lost_T] + 1) > 0.5).any():
            return pose_T34
        raise ValueError(
            "every pose is a reflection (determinant -1): the file's world is left-handed; the option "
            "mirror_world=true reads it as its mirror image, with the same motions as seen from the camera"
        )
    # The world's x axis is column 0 of a world-to-camera matrix, and row 0 of a camera-to-world one.
    return pose_T34 * (np.array([-1.0, 1, 1, 1]) if world_to_camera else np.array([[-1.0], [1.0], [1.0]]))
