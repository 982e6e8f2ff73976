"""Rigid-motion algebra on arrays of 3x4 poses [R | t].

A pose maps points of its own frame to its parent frame: x_parent = R x + t (camera-to-world for a camera).
Every function is batched over leading axes and takes NumPy or JAX arrays: NumPy in gives NumPy out in the input's
precision (float64 for files and tags), JAX in gives JAX out, jittable and differentiable.
"""

import sys

import numpy as np


def _np(*arrays):
    """Returns the array module for the inputs: jax.numpy when one of them is a JAX array or tracer, else numpy.

    JAX takes seconds to import. A JAX array can only come from a caller that has imported it, so it is looked up among
    the loaded modules, and programs that only read files or tags do not load it.
    """
    jax = sys.modules.get("jax")
    return jax.numpy if jax and any(isinstance(a, jax.Array) for a in arrays) else np


def make(rotation_33, translation_3):
    """Returns the pose [..., 3, 4] of a rotation [..., 3, 3] and a translation [..., 3]."""
    xp = _np(rotation_33, translation_3)
    return xp.concatenate([rotation_33, translation_3[..., None]], axis=-1)


def identity(shape=(), dtype=np.float64):
    """Returns identity poses as a NumPy array of shape [*shape, 3, 4]."""
    return np.broadcast_to(np.eye(3, 4, dtype=dtype), (*shape, 3, 4)).copy()


def compose(a_34, b_34):
    """Returns a ∘ b, which applies b first and then a. Both are [..., 3, 4] and broadcast together."""
    r_a, t_a = a_34[..., :3], a_34[..., 3]
    r_b, t_b = b_34[..., :3], b_34[..., 3]
    rotation = r_a @ r_b
    translation = (r_a @ t_b[..., None])[..., 0] + t_a
    return make(rotation, translation)


def inverse(pose_34):
    """Returns the inverse of a rigid pose [..., 3, 4]; its rotation is transposed, not inverted."""
    xp = _np(pose_34)
    rotation = xp.swapaxes(pose_34[..., :3], -1, -2)
    return make(rotation, -(rotation @ pose_34[..., 3:])[..., 0])


def relative(a_34, b_34):
    """Returns the pose of b seen from a, inverse(a) ∘ b."""
    return compose(inverse(a_34), b_34)


def transform_points(pose_34, points_3):
    """Applies poses [..., 3, 4] to points [..., 3]."""
    return (pose_34[..., :3] @ points_3[..., None])[..., 0] + pose_34[..., 3]


def to_44(pose_34):
    """Returns poses [..., 3, 4] as homogeneous matrices [..., 4, 4]."""
    xp = _np(pose_34)
    row = xp.broadcast_to(xp.asarray([0.0, 0.0, 0.0, 1.0], dtype=pose_34.dtype), (*pose_34.shape[:-2], 1, 4))
    return xp.concatenate([pose_34, row], axis=-2)


def flip_yz(pose_34):
    """Changes camera axes from OpenCV (x right, y down, z forward) to OpenGL (x right, y up, z back), or back.

    The world stays as it is.
    """
    xp = _np(pose_34)
    # The factors act on columns, which changes the camera's axes and not the world's. Two axes change sign together, so
    # the result is still a rotation and not a mirror image.
    return pose_34 * xp.asarray([1.0, -1.0, -1.0, 1.0], dtype=pose_34.dtype)


def quaternion_to_rotation(q_wxyz):
    """Returns the rotation [..., 3, 3] of a quaternion [..., 4], real part first, of any norm but zero."""
    xp = _np(q_wxyz)
    w, x, y, z = (q_wxyz[..., i] for i in range(4))
    # The division by |q|² takes the norm out: quaternions that were read back from coarse tokens need no normalisation.
    s = 2.0 / (q_wxyz * q_wxyz).sum(-1)
    rows = [
        [1 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w)],
        [s * (x * y + z * w), 1 - s * (x * x + z * z), s * (y * z - x * w)],
        [s * (x * z - y * w), s * (y * z + x * w), 1 - s * (x * x + y * y)],
    ]
    return xp.stack([xp.stack(row, axis=-1) for row in rows], axis=-2)


def rotation_to_quaternion(r_33):
    """Returns the unit quaternion [..., 4] of a rotation [..., 3, 3]; its real part is first and not negative."""
    xp = _np(r_33)
    m00, m11, m22 = r_33[..., 0, 0], r_33[..., 1, 1], r_33[..., 2, 2]
    # Squared components times four. Dividing by the square root of the largest one avoids small divisors, so all four
    # solutions are computed and the best is taken.
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
    # q and -q are one rotation. The one with a real part of at least 0 has the angle of at most pi that `so3_log`
    # promises.
    return xp.where(q[..., :1] < 0, -q, q)


def so3_exp(w_3):
    """Returns the rotation [..., 3, 3] of a rotation vector [..., 3] in radians (Rodrigues). Differentiable at zero."""
    xp = _np(w_3)
    square = (w_3 * w_3).sum(-1)
    # sin(a)/a and (1-cos a)/a² are 0/0 at zero: their series replace them. The division gets a harmless value there,
    # because a NaN in the branch that is not taken would still reach the gradient.
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
    """Returns the rotation vector [..., 3] of a rotation [..., 3, 3], in radians, with an angle in [0, pi]."""
    xp = _np(r_33)
    q = rotation_to_quaternion(r_33)
    vector = q[..., 1:]
    square = (vector * vector).sum(-1, keepdims=True)
    small = square < 1e-16
    # Both branches of a `where` are differentiated, so each gets a divisor that is not zero where the other one is
    # chosen.
    norm = xp.sqrt(xp.where(small, 1.0, square))
    near_one = xp.where(small, q[..., :1], 1.0)
    # arctan2 is accurate for all angles; the arccosine of the trace loses half of the digits near 0 and near pi.
    return vector * xp.where(small, 2.0 / near_one, 2.0 * xp.arctan2(norm, q[..., :1]) / norm)


def project_to_so3(m_33):
    """Returns the rotation nearest to any [..., 3, 3] matrix in the Frobenius norm (SVD, determinant fixed to +1)."""
    xp = _np(m_33)
    u, _, vt = xp.linalg.svd(m_33)
    # The nearest orthogonal matrix may be a reflection. Turning the axis of the smallest singular value, which is the
    # last one, changes the matrix least.
    sign = xp.sign(xp.linalg.det(u @ vt))
    fix = xp.stack([xp.ones_like(sign), xp.ones_like(sign), sign], axis=-1)
    return (u * fix[..., None, :]) @ vt


def rotation_angle(r_33):
    """Returns the angle [...] of a rotation [..., 3, 3] in radians; it is accurate near zero."""
    xp = _np(r_33)
    return xp.sqrt((so3_log(r_33) ** 2).sum(-1))


def interpolate(a_34, b_34, fraction):
    """Returns poses between two poses: translations change linearly, rotations along the geodesic.

    `fraction` is 0 at `a_34` and 1 at `b_34`; it broadcasts over their leading axes.
    """
    xp = _np(a_34, b_34, fraction)
    f = xp.asarray(fraction)
    # A weighted mean of two rotation matrices is no rotation; a part of the turn between them is one.
    rotation = a_34[..., :3] @ so3_exp(f[..., None] * so3_log(xp.swapaxes(a_34[..., :3], -1, -2) @ b_34[..., :3]))
    translation = (1 - f[..., None]) * a_34[..., 3] + f[..., None] * b_34[..., 3]
    return make(rotation, translation)


def resample(pose_T34, u):
    """Returns poses [N, 3, 4] of a path [T, 3, 4] at fractional indices `u` [N], by `interpolate`.

    Indices outside [0, T-1] get the pose at that end.
    """
    xp = _np(pose_T34, u)
    last = pose_T34.shape[0] - 1
    if last == 0:
        return xp.repeat(pose_T34, len(u), axis=0)
    # The last pose ends the last interval and begins none, hence last - 1.
    left = xp.clip(xp.floor(u).astype(int), 0, last - 1)
    return interpolate(pose_T34[left], pose_T34[left + 1], xp.clip(u - left, 0.0, 1.0))


def resample_whole(paths, frames):
    """Returns the poses [N, frames, 3, 4] of N paths [T, 3, 4], each at evenly spaced places over its whole length.

    The paths are NumPy arrays and may differ in length; all are resampled at once.
    """
    last_N = np.array([len(pose_T34) - 1 for pose_T34 in paths])
    place_NF = np.linspace(0.0, last_N.astype(float), frames, axis=1)
    left_NF = np.clip(np.floor(place_NF).astype(int), 0, np.maximum(last_N - 1, 0)[:, None])
    # The paths lie one after the other; a path of one pose is between that pose and itself.
    first_N1 = np.cumsum([0, *(last_N[:-1] + 1)])[:, None]
    all_34 = np.concatenate(paths)
    right_NF = first_N1 + np.minimum(left_NF + 1, last_N[:, None])
    return interpolate(all_34[first_N1 + left_NF], all_34[right_NF], np.clip(place_NF - left_NF, 0.0, 1.0))


def look_at(eye_3, target_3, down_3=None):
    """Returns the camera-to-world pose (OpenCV axes) of a camera at `eye_3` that looks at `target_3`.

    `down_3` is the world direction that points down in the image; None (default) means +y.
    """
    xp = _np(eye_3, target_3)
    down = xp.asarray([0.0, 1.0, 0.0], dtype=eye_3.dtype) if down_3 is None else down_3
    forward = target_3 - eye_3
    forward = forward / xp.sqrt((forward * forward).sum(-1, keepdims=True))
    # In OpenCV's axes down × forward = right; the other order of the product would mirror the image.
    right = xp.cross(xp.broadcast_to(down, forward.shape), forward)
    right = right / xp.sqrt((right * right).sum(-1, keepdims=True))
    return make(xp.stack([right, xp.cross(forward, right), forward], axis=-1), eye_3)
