"""Pose errors on paths whose error is known, and their alignment against evo's."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shotverse_jax.camera import se3
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.evaluation.metrics.pose_error import pose_error

ZERO = ("rot_deg_mean", "trans_rel_mean", "xshot_rot_deg", "xshot_trans_rel", "ate_rmse")


def scene(seed=0, lengths=(17, 12, 9)):
    """A smooth path per shot, each starting elsewhere."""
    rng = np.random.default_rng(seed)
    shots = []
    for length in lengths:
        u = np.linspace(0, 1, length)[:, None]
        start = se3.make(se3.so3_exp(rng.normal(size=3) * 0.5), rng.normal(size=3) * 3)
        shots.append(se3.compose(start, se3.make(se3.so3_exp(u * rng.normal(size=3) * 0.4), u * rng.normal(size=3))))
    shot_T = np.repeat(np.arange(len(lengths)), lengths)
    return Trajectory(np.concatenate(shots), [100, 100, 50, 50], 100, 100, shot_T)


def scaled(trajectory, factor):
    return dataclasses.replace(trajectory, pose_T34=trajectory.pose_T34 * [1, 1, 1, factor])


def random_world(rng):
    return se3.make(se3.so3_exp(rng.normal(size=3)), rng.normal(size=3) * 5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 100))
def test_same_path_in_another_world_and_unit(seed, factor):
    ref = scene(seed)
    got = pose_error(scaled(ref, factor).moved(random_world(np.random.default_rng(seed))), ref)
    assert max(got[name] for name in ZERO) < 1e-5
    assert got["coverage"] == 1 and got["static_shots"] == 0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_values_do_not_depend_on_world_or_unit(seed):
    rng = np.random.default_rng(seed)
    ref, pred = scene(seed), scene(seed + 1)
    expected = pose_error(pred, ref)
    got = pose_error(scaled(pred.moved(random_world(rng)), 7.0), ref.moved(random_world(rng)))
    assert got == pytest.approx(expected, rel=1e-6, abs=1e-6)


def slow_error(pred, ref):
    """The definitions with 4x4 matrices and loops."""
    p, r = (np.concatenate([t.pose_T34, np.tile([[[0, 0, 0, 1.0]]], (len(t), 1, 1))], 1) for t in (pred, ref))
    angle = lambda a, b: np.degrees(np.arccos(np.clip((np.trace(a[:3, :3].T @ b[:3, :3]) - 1) / 2, -1, 1)))  # noqa: E731
    within = [[np.linalg.inv(x[a]) @ x[t] for a, b in ref.spans for t in range(a, b)] for x in (p, r)]
    firsts = [a for a, _ in ref.spans]
    pairs = [(a, b) for a in firsts for b in firsts if a < b]
    between = [[np.linalg.inv(x[a]) @ x[b] for a, b in pairs] for x in (p, r)]
    top = sum(a[:3, 3] @ b[:3, 3] for a, b in zip(*within, strict=True))
    scale = max(0, top / sum(a[:3, 3] @ a[:3, 3] for a in within[0]))
    extent = max(np.linalg.norm(x[:3, 3] - r[0, :3, 3]) for x in r)
    mean = lambda sides, f: np.mean([f(a, b) for a, b in zip(*sides, strict=True)])  # noqa: E731
    distance = lambda a, b: np.linalg.norm(scale * a[:3, 3] - b[:3, 3]) / extent  # noqa: E731
    return {
        "rot_deg_mean": mean(within, angle),
        "trans_rel_mean": mean(within, distance),
        "xshot_rot_deg": mean(between, angle),
        "xshot_trans_rel": mean(between, distance),
    }


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_definitions(seed):
    pred, ref = scene(seed), scene(seed + 50)
    got = pose_error(pred, ref)
    for name, value in slow_error(pred, ref).items():
        assert got[name] == pytest.approx(value, abs=1e-4), name


def test_a_misplaced_shot_shows_only_between_shots():
    """Shot 2 of 3 is turned by 10 degrees and put elsewhere, as without calibration."""
    ref = scene()
    a, b = ref.spans[1]
    pose_T34 = ref.pose_T34.copy()
    world = se3.make(se3.so3_exp(np.asarray([0, np.radians(10), 0])), np.asarray([1.0, 0, 0]))
    pose_T34[a:b] = se3.compose(world, pose_T34[a:b])
    got = pose_error(dataclasses.replace(ref, pose_T34=pose_T34), ref)
    assert got["rot_deg_mean"] < 1e-5 and got["trans_rel_mean"] < 1e-9
    assert got["xshot_rot_deg"] == pytest.approx(10 * 2 / 3, abs=1e-6)  # in two of the three pairs
    assert got["xshot_trans_rel"] > 0.05 and got["ate_rmse"] > 0.05


def test_small_angles_are_accurate():
    ref = scene(lengths=(5,))
    turn = se3.make(se3.so3_exp(np.asarray([0, 0, 1e-7])), np.zeros(3))
    pose_T34 = np.concatenate([ref.pose_T34[:1], se3.compose(ref.pose_T34[1:], turn)])
    got = pose_error(dataclasses.replace(ref, pose_T34=pose_T34), ref)
    assert got["rot_deg_mean"] == pytest.approx(np.degrees(1e-7) * 4 / 5, rel=1e-4)


def test_mask():
    """Frames whose pose is unknown may hold anything; their shot is anchored at the next frame."""
    ref = scene()
    mask = np.ones(len(ref), bool)
    mask[[0, 1, 20, *range(*ref.spans[2])]] = False
    pose_T34 = np.where(mask[:, None, None], ref.pose_T34, se3.identity())
    got = pose_error(dataclasses.replace(ref, pose_T34=pose_T34), ref, mask)
    assert max(got[name] for name in ZERO) < 1e-5
    assert got["coverage"] == pytest.approx(mask.mean())
    with pytest.raises(ValueError, match="keep a frame"):
        pose_error(ref, ref, np.zeros(len(ref), bool))


def still(trajectory):
    """The same first cameras, held."""
    first = np.asarray([a for a, _ in trajectory.spans])[trajectory.shot_T]
    return dataclasses.replace(trajectory, pose_T34=trajectory.pose_T34[first])


def test_static_reference():
    """No motion, no translation error within shots; between them it is still measured."""
    ref = scene()
    got = pose_error(scaled(still(ref), 3.0), still(ref))
    assert np.isnan(got["trans_rel_mean"]) and got["static_shots"] == 3
    assert got["xshot_trans_rel"] < 1e-9 and got["rot_deg_mean"] == 0
    moving = pose_error(ref, still(ref))
    assert moving["rot_deg_mean"] > 1
    held = pose_error(still(ref), ref)
    assert held["trans_rel_mean"] > 0.01 and held["static_shots"] == 0


def test_one_static_shot_and_one_frame():
    ref = still(scene(lengths=(6,)))
    got = pose_error(ref, ref)
    assert np.isnan(got["trans_rel_mean"]) and np.isnan(got["xshot_rot_deg"]) and got["ate_rmse"] == 0
    one = scene(lengths=(1,))
    assert pose_error(one, one)["rot_deg_mean"] == 0


def test_loop():
    """A path that ends where it began has an extent all the same."""
    angle = np.linspace(0, 2 * np.pi, 30)
    eye = np.stack([np.sin(angle), np.zeros(30), -np.cos(angle)], 1)
    loop = Trajectory(se3.look_at(eye, np.zeros((30, 3))), [100, 100, 50, 50], 100, 100, np.zeros(30))
    assert pose_error(scaled(loop, 2), loop)["trans_rel_mean"] < 1e-9


def test_backwards_has_no_scale():
    """A prediction that moves the other way is not flipped by a negative scale: its error is the whole path."""
    u = np.linspace(0, 1, 11)[:, None]
    ahead = se3.make(np.tile(np.eye(3), (11, 1, 1)), u * [0, 0, 1.0])
    ref = Trajectory(ahead, [100, 100, 50, 50], 100, 100, np.zeros(11))
    assert pose_error(scaled(ref, -1), ref)["trans_rel_mean"] == pytest.approx(0.5)


def test_cuts_must_match():
    with pytest.raises(ValueError, match="same shots"):
        pose_error(scene(lengths=(5, 6)), scene(lengths=(6, 5)))


def test_ate_equals_evo():
    metrics = pytest.importorskip("evo.core.metrics")
    trajectory = pytest.importorskip("evo.core.trajectory")
    pred, ref = scene(3), scene(4)
    paths = [trajectory.PosePath3D(poses_se3=list(se3.to_44(t.pose_T34))) for t in (pred, ref)]
    paths[0].align(paths[1], correct_scale=True)
    ape = metrics.APE(metrics.PoseRelation.translation_part)
    ape.process_data((paths[1], paths[0]))
    assert pose_error(pred, ref)["ate_rmse"] == pytest.approx(ape.get_statistic(metrics.StatisticsType.rmse), rel=1e-9)


def test_a_mirror_image_is_not_aligned():
    """No rotation brings a path onto its mirror image, so the error stays."""
    ref = scene(5)
    mirrored = dataclasses.replace(ref, pose_T34=ref.pose_T34 * [1, 1, 1, -1])
    assert pose_error(mirrored, ref)["ate_rmse"] > 0.1
