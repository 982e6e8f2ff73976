"""Rigid-motion algebra against SciPy and its own inverses, in NumPy and in JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from shotverse_jax.camera import se3

seeds = st.integers(0, 2**31 - 1)


def random_poses(seed, shape=(5,)):
    rng = np.random.default_rng(seed)
    return se3.make(se3.so3_exp(rng.normal(size=(*shape, 3)) * 2), rng.normal(size=(*shape, 3)))


@given(seeds)
def test_rotations_agree_with_scipy(seed):
    w = np.random.default_rng(seed).normal(size=(20, 3)) * 1.5
    expected = Rotation.from_rotvec(w)
    r = se3.so3_exp(w)
    np.testing.assert_allclose(r, expected.as_matrix(), atol=1e-12)
    np.testing.assert_allclose(se3.so3_log(r), expected.as_rotvec(), atol=1e-9)
    q = se3.rotation_to_quaternion(r)
    xyzw = expected.as_quat(canonical=True)
    np.testing.assert_allclose(q, xyzw[:, [3, 0, 1, 2]], atol=1e-9)
    np.testing.assert_allclose(se3.quaternion_to_rotation(3.7 * q), r, atol=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_half_turns(axis):
    w = np.zeros((1, 3))
    w[0, axis] = np.pi
    with np.errstate(all="raise"):
        log = se3.so3_log(se3.so3_exp(w))
    np.testing.assert_allclose(np.abs(log), w, atol=1e-6)


@given(seeds)
def test_inverse_compose_and_points(seed):
    a, b = random_poses(seed), random_poses(seed + 1)
    np.testing.assert_allclose(se3.compose(a, se3.inverse(a)), se3.identity((5,)), atol=1e-12)
    np.testing.assert_allclose(se3.compose(a, se3.relative(a, b)), b, atol=1e-12)
    np.testing.assert_allclose(se3.to_44(se3.compose(a, b)), se3.to_44(a) @ se3.to_44(b), atol=1e-12)
    points = np.random.default_rng(seed).normal(size=(5, 3))
    there = se3.transform_points(a, points)
    np.testing.assert_allclose(se3.transform_points(se3.inverse(a), there), points, atol=1e-12)


@given(seeds, st.floats(0, 1))
def test_interpolation_follows_the_geodesic(seed, fraction):
    a, b = random_poses(seed, (2,))
    middle = se3.interpolate(a, b, fraction)
    expected = Slerp([0, 1], Rotation.from_matrix([a[:, :3], b[:, :3]]))(fraction).as_matrix()
    np.testing.assert_allclose(middle[:, :3], expected, atol=1e-7)
    np.testing.assert_allclose(middle[:, 3], (1 - fraction) * a[:, 3] + fraction * b[:, 3], atol=1e-12)


def test_resample_hits_the_given_poses_and_clamps():
    poses = random_poses(3, (4,))
    np.testing.assert_allclose(
        se3.resample(poses, np.array([-1.0, 0, 1, 2, 3, 9])), poses[[0, 0, 1, 2, 3, 3]], atol=1e-12
    )
    np.testing.assert_array_equal(se3.resample(poses[:1], np.array([0.0, 0.5])), poses[[0, 0]])


@given(seeds)
def test_projection_gives_the_nearest_rotation(seed):
    noise = np.random.default_rng(seed).normal(size=(3, 3, 3)) * 0.05
    r = random_poses(seed, (3,))[:, :, :3]
    nearest = se3.project_to_so3(r + noise)
    np.testing.assert_allclose(nearest @ nearest.swapaxes(1, 2), np.broadcast_to(np.eye(3), (3, 3, 3)), atol=1e-12)
    assert (np.linalg.det(nearest) > 0).all()
    assert (np.linalg.norm(nearest - r - noise, axis=(1, 2)) <= np.linalg.norm(noise, axis=(1, 2)) + 1e-12).all()


def test_look_at_puts_the_target_on_the_axis_and_keeps_the_horizon():
    eye, target = np.array([1.0, -1.6, 3.0]), np.array([0.0, -1.0, 0.0])
    pose = se3.look_at(eye, target)
    seen = se3.transform_points(se3.inverse(pose), target)
    np.testing.assert_allclose(seen, [0, 0, np.linalg.norm(target - eye)], atol=1e-12)
    assert abs(pose[1, 0]) < 1e-12, "the right axis is level"
    assert pose[1, 1] > 0, "image down points down"
    assert np.linalg.det(pose[:, :3]) == pytest.approx(1)


def test_flip_yz_is_its_own_inverse_and_mirrors_nothing():
    poses = random_poses(1)
    np.testing.assert_array_equal(se3.flip_yz(se3.flip_yz(poses)), poses)
    assert (np.linalg.det(se3.flip_yz(poses)[:, :, :3]) > 0).all()


def test_jax_agrees_with_numpy_and_differentiates():
    poses = random_poses(7).astype(np.float32)
    np.testing.assert_allclose(jax.jit(se3.inverse)(jnp.asarray(poses)), se3.inverse(poses), atol=1e-5)
    w = jnp.asarray([0.3, -0.2, 0.9])
    jacobian = jax.jit(jax.jacobian(lambda w: se3.so3_log(se3.so3_exp(w))))
    np.testing.assert_allclose(jacobian(w), np.eye(3), atol=1e-4)
    for degenerate in (jnp.zeros(3), jnp.asarray([1e-5, 0, 0])):
        np.testing.assert_allclose(jacobian(degenerate), np.eye(3), atol=1e-3)
