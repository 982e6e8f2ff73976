"""Rotations from matches, and matches that cameras explain."""

import numpy as np
import pytest

from shotverse_jax.calibration import rotations
from shotverse_jax.calibration.rotations import Pair
from shotverse_jax.camera import se3

FOCAL = 500.0


def directions(point_N3, pose_34):
    local = se3.transform_points(se3.inverse(pose_34), point_N3)
    return local / np.linalg.norm(local, axis=1, keepdims=True)


def cloud(rng, count=200):
    return rng.uniform([-3, -2, 3], [3, 2, 8], (count, 3))


def test_the_turn_between_two_pictures():
    rng = np.random.default_rng(0)
    truth, ray = se3.so3_exp(np.array([0.1, -0.4, 0.2])), directions(cloud(rng), se3.identity())
    other = ray @ truth.T
    other[:60] = directions(cloud(rng, 60), se3.identity())  # three tenths of the matches are wrong
    got, angle = rotations.between(ray, other)
    assert se3.rotation_angle(got.T @ truth) < 1e-6
    assert (angle[60:] < 1e-6).all() and np.median(angle[:60]) > 0.1


def test_averages_ignore_wrong_edges_and_name_what_is_apart():
    rng, count = np.random.default_rng(1), 24
    truth = se3.so3_exp(np.cumsum(rng.normal(size=(count, 3)) * 0.1, axis=0))
    edges = []
    for i in range(count):
        for j in range(i + 1, min(count, i + 6)):
            wrong = rng.random() < 0.15
            noise = se3.so3_exp(rng.normal(size=3) * (1.0 if wrong else 1e-3))
            edges.append((i, j, truth[j] @ truth[i].T @ noise, rng.uniform(50, 100)))
    got, joined = rotations.average(count + 2, [*edges, (count, count + 1, np.eye(3), 500.0)])
    assert joined.tolist() == [True] * count + [False] * 2
    error = se3.rotation_angle((got[:count] @ truth[0]).swapaxes(1, 2) @ truth)
    assert np.degrees(error.max()) < 0.3
    np.testing.assert_allclose(got[0], np.eye(3), atol=1e-12)


def pair(pose_34, other_34, point_N3):
    return Pair(0, 1, directions(point_N3, pose_34), directions(point_N3, other_34))


@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (1.0, 0.0, 0.2), (0.0, 0.0, 1.5)], ids=["pan", "truck", "dolly"])
def test_cameras_explain_their_own_matches_alone(shift):
    point, here = cloud(np.random.default_rng(2)), se3.identity()
    there = se3.make(se3.so3_exp(np.array([0.0, 0.15, 0.0])), np.array(shift))
    seen = pair(here, there, point)
    assert rotations.explained(seen, here, there, FOCAL, near=0.3) == 1
    askew = se3.make(se3.so3_exp(np.array([0.05, 0.15, 0.0])), np.array(shift))
    assert rotations.explained(seen, here, askew, FOCAL, near=0.3) < 0.2
    # The way is reversed: the points would have to be behind the cameras.
    if any(shift):
        back = se3.make(there[:, :3], -there[:, 3])
        assert rotations.explained(seen, here, back, FOCAL, near=0.3) < 0.2


def test_a_turn_explains_a_pan_but_no_truck():
    point, here = cloud(np.random.default_rng(3)), se3.identity()
    turn = se3.so3_exp(np.array([0.0, 0.15, 0.0]))
    pan, truck = (pair(here, se3.make(turn, np.array(way)), point) for way in ([0.0, 0, 0], [0.5, 0.0, 0.0]))
    edges, share = rotations.turned([pan, truck], FOCAL)
    assert share[0] == 1 and share[1] < 0.5
    np.testing.assert_allclose(edges[0][2], turn.T, atol=1e-6)


def test_turns_say_the_lens_and_a_still_camera_does_not():
    rng, here = np.random.default_rng(4), se3.identity()
    seen = []
    for angle in (0.1, 0.2, 0.3):
        other = se3.make(se3.so3_exp(np.array([0.05, angle, 0.0])), np.zeros(3))
        pair_ = pair(here, other, cloud(rng))
        # The rays are made with half the true focal length.
        seen.append(pair_._replace(ray_M3=stretched(pair_.ray_M3, 0.5), other_M3=stretched(pair_.other_M3, 0.5)))
    value, sure = rotations.focal(seen, FOCAL)
    assert sure and value == pytest.approx(2 * FOCAL, rel=1e-3)
    still = [pair(here, here, cloud(rng))]
    assert rotations.focal(still, FOCAL) == (FOCAL, False)


def stretched(ray_M3, factor):
    ray_M3 = ray_M3 * [1, 1, factor]
    return ray_M3 / np.linalg.norm(ray_M3, axis=1, keepdims=True)
