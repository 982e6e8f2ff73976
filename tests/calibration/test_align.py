"""Similarities between reconstructions whose truth is known."""

import dataclasses

import numpy as np
import pytest

import rooms
from shotverse_jax.calibration import align
from shotverse_jax.calibration.align import Similarity
from shotverse_jax.calibration.calibrate import calibrate
from shotverse_jax.calibration.known import Known
from shotverse_jax.calibration.reconstruction import Points, Reconstruction
from shotverse_jax.camera import se3

LENS = rooms.lens(64, 40)


def random_similarity(rng, spread=1.0):
    scale = float(np.exp(rng.uniform(-spread, spread)))
    return Similarity(scale, se3.so3_exp(rng.normal(size=3)), rng.normal(size=3))


def moved(made: Reconstruction, by: Similarity) -> Reconstruction:
    """The same reconstruction in another world and unit."""
    points = dataclasses.replace(made.points, depth_M=made.points.depth_M * by.scale)
    return dataclasses.replace(made, pose_N34=by.poses(made.pose_N34), points=points)


def turn_deg(a_33, b_33):
    return float(np.degrees(se3.rotation_angle(a_33.T @ b_33)).max())


class Shaken(Known):
    """Knows every shot by itself in a world and a unit of its own, and the key frames in the common world."""

    def reconstruct(self, frames):
        made = super().reconstruct(frames)
        return moved(made, random_similarity(np.random.default_rng(int(frames[0]))))

    def joint(self, shots, keys):
        return super().reconstruct(np.sort(np.concatenate(keys)))


@pytest.fixture(scope="module")
def film():
    """Five shots, one of every kind, with exact depths."""
    return rooms.footage(("static", "pan", "dolly", "arc", "loop"), 5, 64, 40)


def test_every_shot_returns_from_a_world_of_its_own(film):
    footage, pose_T34, depth_THW = film
    known = Shaken(pose_T34, np.tile(LENS, (25, 1)), (64, 40), depth_THW)
    assert not np.allclose(known.reconstruct(footage.shots[1]).pose_N34, pose_T34[5:10], atol=0.1)
    made = calibrate(footage, known)
    assert turn_deg_all(made.pose_T34, pose_T34) < 0.1
    assert np.abs(made.pose_T34[:, :, 3] - pose_T34[:, :, 3]).max() < 0.001 * np.median(depth_THW)
    assert all(quality.passed and quality.scale_method == "depth ratio" for quality in made.quality)
    assert (made.world_K == 0).all() and made.found_T.all() and not made.notes
    np.testing.assert_allclose(np.sort(made.points.depth_M), np.sort(known_points(depth_THW)), rtol=1e-6)


def known_points(depth_THW):
    return Points.of_depth(np.arange(len(depth_THW)), depth_THW).depth_M


def turn_deg_all(a_T34, b_T34):
    return float(np.degrees(se3.rotation_angle(se3.relative(a_T34, b_T34)[..., :3])).max())


def test_another_common_world_leaves_the_poses_between_shots(film):
    footage, pose_T34, depth_THW = film
    other = random_similarity(np.random.default_rng(99), spread=0.0)
    lens_T4 = np.tile(LENS, (25, 1))
    made = [
        calibrate(footage, Shaken(poses, lens_T4, (64, 40), depth_THW)) for poses in (pose_T34, other.poses(pose_T34))
    ]
    first, second = (se3.relative(m.pose_T34[0], m.pose_T34) for m in made)
    np.testing.assert_allclose(first, second, atol=1e-6)


def noisy(kind, rng, anchors=4, points=200):
    """A shot and its key frames in the common world with the noise of real ones, and the truth.

    Rotations have 1 degree of noise, positions 1 % of the distance, depths 2 %; a fifth of the depths is wrong.
    """
    pose_N34, truth = rooms.path(kind, anchors), random_similarity(rng)
    goal_N34 = truth.poses(pose_N34)
    turn_N33 = se3.so3_exp(np.radians(1 / np.sqrt(3)) * rng.normal(size=(anchors, 3)))
    shift_N3 = 0.01 * 4 * truth.scale / np.sqrt(3) * rng.normal(size=(anchors, 3))
    goal_N34 = se3.make(goal_N34[:, :, :3] @ turn_N33, goal_N34[:, :, 3] + shift_N3)
    count = anchors * points
    depth_M = rng.uniform(2, 6, count)
    noise_M = np.exp(0.02 * rng.normal(size=count)) * np.where(
        rng.random(count) < 0.2, np.exp(rng.normal(size=count)), 1
    )
    seen = Points(
        np.repeat(np.arange(anchors), points),
        rng.uniform([0, 0], [64, 40], (count, 2)),
        depth_M,
        np.ones(count),
        np.full(count, -1),
    )
    frames, lens_N4, found_N = np.arange(anchors), np.tile(LENS, (anchors, 1)), np.ones(anchors, bool)
    local = Reconstruction(frames, pose_N34, lens_N4, found_N, seen)
    there = dataclasses.replace(seen, depth_M=depth_M * truth.scale * noise_M)
    return local, Reconstruction(frames, goal_N34, lens_N4, found_N, there), truth


# The columns of robust methods of the measured table, and what the printed scale does to shots that do not go anywhere.
@pytest.mark.parametrize("kind", ["static", "pan", "dolly", "arc", "loop"])
def test_degenerate_shots_are_aligned(kind):
    rng, found = np.random.default_rng(0), {name: [] for name in align.METHODS}
    for _ in range(25):
        local, world, truth = noisy(kind, rng)
        for method, errors in found.items():
            fit = align.align(local, world, np.arange(4), method).similarity
            errors.append((turn_deg(fit.rotation_33, truth.rotation_33), abs(np.log(fit.scale / truth.scale))))
    (turn, scale), (_, printed), (point_turn, point_scale) = (np.median(found[name], axis=0) for name in align.METHODS)
    assert turn < 0.84 and scale < 0.007
    # The points of four cameras with 1 degree of noise; the looping one makes its own way the largest part of that.
    assert point_turn < 0.95 and point_scale < 0.007
    assert printed > 5 if kind in ("static", "pan", "loop") else printed < 0.05


def test_the_order_of_anchors_does_not_matter():
    rng = np.random.default_rng(1)
    local, world, _ = noisy("arc", rng, anchors=6)
    order = rng.permutation(6)

    def shuffled(made):
        place = np.argsort(order)
        points = dataclasses.replace(made.points, frame_M=place[made.points.frame_M])
        return dataclasses.replace(made, pose_N34=made.pose_N34[order], points=points)

    first = align.align(local, world, np.arange(6)).similarity
    second = align.align(shuffled(local), shuffled(world), np.arange(6)).similarity
    np.testing.assert_allclose(first.scale, second.scale, rtol=1e-12)
    np.testing.assert_allclose(first.rotation_33, second.rotation_33, atol=1e-9)
    np.testing.assert_allclose(first.translation_3, second.translation_3, atol=1e-9)


@pytest.mark.parametrize("method", align.METHODS)
def test_poses_stay_rigid(method):
    rng = np.random.default_rng(2)
    for kind in ("static", "dolly", "loop"):
        local, world, _ = noisy(kind, rng)
        fit = align.align(local, world, np.arange(4), method).similarity
        turned = fit.poses(local.pose_N34)[:, :, :3]
        np.testing.assert_allclose(np.linalg.det(turned), 1, atol=1e-9)
        np.testing.assert_allclose(turned @ turned.swapaxes(1, 2), np.tile(np.eye(3), (4, 1, 1)), atol=1e-9)


def test_one_bad_anchor_does_not_count():
    local, world, truth = noisy("arc", np.random.default_rng(3), anchors=8)
    world.pose_N34[2] = se3.make(se3.so3_exp(np.array([0.0, 1.5, 0.0])), np.array([30.0, 0.0, 0.0]))
    fit = align.align(local, world, np.arange(8))
    assert turn_deg(fit.similarity.rotation_33, truth.rotation_33) < 1
    assert np.linalg.norm(fit.similarity.translation_3 - truth.translation_3) < 0.05 * 4 * truth.scale
    assert fit.rotation_deg_N.argmax() == 2 and fit.center_N.argmax() == 2


def test_without_points_the_centres_say_the_scale():
    local, world, truth = noisy("arc", np.random.default_rng(4))
    bare = [dataclasses.replace(made, points=Points.none()) for made in (local, world)]
    fit = align.align(*bare, np.arange(4))
    assert fit.method == "centres" and abs(np.log(fit.similarity.scale / truth.scale)) < 0.05
    assert np.isnan(fit.ratio_iqr) and fit.shared == 0
    local, world, _ = noisy("static", np.random.default_rng(4))
    bare = [dataclasses.replace(made, points=Points.none()) for made in (local, world)]
    assert align.align(*bare, np.arange(4)).method == "none"


def test_maps_of_maps():
    rng = np.random.default_rng(5)
    first, second = random_similarity(rng), random_similarity(rng)
    point_3, pose_34 = rng.normal(size=3), rooms.path("pan", 1)[0]
    np.testing.assert_allclose(second.after(first).points(point_3), second.points(first.points(point_3)))
    np.testing.assert_allclose(second.after(first).poses(pose_34), second.poses(first.poses(pose_34)))
    np.testing.assert_allclose(first.inverse().points(first.points(point_3)), point_3)


def test_the_printed_algorithm():
    # Straight from its lines: the best T of Σ ‖[Q | g] - [R R_i | R c_i σ + t]‖² is better than all near it.
    local, world, _ = noisy("truck", np.random.default_rng(6))
    fit = align.align(local, world, np.arange(4), "paper").similarity
    ways = [np.linalg.norm(p[-1, :, 3] - p[0, :, 3]) for p in (world.pose_N34, local.pose_N34)]
    assert fit.scale == pytest.approx(ways[0] / ways[1])
    cost = lambda guess: ((guess.poses(local.pose_N34) - world.pose_N34) ** 2).sum()  # noqa: E731
    for axis in np.concatenate([np.eye(3), -np.eye(3)]):
        assert cost(fit) < cost(fit._replace(rotation_33=se3.so3_exp(1e-3 * axis) @ fit.rotation_33))
        assert cost(fit) < cost(fit._replace(translation_3=fit.translation_3 + 1e-3 * axis))


def test_a_shot_without_any_way_or_depth_has_an_alignment():
    local, world, truth = noisy("static", np.random.default_rng(8))
    local = dataclasses.replace(local, points=Points.none())
    world.pose_N34[:, :, 3] = 0
    for made in (world, dataclasses.replace(world, points=Points.none())):
        for method in align.METHODS:
            fit = align.align(local, made, np.arange(4), method)
            assert np.isfinite(fit.similarity.poses(local.pose_N34)).all() and np.isfinite(fit.center_N).all()
            assert turn_deg(fit.similarity.rotation_33, truth.rotation_33) < 2


def test_wrong_requests_are_refused():
    local, world, _ = noisy("arc", np.random.default_rng(7))
    with pytest.raises(ValueError, match="robust, paper, points"):
        align.align(local, world, np.arange(4), "icp")
    with pytest.raises(ValueError, match="no anchor"):
        align.align(local, dataclasses.replace(world, found_N=np.zeros(4, bool)), np.arange(4))
