"""Rigid-motion algebra on arrays of 3x4 poses [R | t].

A pose maps points of its own frame to its parent frame: x_parent = R x + t (camera-to-world for a camera).
Every function is batched over leading axes and takes NumPy or JAX arrays: NumPy in gives NumPy out in the input's
precision (float64 for files and tags), JAX in gives JAX out, jittable and differentiable.
"""

import sys

import numpy as np


def _np(*arrays):
    """The array module of the inputs: jax.numpy as soon as one of them is a JAX array or tracer.

    JAX takes seconds to import, and who has a JAX array has done so: files and tags do without.
    """
    jax = sys.modules.get("jax")
    return jax.numpy if jax and any(isinstance(a, jax.Array) for a in arrays) else np


def make(rotation_33, translation_3):
    """[..., 3, 3] rotation and [..., 3] translation → [..., 3, 4] pose."""
    xp = _np(rotation_33, translation_3)
    return xp.concatenate([rotation_33, translation_3[..., None]], axis=-1)


def identity(shape=(), dtype=np.float64):
    """Identity poses, shape [*shape, 3, 4], NumPy."""
    return np.broadcast_to(np.eye(3, 4, dtype=dtype), (*shape, 3, 4)).copy()


def compose(a_34, b_34):
    """a ∘ b: apply b first, then a. Both [..., 3, 4], broadcast together."""
    r_a, t_a = a_34[..., :3], a_34[..., 3]
    r_b, t_b = b_34[..., :3], b_34[..., 3]
    rotation = r_a @ r_b
    translation = (r_a @ t_b[..., None])[..., 0] + t_a
    return make(rotation, translation)


def inverse(pose_34):
    """Inverse of a rigid pose, by transpose."""
    xp = _np(pose_34)
    rotation = xp.swapaxes(pose_34[..., :3], -1, -2)
    return make(rotation, -(rotation @ pose_34[..., 3:])[..., 0])


def relative(a_34, b_34):
    """Pose of b seen from a: inverse(a) ∘ b."""
    return compose(inverse(a_34), b_34)


def transform_points(pose_34, points_3):
    """Apply poses [..., 3, 4] to points [..., 3]."""
    return (pose_34[..., :3] @ points_3[..., None])[..., 0] + pose_34[..., 3]


def to_44(pose_34):
    """[..., 3, 4] → homogeneous [..., 4, 4]."""
    xp = _np(pose_34)
    row = xp.broadcast_to(xp.asarray([0.0, 0.0, 0.0, 1.0], dtype=pose_34.dtype), (*pose_34.shape[:-2], 1, 4))
    return xp.concatenate([pose_34, row], axis=-2)


def flip_yz(pose_34):
    """Camera axes OpenCV (x right, y down, z forward) ↔ OpenGL (x right, y up, z back). The world is untouched."""
    xp = _np(pose_34)
    return pose_34 * xp.asarray([1.0, -1.0, -1.0, 1.0], dtype=pose_34.dtype)


def quaternion_to_rotation(q_wxyz):
    """Quaternion [..., 4], real part first, any norm but zero → rotation [..., 3, 3]."""
    xp = _np(q_wxyz)
    w, x, y, z = (q_wxyz[..., i] for i in range(4))
    s = 2.0 / (q_wxyz * q_wxyz).sum(-1)
    rows = [
        [1 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w)],
        [s * (x * y + z * w), 1 - s * (x * x + z * z), s * (y * z - x * w)],
        [s * (x * z - y * w), s * (y * z + x * w), 1 - s * (x * x + y * y)],
    ]
    return xp.stack([xp.stack(row, axis=-1) for row in rows], axis=-2)


def rotation_to_quaternion(r_33):
    """Rotation [..., 3, 3] → unit quaternion [..., 4], real part first and non-negative."""
    xp = _np(r_33)
    m00, m11, m22 = r_33[..., 0, 0], r_33[..., 1, 1], r_33[..., 2, 2]
    # Squared components times four; the largest one is the safe divisor.
    squares = xp.stack([1 + m00 + m11 + m22, 1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22], axis=-1)
    a = r_33[..., 2, 1] - r_33[..., 1, 2]
    b = r_33[..., 0, 2] - r_33[..., 2, 0]
    c = r_33[..., 1, 0] - r_33[..., 0, 1]
    d = r_33[..., 1, 0] + r_33[..., 0, 1]
    e = r_33[..., 0, 2] + r_33[..., 2, 0]
    f = r_33[..., 2, 1] + r_33[..., 1, 2]
    candidates = xp.stack(
        [
            xp.stack([squares[..., 0], a, b, c], axis=-1),
            xp.stack([a, squares[..., 1], d, e], axis=-1),
            xp.stack([b, d, squares[..., 2], f], axis=-1),
            xp.stack([c, e, f, squares[..., 3]], axis=-1),
        ],
        axis=-2,
    )
    best = xp.argmax(squares, axis=-1)
    q = xp.take_along_axis(candidates, best[..., None, None], axis=-2)[..., 0, :]
    q = q / xp.sqrt((q * q).sum(-1, keepdims=True))
    return xp.where(q[..., :1] < 0, -q, q)


def so3_exp(w_3):
    """Rotation vector [..., 3] in radians → rotation [..., 3, 3] (Rodrigues), differentiable at zero."""
    xp = _np(w_3)
    square = (w_3 * w_3).sum(-1)
    small = square < 1e-8
    safe = xp.where(small, 1.0, square)
    angle = xp.sqrt(safe)
    a = xp.where(small, 1 - square / 6, xp.sin(angle) / angle)[..., None, None]
    b = xp.where(small, 0.5 - square / 24, (1 - xp.cos(angle)) / safe)[..., None, None]
    zero = xp.zeros_like(square)
    x, y, z = w_3[..., 0], w_3[..., 1], w_3[..., 2]
    rows = [[zero, -z, y], [z, zero, -x], [-y, x, zero]]
    k = xp.stack([xp.stack(row, axis=-1) for row in rows], axis=-2)
    return xp.eye(3, dtype=w_3.dtype) + a * k + b * (k @ k)


def so3_log(r_33):
    """Rotation [..., 3, 3] → rotation vector [..., 3] in radians, angle in [0, pi]."""
    xp = _np(r_33)
    q = rotation_to_quaternion(r_33)
    vector = q[..., 1:]
    square = (vector * vector).sum(-1, keepdims=True)
    small = square < 1e-16
    norm = xp.sqrt(xp.where(small, 1.0, square))
    near_one = xp.where(small, q[..., :1], 1.0)
    return vector * xp.where(small, 2.0 / near_one, 2.0 * xp.arctan2(norm, q[..., :1]) / norm)


def project_to_so3(m_33):
    """Nearest rotation to any [..., 3, 3] matrix in the Frobenius norm (SVD, determinant fixed to +1)."""
    xp = _np(m_33)
    u, _, vt = xp.linalg.svd(m_33)
    sign = xp.sign(xp.linalg.det(u @ vt))
    fix = xp.stack([xp.ones_like(sign), xp.ones_like(sign), sign], axis=-1)
    return (u * fix[..., None, :]) @ vt


def rotation_angle(r_33):
    """Geodesic angle of a rotation, radians; accurate near zero (planner evaluation uses it in degrees)."""
    xp = _np(r_33)
    return xp.sqrt((so3_log(r_33) ** 2).sum(-1))


def interpolate(a_34, b_34, fraction):
    """Between two poses: translation linear, rotation along the geodesic. `fraction` in [0, 1] broadcasts over them."""
    xp = _np(a_34, b_34, fraction)
    f = xp.asarray(fraction)
    rotation = a_34[..., :3] @ so3_exp(f[..., None] * so3_log(xp.swapaxes(a_34[..., :3], -1, -2) @ b_34[..., :3]))
    translation = (1 - f[..., None]) * a_34[..., 3] + f[..., None] * b_34[..., 3]
    return make(rotation, translation)


def resample(pose_T34, u):
    """Poses at fractional indices `u` [N] in [0, T-1] along the first axis, by `interpolate` (clamped at the ends)."""
    xp = _np(pose_T34, u)
    last = pose_T34.shape[0] - 1
    if last == 0:
        return xp.repeat(pose_T34, len(u), axis=0)
    left = xp.clip(xp.floor(u).astype(int), 0, last - 1)
    return interpolate(pose_T34[left], pose_T34[left + 1], xp.clip(u - left, 0.0, 1.0))


def look_at(eye_3, target_3, down_3=None):
    """OpenCV camera-to-world pose at `eye` looking at `target`, image down along `down` (world +y by default)."""
    xp = _np(eye_3, target_3)
    down = xp.asarray([0.0, 1.0, 0.0], dtype=eye_3.dtype) if down_3 is None else down_3
    forward = target_3 - eye_3
    forward = forward / xp.sqrt((forward * forward).sum(-1, keepdims=True))
    right = xp.cross(xp.broadcast_to(down, forward.shape), forward)
    right = right / xp.sqrt((right * right).sum(-1, keepdims=True))
    return make(xp.stack([right, xp.cross(forward, right), forward], axis=-1), eye_3)
