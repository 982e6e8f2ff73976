"""The pose estimator gives rotations, learns to tell cameras apart and to say when it cannot."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from shotverse_jax.camera import se3
from shotverse_jax.config import PoseNetConfig
from shotverse_jax.models.pose_net import PoseNet
from shotverse_jax.train.tasks.pose_net import pose_loss, rotation_gap
from shotverse_jax.weights import abstract

NANO = PoseNetConfig(height=16, width=24, patch=4, channels=(8, 8), blocks=1, squeeze=4, hidden_size=16, unit=2.0)


@pytest.fixture(scope="module")
def network(drawn):
    return PoseNet(NANO), {"params": drawn(abstract("pose_net", NANO), 0)}


def poses(count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return se3.make(se3.so3_exp(rng.normal(size=(count, 3))), rng.normal(size=(count, 3))).astype(np.float32)


def test_poses_are_rigid(network):
    frames = jax.random.uniform(jax.random.key(1), (5, 16, 24, 3), minval=-1.0)
    pose, log_scale = network[0].apply(network[1], frames)
    assert pose.shape == (5, 3, 4) and log_scale.shape == (5, 2)
    r = np.asarray(pose[..., :3])
    np.testing.assert_allclose(r @ r.swapaxes(1, 2), np.tile(np.eye(3), (5, 1, 1)), atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(r), 1, atol=1e-5)


def test_gap_is_of_the_angle():
    a, b = poses(6), poses(12)[6:]
    angle = se3.rotation_angle(se3.relative(a.astype(float), b.astype(float))[..., :3])
    np.testing.assert_allclose(rotation_gap(jnp.asarray(a), jnp.asarray(b)), 2 * np.sin(angle / 2), atol=1e-4)


def test_loss_by_hand():
    true = poses(3)
    turned = se3.compose(true, se3.make(se3.so3_exp(np.array([0.0, 0.1, 0.0])), np.array([0.0, 0.0, 0.5])))
    turned = jnp.asarray(turned, jnp.float32)
    loss, metrics = pose_loss(turned, jnp.zeros((3, 2)), true, unit=2.0)
    assert float(metrics["rot_deg"]) == pytest.approx(np.degrees(0.1), rel=1e-3)
    assert float(metrics["position_m"]) == pytest.approx(0.5, rel=1e-3)
    assert float(loss) == pytest.approx(2 * np.sin(0.05) + 0.25, rel=1e-3)
    best = jnp.log(jnp.array([2 * np.sin(0.05), 0.25]))
    sure, _ = pose_loss(turned, jnp.tile(best, (3, 1)), true, unit=2.0)
    for shift in (-0.3, 0.3):
        assert float(pose_loss(turned, jnp.tile(best + shift, (3, 1)), true, unit=2.0)[0]) > float(sure)


def test_it_learns(network):
    net, variables = network
    frames, true = jax.random.uniform(jax.random.key(1), (4, 16, 24, 3), minval=-1.0), jnp.asarray(poses(4))
    optimizer = optax.adam(1e-2)

    def loss_of(variables):
        return pose_loss(*net.apply(variables, frames), true, NANO.unit)

    @jax.jit
    def step(variables, state):
        (_, metrics), grads = jax.value_and_grad(loss_of, has_aux=True)(variables)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(variables, updates), state, metrics

    state = optimizer.init(variables)
    before = loss_of(variables)[1]
    for _ in range(150):
        variables, state, metrics = step(variables, state)
    assert float(before["rot_deg"]) > 30
    assert float(metrics["rot_deg"]) < 10 and float(metrics["position_m"]) < 0.3
