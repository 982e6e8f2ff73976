"""Reversed and scaled motion: exact on paths whose answer is known, rigid and of the same start on any path."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shotverse_jax.camera import se3
from shotverse_jax.camera.motion_tags import dominant_motion, tag_shot
from shotverse_jax.evaluation.tracks.stage_plans import motion_parts
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.preference.contrast import reversed_motion, scaled_motion, with_shot

OPPOSITE = {"forward": "backward", "left": "right", "up": "down"}
OPPOSITE |= {other: one for one, other in OPPOSITE.items()}


def opposite(motion):
    first, _, last = motion.rpartition(" ")
    return f"{first} {OPPOSITE[last]}" if last in OPPOSITE else motion


def path(frames=49, move=(0.0, 0.0, 2.0), turn=(0.0, 0.6, 0.0)):
    share_T1 = np.linspace(0, 1, frames)[:, None]
    start_34 = se3.make(se3.so3_exp(np.array([0.1, -0.4, 0.2])), np.array([1.0, -1.5, 3.0]))
    return se3.compose(start_34, se3.make(se3.so3_exp(share_T1 * turn), share_T1 * move))


@pytest.mark.parametrize("seed", range(8))
def test_the_opposite_of_every_motion(seed):
    example = sample_example(seed, num_shots=1)
    before, after = (
        motion_parts(*dominant_motion(tag_shot(pose_T34)))
        for pose_T34 in (example.trajectory.pose_T34, reversed_motion(example.trajectory.pose_T34))
    )
    # A path along an arc that is mirrored also bends the other way, so its turn and not its place decides.
    if before and all(motion.split()[0] in ("move", "yaw", "pitch", "roll") for motion in before) and len(before) == 1:
        assert after == {opposite(motion) for motion in before}


def test_reversing_twice_is_nothing():
    pose_T34 = path()
    np.testing.assert_allclose(reversed_motion(reversed_motion(pose_T34)), pose_T34, atol=1e-12)


@pytest.mark.parametrize("amount", [0.5, 1.0, 1.5])
def test_scaled_motion_of_a_smooth_path(amount):
    pose_T34 = path()
    found = scaled_motion(pose_T34, amount)
    way, turn = (pose_T34[-1, :, 3] - pose_T34[0, :, 3], 0.6)
    # The average at the ends of a path holds it back a little, so only the middle is exactly scaled.
    np.testing.assert_allclose(
        found[24, :, 3] - found[0, :, 3], amount * (pose_T34[24, :, 3] - pose_T34[0, :, 3]), atol=0.15
    )
    assert np.linalg.norm(found[-1, :, 3] - found[0, :, 3]) == pytest.approx(amount * np.linalg.norm(way), rel=0.15)
    angle = se3.rotation_angle(found[0, :, :3].T @ found[-1, :, :3])
    assert angle == pytest.approx(amount * turn, rel=1e-6)


def test_more_motion_is_not_more_shake():
    rng, pose_T34 = np.random.default_rng(0), path(97)
    shake_T3 = 0.02 * rng.normal(size=(97, 3))
    pose_T34[:, :, 3] += shake_T3
    found = scaled_motion(pose_T34, 1.5)
    rough = [np.diff(each[:, :, 3], 2, axis=0).std() for each in (pose_T34, found)]
    assert rough[1] == pytest.approx(rough[0], rel=0.15)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.5, 0.8, 1.0, 1.5]))
def test_any_path(seed, amount):
    trajectory = sample_example(seed, num_shots=2).trajectory
    start, end = trajectory.spans[1]
    pose_T34 = trajectory.pose_T34[start:end]
    for found in (reversed_motion(pose_T34), scaled_motion(pose_T34, amount)):
        np.testing.assert_allclose(found[0], pose_T34[0], atol=1e-9)
        changed = with_shot(trajectory, 1, found)  # a trajectory checks that poses are rigid
        np.testing.assert_array_equal(changed.pose_T34[:start], trajectory.pose_T34[:start])
    if amount == 1.0:
        np.testing.assert_allclose(scaled_motion(pose_T34, 1.0), pose_T34, atol=1e-9)
