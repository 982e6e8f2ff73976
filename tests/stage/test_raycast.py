"""The ray caster against a slow float64 reference that knows each part only by a convex function of space."""

import dataclasses
import math

import jax
import numpy as np
import pytest

from shotverse_jax.camera import se3
from shotverse_jax.stage.raycast import CAPACITY, primitives, render
from shotverse_jax.stage.scene import (
    ACTIONS,
    FAR_RADIUS,
    KINDS,
    NEAR_RADIUS,
    SHAPES,
    Prop,
    Scene,
    Subject,
    random_scene,
)

WIDTH, HEIGHT = 36, 24
LENS = np.array([30.0, 30.0, WIDTH / 2, HEIGHT / 2])
SCENE = Scene(
    subjects=(Subject("man", "blue", "wave"), Subject("car", "red", x=-2.6, z=-0.5, yaw=0.9)),
    props=(
        Prop("ball", "green", 0.8, 1.2, 0.9),
        Prop("box", "orange", 0.7, 0.9, -1.2, 0.5),
        Prop("tree", "teal", 2.4, 2.2, -2.5),
        Prop("column", "white", 2.8, -1.0, -3.0),
    ),
    floor="plain",
)
VIEWS = (((1.5, -1.9, 4.0), (0, -0.8, 0)), ((-4.5, -3.0, 2.0), (-1, -0.5, 0)), ((2.4, -0.4, 3.0), (0.2, -1.2, -0.5)))


def _parts(scene: Scene, time: float):
    """[(number, convex function of points [P, 3], negative inside)] in float64, one per part in use."""
    prims = primitives(scene, np.array([time]))
    out, first = [], 0
    for shape, count in zip(CAPACITY, prims["count"], strict=True):
        for i in range(count):
            row = prims[shape][0, i].astype(np.float64)
            out.append((first + i, _capsule(row) if shape == "capsule" else _solid(shape, row)))
        first += CAPACITY[shape]
    return prims, out


def _capsule(row):
    start, axis, radius = row[:3], row[3:6], row[6]

    def distance(p):
        along = np.clip((p - start) @ axis / max(axis @ axis, 1e-12), 0, 1)
        return np.linalg.norm(p - start - along[:, None] * axis, axis=1) - radius

    return distance


def _solid(shape, row):
    def inside(p):
        q = p @ row[:, :3].T + row[:, 3]
        if shape == "ellipsoid":
            return np.linalg.norm(q, axis=1) - 1
        if shape == "box":
            return np.abs(q).max(1) - 1
        return np.maximum(np.hypot(q[:, 0], q[:, 2]), np.abs(q[:, 1])) - 1

    return inside


def _enter(function, origin_P3, ray_P3, far=40.0):
    """First ray parameter at which a convex function turns negative: ternary search for its minimum, bisection."""
    low, high = np.zeros(len(ray_P3)), np.full(len(ray_P3), far)
    at = lambda t: function(origin_P3 + t[:, None] * ray_P3)  # noqa: E731
    for _ in range(90):
        a, b = low + (high - low) / 3, high - (high - low) / 3
        rising = at(a) < at(b)
        low, high = np.where(rising, low, a), np.where(rising, b, high)
    inside = (low + high) / 2
    hit = (at(inside) < 0) & (at(np.zeros_like(inside)) > 0)
    low, high = np.zeros_like(inside), inside
    for _ in range(50):
        middle = (low + high) / 2
        outside = at(middle) > 0
        low, high = np.where(outside, middle, low), np.where(outside, high, middle)
    return np.where(hit, high, np.inf)


def _reference(scene: Scene, time: float, pose_34, supersample=1):
    """Depth, part number (-1 floor, -2 sky), instance and shaded colour (without floor and sky) of each pixel."""
    prims, parts = _parts(scene, time)
    u, v = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    camera = np.stack([(u - LENS[2]) / LENS[0], (v - LENS[3]) / LENS[1], np.ones_like(u)], -1).reshape(-1, 3)
    ray = camera @ pose_34[:, :3].T
    origin = np.broadcast_to(pose_34[:, 3], ray.shape)
    with np.errstate(divide="ignore"):
        floor = -origin[:, 1] / ray[:, 1]
    depth = np.where(floor > 0, floor, np.inf)
    part = np.where(floor > 0, -1, -2)
    for number, function in parts:
        t = _enter(function, origin, ray)
        depth, part = np.where(t < depth, t, depth), np.where(t < depth, number, part)
    instance = np.where(part >= 0, prims["instance"][np.maximum(part, 0)], part + 2)

    point = origin + np.where(np.isinf(depth), 0, depth)[:, None] * ray
    normal = np.tile([0.0, -1.0, 0.0], (len(ray), 1))
    for number, function in parts:
        mine, step = part == number, 1e-5 * np.eye(3)
        gradient = np.stack([function(point[mine] + d) - function(point[mine] - d) for d in step], -1)
        normal[mine] = gradient / np.linalg.norm(gradient, axis=1, keepdims=True)
    sun = np.broadcast_to(np.array(scene.sun), ray.shape)
    dark = np.zeros(len(ray), bool)
    for number, function in parts:
        dark |= (part != number) & np.isfinite(_enter(function, point, sun))
    direct = np.where(dark, 0, np.maximum((normal * sun).sum(1), 0))
    fill = np.maximum(-sun[:, 0] * normal[:, 0] - sun[:, 2] * normal[:, 2], 0)
    _, _, sunlight, skylight = prims["sky"].astype(np.float64)
    light = direct[:, None] * sunlight + (0.72 - 0.28 * normal[:, 1] + 0.45 * fill)[:, None] * skylight
    color = prims["color"][np.maximum(part, 0)] * light
    shape = (HEIGHT, WIDTH)
    return depth.reshape(shape), instance.reshape(shape), dark.reshape(shape), np.clip(color, 0, 1).reshape(*shape, 3)


def _draw(scene: Scene, pose_34, **options):
    """Three equal frames, so that all tests share one compiled program."""
    return render(
        primitives(scene, np.zeros(3)), np.tile(pose_34, (3, 1, 1)), np.tile(LENS, (3, 1)), WIDTH, HEIGHT, **options
    )


@pytest.fixture(scope="module")
def drawn():
    """Three views at three times, ours and the reference's."""
    pose_T34 = np.stack([se3.look_at(np.array(eye), np.array(to, float)) for eye, to in VIEWS])
    time_T = np.array([0.0, 0.7, 1.9])
    frames = render(primitives(SCENE, time_T), pose_T34, np.tile(LENS, (3, 1)), WIDTH, HEIGHT)
    slow = [_reference(SCENE, t, pose) for t, pose in zip(time_T, pose_T34, strict=True)]
    return [np.asarray(a) for a in frames], [np.stack(a) for a in zip(*slow, strict=True)]


def test_depth_and_instances_agree_with_the_reference(drawn):
    (_, depth, instance), (slow_depth, slow_instance, _, _) = drawn
    assert set(np.unique(slow_instance)) >= set(range(8)), "the views do not show everything"
    same = instance == slow_instance
    assert same.mean() > 0.998  # float32 decides a few silhouettes otherwise
    assert np.array_equal(np.isinf(depth[same]), instance[same] == 0)
    seen = same & (instance > 0)
    assert np.quantile(np.abs(depth[seen] - slow_depth[seen]), 0.999) < 2e-3
    assert np.abs(depth[seen] - slow_depth[seen]).mean() < 2e-4


def test_shading_has_the_reference_normals_and_shadows(drawn):
    (color, _, instance), (_, slow_instance, dark, slow_color) = drawn
    on_things = (instance == slow_instance) & (instance > 1)
    error = np.abs(color / 255.0 - slow_color).max(-1)[on_things]
    assert (error < 0.012).mean() > 0.985
    floor = (instance == 1) & (slow_instance == 1)
    assert 0.02 < dark[floor].mean() < 0.6
    luminance = color.mean(-1)
    threshold = (np.median(luminance[floor & dark]) + np.median(luminance[floor & ~dark])) / 2
    assert np.median(luminance[floor & ~dark]) > 1.3 * np.median(luminance[floor & dark])
    assert ((luminance < threshold) == dark)[floor].mean() > 0.98


def test_a_camera_sees_the_head_where_projection_puts_it():
    subject = Subject("woman", "red")
    eye, target = np.array([0.8, -1.2, 4.0]), np.array([0.3, -1.0, 0.0])
    pose_34 = se3.look_at(eye, target)
    frames = _draw(Scene((subject,)), pose_34)

    def pixel(point):
        x, y, z = se3.transform_points(se3.inverse(pose_34), np.array(point))
        return int(LENS[1] * y / z + LENS[3]), int(LENS[0] * x / z + LENS[2]), z

    row, column, z = pixel((0, -0.93 * subject.height, 0))
    assert frames.instance_THW[0, row, column] == 2
    assert abs(frames.depth_THW[0, row, column] - z) < 0.15
    row, column, _ = pixel((0, -1.12 * subject.height, 0))
    assert frames.instance_THW[0, row, column] != 2
    row, column, _ = pixel((0, -0.6 * subject.height, 0))  # her coat, lit or not, is red
    red, green, blue = np.asarray(frames.color_THW3[0, row, column], int)
    assert red > 2 * green and red > 2 * blue


def test_floor_depth_is_that_of_the_pixel_centre():
    pose_34 = se3.look_at(np.array([0.0, -2.0, -3.0]), np.array([0.0, 0.0, 1.0]))
    scene = Scene((Subject("dog", "brown", x=50.0),))
    one, four = _draw(scene, pose_34), _draw(scene, pose_34, supersample=2)
    row, column = 20, 5
    ray = pose_34[:, :3] @ [(column + 0.5 - LENS[2]) / LENS[0], (row + 0.5 - LENS[3]) / LENS[1], 1.0]
    for frames in (one, four):
        np.testing.assert_allclose(frames.depth_THW[0, row, column], 2.0 / ray[1], rtol=1e-5)
    np.testing.assert_array_equal(one.instance_THW, four.instance_THW)
    assert (np.asarray(one.color_THW3) != np.asarray(four.color_THW3)).any()


def test_one_program_serves_every_scene_and_batches():
    rng = np.random.default_rng(0)
    pose_T34 = np.stack([se3.look_at(np.array(eye), np.array(to, float)) for eye, to in VIEWS])
    lens_T4, time_T = np.tile(LENS, (3, 1)), np.arange(3) / 4
    draw = lambda prims: render(prims, pose_T34, lens_T4, WIDTH, HEIGHT)  # noqa: E731
    scenes = [primitives(random_scene(rng, 1 + i), time_T) for i in range(2)]
    alone = [draw(scenes[0])]
    programs = render._cache_size()
    alone.append(draw(scenes[1]))
    assert render._cache_size() == programs
    batch = jax.vmap(draw)(jax.tree.map(lambda *a: np.stack(a), *scenes))
    for i, frames in enumerate(alone):
        assert (np.asarray(batch.instance_THW[i]) == np.asarray(frames.instance_THW)).mean() > 0.999
        assert np.abs(np.asarray(batch.color_THW3[i], int) - np.asarray(frames.color_THW3, int)).mean() < 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_bodies_stand_on_the_floor_and_are_as_tall_as_they_say(kind):
    for action in KINDS[kind].actions:
        subject = Subject(kind, "white", action, speed=1.0 if action == "walk" else 0.0)
        prims = primitives(Scene((subject,)), np.linspace(0, 2, 9))
        used = dict(zip(CAPACITY, prims["count"], strict=True))
        lows, tops = [], []
        if used["capsule"]:
            rows = prims["capsule"][:, : used["capsule"]].astype(float)
            ends = np.stack([rows[..., 1], rows[..., 1] + rows[..., 4]])
            lows, tops = [(ends.max(0) + rows[..., 6]).max(1)], [(ends.min(0) - rows[..., 6]).min(1)]
        for shape in ("ellipsoid", "box", "cylinder"):
            if used[shape]:
                maps = prims[shape][:, : used[shape]].astype(float)
                axes = np.linalg.inv(maps[..., :3])
                center = -(axes @ maps[..., 3:])[..., 1, 0]
                y = axes[..., 1, :]
                reach = {
                    "ellipsoid": np.linalg.norm(y, axis=-1),
                    "box": np.abs(y).sum(-1),
                    "cylinder": np.hypot(y[..., 0], y[..., 2]) + np.abs(y[..., 1]),
                }[shape]
                lows.append((center + reach).max(1))
                tops.append((center - reach).min(1))
        low, top = np.max(lows, axis=0), -np.min(tops, axis=0)
        assert (np.abs(low) < 0.03 * subject.height).all(), (kind, action, low)
        limit = 1.2 if action == "wave" else 1.04
        assert (top > 0.9 * subject.height).all() and (top < limit * subject.height).all(), (kind, action, top)


def test_a_subject_moves_where_it_faces():
    for action in ("walk", "turn"):
        subject = Subject("man", "red", action, x=1.0, z=2.0, yaw=0.8, speed=1.5)
        step = 1e-5
        velocity = (subject.position(1.3 + step) - subject.position(1.3 - step)) / (2 * step)
        np.testing.assert_allclose(velocity, 1.5 * subject.facing(1.3), atol=1e-6)
        np.testing.assert_allclose(subject.position(0.0), [1.0, 0.0, 2.0])
    np.testing.assert_allclose(Subject("man", "red", yaw=math.pi / 2).facing(0.0), [-1, 0, 0], atol=1e-12)


def test_random_scenes_keep_their_promises():
    rng = np.random.default_rng(5)
    for i in range(300):
        scene = random_scene(rng, 1 + i % 2)
        first = scene.subjects[0]
        assert (first.x, first.z, first.yaw) == (0.0, 0.0, 0.0)
        for prop in scene.props:
            distance = math.hypot(prop.x, prop.z)
            assert distance - prop.radius >= NEAR_RADIUS and distance + prop.radius <= FAR_RADIUS + 1e-9
        if i % 2:
            assert scene.subjects[1].description() != first.description()


def test_the_largest_scenes_fit():
    for kind in KINDS:
        for action in ACTIONS:
            subjects = tuple(Subject(kind, "red", action, x=3.0 * i) for i in range(3))
            for shape in SHAPES:
                primitives(Scene(subjects, tuple(Prop(shape, "red", 1.0, i, 9.0) for i in range(8))), [0.0])


def test_clear_views_takes_away_what_hides_the_subject():
    props = (
        Prop("tree", "green", 3.0, 0.2, 5.0),
        Prop("box", "red", 1.0, 5.0, 0.0),
        Prop("ball", "red", 1.0, 0.0, -6.0),
    )
    scene = Scene((Subject("man", "red"),), props)
    assert scene.clear_views(np.array([[0.0, -1.5, 8.0]])).props == props[1:]
    assert scene.clear_views(np.array([[4.8, -1.5, 0.3]])).props == (props[0], props[2])  # the camera stands in the box
    assert scene.clear_views(np.array([[-3.0, -1.5, 0.0]])).props == props


@pytest.mark.parametrize(
    "make",
    [
        lambda: Subject("unicorn", "red"),
        lambda: Subject("man", "mauve"),
        lambda: Subject("man", "red", height=-1.0),
        lambda: Prop("box", "red", 0.0, 1.0, 1.0),
        lambda: Scene((), sun=(0.0, 1.0, 0.0)),
        lambda: Scene(tuple(Subject("man", "red") for _ in range(4))),
        lambda: dataclasses.replace(SCENE, sky="lava"),
    ],
)
def test_wrong_scenes_are_refused(make):
    with pytest.raises(ValueError, match="must|unknown|at most"):
        make()
