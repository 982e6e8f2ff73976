"""Framing against geometry done by hand, a slow reference in NumPy, finite differences and properties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from shotverse_jax.camera import framing
from shotverse_jax.camera.framing import JERK, SOFT, Reward, Wanted

FY = 0.5 / np.tan(np.radians(22.5))  # 45° from top to bottom, 4:3
LENS = np.array([FY * 3 / 4, FY, 0.5, 0.5])
BODY = np.array(
    [[0, -1.6, 0], [0, -1.2, 0], [0, -0.9, 0], [-0.3, -0.8, 0.1], [0.3, -0.8, 0.1], [-0.1, -0.5, 0.05],
     [0.1, -0.5, 0.05], [-0.1, -0.1, 0], [0.1, -0.1, 0]]
)  # fmt: skip
_reward = jax.jit(framing.framing_reward, static_argnames="reward")


def look(eye, at=(0.0, -1.25, 0.0), frames=8):
    """A still camera [T, 3, 4] at a point that looks at another one, upright."""
    forward = np.asarray(at, float) - eye
    forward /= np.linalg.norm(forward)
    right = np.cross([0, 1.0, 0], forward)
    right /= np.linalg.norm(right)
    return np.repeat(np.stack([right, np.cross(forward, right), forward, eye], 1)[None], frames, 0)


def paths(seed, batch=2, frames=8):
    """Random moving cameras around the body, some of which miss it, and per-frame lenses."""
    rng = np.random.default_rng(seed)
    turn = Rotation.from_rotvec(0.4 * rng.normal(size=(batch * frames, 3))).as_matrix().reshape(batch, frames, 3, 3)
    eye = np.array([0, -1.2, -3.5]) + rng.normal(size=(batch, frames, 3))
    lens = np.array([1, 1.4, 0.5, 0.5]) * rng.uniform(0.8, 1.2, (batch, frames, 4))
    body = BODY + 0.1 * rng.normal(size=(batch, frames, 1, 3))
    return np.concatenate([turn, eye[..., None]], -1), lens, body


# ---- geometry by hand


@pytest.mark.parametrize(("aside", "u", "on"), [(0.9, 0.772, 1), (1.2, 0.862, 1), (1.5, 0.953, 1), (1.9, 1.073, 0)])
def test_the_reference_geometry(aside, u, on):
    point = np.broadcast_to([aside, 0.0, 0.0], (1, 9, 3))
    seen = framing.project(np.eye(3, 4)[None] + [[[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, -3.0]]], LENS, point)
    np.testing.assert_allclose(seen.uv_TJ2[0, 0], [u, 0.5], atol=6e-4)
    assert bool(framing.off_screen(seen)[0]) == (not on) == bool(framing.out(seen)[0])
    height = framing.body_height(seen, LENS, 1.7)
    assert float(height[0]) == pytest.approx(FY * 1.7 / 3)
    assert bool(framing.misframed(seen, height)[0]) == (aside > 1.2)
    assert bool(framing.misframed(seen, height, border=0.15)[0]) == (aside > 0.9)


def test_a_body_behind_the_camera_is_off_screen_and_earns_nothing():
    away = look((0, -1.2, -3.0), at=(0, -1.2, -6.0))
    seen = framing.project(away, LENS, BODY[None])
    assert framing.out(seen).all() and framing.off_screen(seen).all() and framing.severe(seen).all()
    height = framing.body_height(seen, LENS, 1.7)
    assert framing.misframed(seen, height).all() and (height == 0).all()
    for reward in (Reward(), SOFT):
        assert float(_reward(away, LENS, BODY[None], 1.7, reward=reward)) == pytest.approx(-0.5)


def test_sizes_angles_sides_and_positions():
    assert list(framing.SIZES)[int(framing.size_class(jnp.array(2.9)))] == "close"
    assert list(framing.SIZES)[int(framing.size_class(jnp.array(0.0)))] == "extreme wide"
    eye = look((0.0, -1.25 - 2.0, -2.0))
    assert float(framing.elevation(eye, np.array([[0, -1.25, 0]]))[0]) == pytest.approx(45, abs=1e-3)
    names = [list(framing.ANGLES)[int(i)] for i in framing.angle_class(jnp.array([-11.0, -9.0, 9.0, 11.0, 45.0, 61.0]))]
    assert names == ["low", "eye", "eye", "high", "high", "overhead"]
    # Who faces +z has +x on the right, in a world whose y points down.
    ahead = np.array([[0.0, 0.0, 1.0]])
    for eye_3, side in (((0, 0, 3), "front"), ((3, 0, 0), "right"), ((-3, 0, 0), "left"), ((-2, 0, -2), "back left")):
        degrees = framing.azimuth(look(eye_3), np.zeros((1, 3)), ahead)
        assert framing.SIDES[int(framing.side_class(degrees)[0])] == side
    assert [list(framing.POSITIONS)[int(i)] for i in framing.position_class(jnp.array([0.3, 0.5, 0.7]))] == [
        "left", "center", "right"
    ]  # fmt: skip
    assert float(framing.thirds(jnp.array([2 / 3, 1 / 3]))) == pytest.approx(0, abs=1e-6)
    assert float(framing.thirds(jnp.array([0.5, 0.5]))) == pytest.approx(2**0.5 / 6, abs=1e-6)


def test_jerk():
    t = np.arange(9.0)
    path = np.repeat(np.eye(3, 4)[None], 9, 0)
    path[:, 0, 3] = t**2
    assert float(framing.jerk(path)) == pytest.approx(0, abs=1e-4)
    path[:, 0, 3] = t**3 / 6
    assert float(framing.jerk(path)) == pytest.approx(1, rel=1e-4)
    assert float(framing.jerk(path[:3])) == 0


def test_the_180_and_30_degree_rules():
    a, b = np.array([-1.0, 0, 0]), np.array([1.0, 0, 0])
    near, far = np.array([0.5, -1.5, -3.0]), np.array([0.5, -1.5, 3.0])
    assert framing.side_of_line(near, a, b) > 0.9 and framing.side_of_line(far, a, b) < -0.9
    assert framing.side_of_line(near, b, a) == pytest.approx(-framing.side_of_line(near, a, b))
    assert abs(framing.side_of_line(np.array([4.0, -1, 0]), a, b)) < 1e-6
    turn = Rotation.from_euler("y", 30, degrees=True).apply(near)
    assert float(framing.view_change(near, turn, np.array([0, -1.5, 0.0]))) == pytest.approx(30, abs=1e-2)


def test_screen_direction_and_eyeline():
    left, right = look((-2.0, -1.5, -2.0))[0], look((2.0, -1.5, -2.0))[0]
    way = np.array([1.0, 0, 0])
    assert framing.screen_direction(left, way) > 0 and framing.screen_direction(right, way) > 0
    assert framing.screen_direction(look((0, -1.5, 3.0))[0], way) == pytest.approx(-1)
    # Shot and reverse shot from one side of the line meet; from the two sides they do not.
    assert framing.eyeline(left, way, right, -way) > 0
    assert framing.eyeline(left, way, look((2.0, -1.5, 2.0))[0], -way) < 0


# ---- the slow reference


def reference(pose, lens, joints, height, wanted, r=framing.HARD):
    """The reward of one shot, frame by frame and joint by joint, in NumPy."""
    total, lost = 0.0, 0
    steps = np.diff(pose[:, :, 3], 3, axis=0)
    smooth = np.exp(-np.mean([np.sqrt((s**2).sum()) for s in steps]) / JERK)
    for c2w, (fx, fy, cx, cy), body in zip(pose, lens, joints, strict=True):
        uv, depth = [], []
        for point in body:
            x, y, z = c2w[:, :3].T @ (point - c2w[:, 3])
            depth.append(z)
            uv.append((fx * x / z + cx, fy * y / z + cy) if z > 1e-4 else None)
        on = [p is not None and 0 <= p[0] <= 1 and 0 <= p[1] <= 1 for p in uv]
        lost += not any(on[:3])
        if uv[0] is None or uv[2] is None:
            continue
        h = fy * height / ((depth[0] + depth[2]) / 2)
        share = min(max(np.log(h / 0.65) / np.log(3.0 / 0.65), 0), 1)
        u, v = share * np.array(uv[0]) + (1 - share) * np.array(uv[2])
        goal = wanted.height or h
        middle = min(max(np.log(goal / 0.65) / np.log(3.0 / 0.65), 0), 1)
        middle = middle * body[0, 1] + (1 - middle) * body[2, 1]
        due = [j == 0 or abs(p[1] - middle) / height * goal <= 0.5 for j, p in enumerate(body)]
        offset = c2w[:, 3] - (share * body[0] + (1 - share) * body[2])
        angle = np.degrees(np.arctan2(-offset[1], np.hypot(offset[0], offset[2])))
        low, high = wanted.angle_2
        off = max(low - angle, angle - high, 0)
        away = np.hypot(u - wanted.position_2[0], v - wanted.position_2[1])
        total += r.visible * np.mean([o for o, d in zip(on, due, strict=True) if d]) + r.border * (
            min(u, 1 - u, v, 1 - v) >= r.margin
        )
        total += (
            r.center * (1 - min(away / 0.5, 1)) + r.angle * np.exp(-((off / r.degrees) ** 2) / 2) + r.smooth * smooth
        )
        total += r.size * (np.exp(-((np.log(h / wanted.height) / r.spread) ** 2) / 2) if wanted.height else 1)
    return (total - r.off_screen * lost) / len(pose)


@pytest.mark.parametrize(
    "wanted", [Wanted(), Wanted((1 / 3, 0.4), 1.4, (-90.0, -10.0)), Wanted((2 / 3, 0.5), 0.65, (10.0, 60.0))]
)
def test_the_reward_is_that_of_the_reference(wanted):
    pose, lens, joints = paths(0, batch=16)
    fast = _reward(pose, lens, joints, np.full(16, 1.7), wanted)
    slow = [reference(p, k, j, 1.7, wanted) for p, k, j in zip(pose, lens, joints, strict=True)]
    assert fast.shape == (16,) and np.ptp(slow) > 0.2
    np.testing.assert_allclose(fast, slow, atol=2e-5)
    # Leading axes, and one wanted framing for each shot, change nothing.
    each = Wanted(
        jnp.tile(jnp.array(wanted.position_2), (2, 8, 1)),
        jnp.full((2, 8), wanted.height),
        jnp.tile(jnp.array(wanted.angle_2), (2, 8, 1)),
    )
    folded = _reward(*(x.reshape(2, 8, *x.shape[1:]) for x in (pose, lens, joints)), np.full((2, 8), 1.7), each)
    np.testing.assert_allclose(folded.reshape(16), fast, atol=1e-6)


def test_the_reward_orders_good_and_bad_shots():
    close = Wanted(height=framing.SIZES["close"], angle_2=framing.ANGLES["eye"])
    shots = {
        "close-up": look((0, -1.55, -0.7), at=(0, -1.55, 0)),
        "wide": look((0, -1.5, -5.0), at=(0, -1.5, 0)),
        "from above": look((0, -2.1, -0.45), at=(0, -1.55, 0)),
        "aside": look((0, -1.55, -0.7), at=(0.25, -1.55, 0)),
        "lost": look((0, -1.55, -0.7), at=(4.0, -1.55, 0)),
    }
    values = {name: float(_reward(pose, LENS, BODY[None], 1.7, close)) for name, pose in shots.items()}
    assert max(values, key=values.get) == "close-up" and values["close-up"] > 0.95, values
    assert min(values, key=values.get) == "lost" and values["lost"] < 0
    shaken = shots["close-up"].copy()
    shaken[:, 0, 3] += 0.02 * (-1) ** np.arange(8)
    assert float(_reward(shaken, LENS, BODY[None], 1.7, close)) < values["close-up"] - 0.04


# ---- gradients


def test_gradients_are_finite_and_those_of_finite_differences():
    pose, lens, joints = paths(3, batch=4)
    wanted = Wanted((1 / 3, 0.4), 1.4, (-90.0, -10.0))
    value = lambda pose: framing.framing_reward(pose, lens, joints, np.full(4, 1.7), wanted, SOFT).sum()  # noqa: E731
    with jax.enable_x64(True):
        gradient = jax.jit(jax.grad(value))(jnp.asarray(pose))
        assert np.isfinite(gradient).all() and (np.abs(gradient).max((1, 2, 3)) > 1e-3).all()
        rng, step, fast = np.random.default_rng(0), 1e-6, jax.jit(value)
        for _ in range(6):
            way = rng.normal(size=pose.shape)
            difference = (fast(pose + step * way) - fast(pose - step * way)) / (2 * step)
            assert float((gradient * way).sum()) == pytest.approx(float(difference), rel=1e-4, abs=1e-6)


def test_gradients_are_finite_where_the_camera_is_in_the_body_or_straight_above():
    eyes = np.array([(0.0, -1.25, 0.0), (0.0, -0.9, 0.0), (0.0, -5.0, 0.0), (0.0, -1.2, 3.0)])
    pose = np.zeros((4, 5, 3, 4)) + np.concatenate([np.tile(np.eye(3), (4, 1, 1)), eyes[..., None]], -1)[:, None]
    for reward in (Reward(), SOFT):
        value = lambda p, r=reward: _reward(p, LENS, BODY[None], np.full(4, 1.7), Wanted(height=1.0), reward=r).sum()  # noqa: E731
        assert np.isfinite(jax.grad(value)(jnp.asarray(pose, jnp.float32))).all()


def test_the_gradient_brings_a_lost_subject_back():
    pose, aside = look((0, -1.25, -3.0), at=(1.75, -1.25, 0)), jnp.asarray(BODY[None])
    move = lambda x: jnp.asarray(pose).at[:, 0, 3].add(x)  # noqa: E731
    value = jax.jit(jax.value_and_grad(lambda x: framing.framing_reward(move(x), LENS, aside, 1.7, Wanted(), SOFT)))
    x = 0.0
    assert framing.off_screen(framing.project(move(x), LENS, aside)).all()
    for _ in range(80):
        x += 0.05 * float(value(x)[1])
    seen = framing.project(move(x), LENS, aside)
    assert not framing.misframed(seen, framing.body_height(seen, LENS, 1.7)).any()


# ---- properties


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.2, 5.0))
def test_properties(seed, scale):
    pose, lens, joints = paths(seed)
    seen = framing.project(pose, lens, joints)
    height = framing.body_height(seen, lens, np.full(2, 1.7))
    off, none, bad = framing.off_screen(seen), framing.out(seen), framing.misframed(seen, height)
    assert not (none & ~off).any() and not (off & ~bad).any()  # Out ⊆ off screen ⊆ mis-framed
    wider = framing.misframed(seen, height, border=0.2)
    assert not (bad & ~wider).any()
    value = _reward(pose, lens, joints, np.full(2, 1.7), reward=Reward())
    assert (value <= 1 + 1e-5).all() and (value >= -0.5 - 1e-5).all()

    # Another world with the same gravity, and another unit, change neither pictures nor angles.
    turn = Rotation.from_euler("y", seed % 360, degrees=True).as_matrix()
    shift = np.array([3.0, 0.0, -2.0])
    other_pose = np.concatenate([turn @ pose[..., :3], (scale * (pose[..., 3] @ turn.T) + shift)[..., None]], -1)
    other = framing.project(other_pose, lens, scale * (joints @ turn.T) + shift)
    shown = np.asarray(seen.depth_TJ) > 0.05
    np.testing.assert_allclose(np.asarray(other.uv_TJ2)[shown], np.asarray(seen.uv_TJ2)[shown], rtol=2e-3, atol=2e-3)
    scaled = framing.body_height(other, lens, np.full(2, 1.7 * scale))
    np.testing.assert_allclose(np.minimum(scaled, 20), np.minimum(height, 20), rtol=2e-3, atol=1e-3)
