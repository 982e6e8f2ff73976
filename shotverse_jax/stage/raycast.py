"""An analytic ray caster for stage scenes: colour, exact depth and instance masks of every frame.

Pixels: pixel (row i, column j) covers [j, j+1] x [i, i+1], so its centre is at (u, v) = (j + 0.5, i + 0.5). The
intrinsics fx, fy, cx, cy are in these coordinates; cx = width / 2 is the middle of the image.
Rays are not normalised: their z in the camera is 1, so the ray parameter t is the z-depth.
Scenes: all have the same array shapes, so one compiled program serves all; loops run over the parts in use only.

Array axes: T frames; P rays; N parts of one shape; 3 coordinates or colour channels. In the inner functions points and
rays are lists of three [P] arrays, which keeps the long axis last.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from shotverse_jax.stage.bodies import SOLIDS, prop_parts, subject_parts
from shotverse_jax.stage.scene import COLORS, FLOORS, Scene

CAPACITY = {"capsule": 96, "ellipsoid": 40, "box": 48, "cylinder": 48}
"""The most parts of each shape in a scene; enough for the largest scene that `Scene` accepts."""
NEAR = 0.05
"""Surfaces nearer than this z-depth (metres) are not seen; surfaces are seen from outside only."""

_SKY_LOOKS = {  # zenith, horizon, sun light, sky light on surfaces
    "day": ((0.25, 0.47, 0.82), (0.76, 0.86, 0.95), (0.92, 0.87, 0.78), (0.46, 0.50, 0.56)),
    "overcast": ((0.58, 0.62, 0.67), (0.80, 0.82, 0.84), (0.50, 0.50, 0.50), (0.58, 0.60, 0.63)),
    "sunset": ((0.24, 0.24, 0.47), (0.98, 0.60, 0.33), (1.00, 0.66, 0.38), (0.38, 0.34, 0.42)),
    "dawn": ((0.38, 0.49, 0.70), (0.97, 0.78, 0.74), (0.90, 0.72, 0.62), (0.42, 0.42, 0.50)),
    "night": ((0.02, 0.03, 0.09), (0.10, 0.13, 0.24), (0.34, 0.40, 0.56), (0.20, 0.23, 0.33)),
}
_HAZE = 45.0  # metres after which the floor has lost 63 % of its colour to the horizon
SUBJECT = 2
"""Instance number of a scene's first subject. The other subjects follow, then the props; 0 is the sky, 1 the floor."""


class Frames(NamedTuple):
    """Rendered frames.

    Attributes:
        color_THW3: [T, H, W, 3] uint8.
        depth_THW: [T, H, W] float32 z-depth in metres, inf for the sky.
        instance_THW: [T, H, W] int32 instance numbers (see `SUBJECT`).
    """

    color_THW3: jax.Array
    depth_THW: jax.Array
    instance_THW: jax.Array


def primitives(scene: Scene, time_T: np.ndarray) -> dict[str, np.ndarray]:
    """Turns a scene at `time_T` seconds into arrays of fixed size for `render` (NumPy, float32 and int32).

    Returns:
        capsule: [T, N, 7], one end, the way to the other end, radius; N is the shape's `CAPACITY`.
        ellipsoid, box, cylinder: [T, N, 3, 4], affine maps to the unit shapes.
        count: [4] parts in use of the four shapes, in this order.
        color: [sum of N, 3] RGB of all parts.
        instance: [sum of N] instance numbers of all parts.
        floor: [2, 3] colours of the floor's pattern.
        pattern: index in `FLOORS`.
        sky: [4, 3] colours of zenith, horizon, sunlight and skylight.
        sun: [3] unit vector towards the sun.

    Raises:
        ValueError: the scene has more parts than `CAPACITY`.
    """
    time_T = np.atleast_1d(np.asarray(time_T, np.float64))
    bodies = [subject_parts(s, time_T) for s in scene.subjects] + [prop_parts(p) for p in scene.props]
    out, counts, colors, instances = {}, [], [], []
    for shape, capacity in CAPACITY.items():
        tail = (7,) if shape == "capsule" else (3, 4)
        table = np.zeros((len(time_T), capacity, *tail), np.float32)
        color, instance, used = np.zeros((capacity, 3), np.float32), np.zeros(capacity, np.int32), 0
        for number, body in enumerate(bodies, start=SUBJECT):
            if shape not in body:
                continue
            rows, shades = body[shape]
            end = used + len(shades)
            if end > capacity:
                raise ValueError(f"the scene needs more than {capacity} parts of shape {shape}; use fewer subjects")
            table[:, used:end], color[used:end], instance[used:end] = rows, shades, number
            used = end
        out[shape] = table
        counts.append(used)
        colors.append(color)
        instances.append(instance)
    floor = np.array([COLORS[name] for name in scene.floor_colors])
    return out | {
        "count": np.array(counts, np.int32),
        "color": np.concatenate(colors),
        "instance": np.concatenate(instances),
        "floor": (0.75 * floor + 0.12).astype(np.float32),  # floors are muted, so that subjects stand out
        "pattern": np.int32(FLOORS.index(scene.floor)),
        "sky": np.array(_SKY_LOOKS[scene.sky], np.float32),
        "sun": np.array(scene.sun, np.float32),
    }


@functools.partial(jax.jit, static_argnames=("width", "height", "supersample", "chunk"))
def render(prims: dict, pose_T34, intrinsics_T4, width: int, height: int, supersample: int = 1, chunk: int = 1):
    """Renders a scene through moving cameras. The function is jitted; `jax.vmap` over all array arguments works.

    Args:
        prims: `primitives` of the scene, at T times.
        pose_T34: [T, 3, 4] camera-to-world, OpenCV axes, in stage coordinates, metres.
        intrinsics_T4: [T, 4] fx, fy, cx, cy in pixels of width x height.
        width, height: size of the frames in pixels.
        supersample: each pixel's colour is the mean of supersample² rays; default 1. Depth and instance always belong
            to the ray through the pixel's centre.
        chunk: frames rendered at once; it changes memory and speed, not the result. 1 (default) suits CPUs, more a GPU.

    Returns:
        `Frames`.
    """
    fixed = {k: jnp.asarray(v) for k, v in prims.items() if k not in CAPACITY}
    moving = {k: jnp.asarray(prims[k]) for k in CAPACITY}
    pose_T34, intrinsics_T4 = jnp.asarray(pose_T34, jnp.float32), jnp.asarray(intrinsics_T4, jnp.float32)
    grid = _pixel_grid(width, height, 1)
    fine = _pixel_grid(width, height, supersample)

    def frame(inputs):
        tables, pose_34, lens_4 = inputs
        scene = fixed | tables
        ray_3P = _rays(pose_34, lens_4, grid)
        depth_P, part_P = _nearest(scene, pose_34[:, 3], ray_3P)
        instance_P = jnp.where(part_P >= 0, scene["instance"][part_P], jnp.where(part_P == -1, 1, 0))
        if supersample == 1:
            color_P3 = _shade(scene, pose_34[:, 3], ray_3P, depth_P, part_P, lens_4[0])
        else:
            ray_3P = _rays(pose_34, lens_4, fine)
            hit = _nearest(scene, pose_34[:, 3], ray_3P)
            color_P3 = _shade(scene, pose_34[:, 3], ray_3P, *hit, lens_4[0] * supersample)
            color_P3 = color_P3.reshape(height, supersample, width, supersample, 3).mean((1, 3))
        color_P3 = jnp.round(255 * jnp.clip(color_P3, 0, 1)).astype(jnp.uint8)
        shape = (height, width)
        return color_P3.reshape(*shape, 3), depth_P.reshape(shape), instance_P.reshape(shape)

    return Frames(*jax.lax.map(frame, (moving, pose_T34, intrinsics_T4), batch_size=chunk if chunk > 1 else None))


def _pixel_grid(width: int, height: int, supersample: int) -> np.ndarray:
    """[2, P] coordinates u, v of all ray positions, row by row."""
    u = (np.arange(width * supersample) + 0.5) / supersample
    v = (np.arange(height * supersample) + 0.5) / supersample
    return np.stack(np.meshgrid(u, v)).reshape(2, -1).astype(np.float32)


def _rays(pose_34, lens_4, grid_2P):
    """Directions [3, P] in the stage, of z-depth 1."""
    fx, fy, cx, cy = lens_4
    x_P, y_P = (grid_2P[0] - cx) / fx, (grid_2P[1] - cy) / fy
    return [pose_34[i, 0] * x_P + pose_34[i, 1] * y_P + pose_34[i, 2] for i in range(3)]


def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _apply(map_34, p, translate: bool):
    """Affine map of a point (or the linear part of a direction) given as three arrays."""
    return [_dot(map_34[i], p) + (map_34[i, 3] if translate else 0.0) for i in range(3)]


def _capsule(row_7, origin, ray):
    """First z-depth at which rays from outside meet a capsule, inf where none does."""
    axis, start, square = row_7[3:6], origin - row_7[:3], row_7[6] ** 2
    axis_axis, axis_start, start_start = _dot(axis, axis), _dot(axis, start), _dot(start, start)
    axis_ray, ray_start, ray_ray = _dot(axis, ray), _dot(ray, start), _dot(ray, ray)
    # The infinite cylinder: |q|² · |axis|² - (q · axis)² = radius² · |axis|² for q = start + t ray, quadratic in t.
    a = axis_axis * ray_ray - axis_ray**2
    b = axis_axis * ray_start - axis_start * axis_ray
    c = axis_axis * start_start - axis_start**2 - square * axis_axis
    h = b * b - a * c
    t = (-b - jnp.sqrt(jnp.maximum(h, 0))) / jnp.maximum(a, 1e-12)
    along = axis_start + t * axis_ray
    on_side = (h >= 0) & (along > 0) & (along < axis_axis)
    # Outside the two ends the surface is a ball. The ball at the end where the ray passes the cylinder is the right
    # one; a capsule without length is one ball.
    far_end = along >= axis_axis
    far_end &= axis_axis > 0
    b = ray_start - jnp.where(far_end, axis_ray, 0)
    c = start_start - square + jnp.where(far_end, axis_axis - 2 * axis_start, 0)
    g = b * b - ray_ray * c
    t_ball = (-b - jnp.sqrt(jnp.maximum(g, 0))) / ray_ray
    return jnp.where(on_side, t, jnp.where(g >= 0, t_ball, jnp.inf))


def _ellipsoid(map_34, origin, ray):
    o, d = _apply(map_34, origin, True), _apply(map_34, ray, False)
    return _unit_sphere(o, d)[0]


def _unit_sphere(o, d):
    """Entry and exit of the unit sphere; (inf, -inf) on a miss."""
    a, b, c = _dot(d, d), _dot(o, d), _dot(o, o) - 1
    h = b * b - a * c
    root = jnp.sqrt(jnp.maximum(h, 0))
    return jnp.where(h >= 0, (-b - root) / a, jnp.inf), jnp.where(h >= 0, (-b + root) / a, -jnp.inf)


def _slab(o, d):
    """Entry and exit of -1 <= x <= 1 along one axis."""
    # A ray parallel to the slab divides by a tiny number: it enters before all and leaves after all, or the reverse.
    safe = jnp.where(jnp.abs(d) < 1e-9, 1e-9, d)
    middle, reach = -o / safe, jnp.abs(1 / safe)
    return middle - reach, middle + reach


def _unit_box(o, d):
    spans = [_slab(o[i], d[i]) for i in range(3)]
    enter = jnp.maximum(jnp.maximum(spans[0][0], spans[1][0]), spans[2][0])
    leave = jnp.minimum(jnp.minimum(spans[0][1], spans[1][1]), spans[2][1])
    return jnp.where(enter <= leave, enter, jnp.inf), jnp.where(enter <= leave, leave, -jnp.inf)


def _box(map_34, origin, ray):
    return _unit_box(_apply(map_34, origin, True), _apply(map_34, ray, False))[0]


def _unit_cylinder(o, d):
    a = jnp.maximum(d[0] * d[0] + d[2] * d[2], 1e-12)
    b, c = o[0] * d[0] + o[2] * d[2], o[0] * o[0] + o[2] * o[2] - 1
    h = b * b - a * c
    root = jnp.sqrt(jnp.maximum(h, 0))
    low, high = _slab(o[1], d[1])
    enter, leave = jnp.maximum((-b - root) / a, low), jnp.minimum((-b + root) / a, high)
    hit = (h >= 0) & (enter <= leave)
    return jnp.where(hit, enter, jnp.inf), jnp.where(hit, leave, -jnp.inf)


def _cylinder(map_34, origin, ray):
    return _unit_cylinder(_apply(map_34, origin, True), _apply(map_34, ray, False))[0]


_MEET = {"capsule": _capsule, "ellipsoid": _ellipsoid, "box": _box, "cylinder": _cylinder}
_UNIT = {"ellipsoid": _unit_sphere, "box": _unit_box, "cylinder": _unit_cylinder}
_FIRST_PART = dict(zip(CAPACITY, np.cumsum([0, *CAPACITY.values()]).tolist(), strict=False))


def _nearest(scene, origin_3, ray):
    """z-depth and part number of the surface that each ray meets first; -1 is the floor, -2 the sky (depth inf)."""
    depth = -origin_3[1] / jnp.where(jnp.abs(ray[1]) < 1e-9, 1e-9, ray[1])
    on_floor = depth > NEAR
    best = jnp.where(on_floor, depth, jnp.inf), jnp.where(on_floor, -1, -2)
    # One shape after the other, each over its parts in use: a loop with a traced length instead of a padded batch, in
    # which every ray would meet all 232 parts.
    for order, (shape, meet) in enumerate(_MEET.items()):

        def step(i, best, shape=shape, meet=meet):
            depth, part = best
            t = meet(scene[shape][i], origin_3, ray)
            nearer = (t < depth) & (t > NEAR)
            return jnp.where(nearer, t, depth), jnp.where(nearer, _FIRST_PART[shape] + i, part)

        best = jax.lax.fori_loop(0, scene["count"][order], step, best)
    return best


def _shadow(scene, point, part):
    """True where another part is between a surface point and the sun. Parts are convex, so no part shades itself."""
    # The light is parallel: seen along it, a capsule is a thick line, and a point is dark where that line covers it.
    sun = scene["sun"]
    flat = jnp.sqrt(sun[0] ** 2 + sun[2] ** 2 + 1e-12)
    u_3 = jnp.stack([sun[2] / flat, 0.0 * flat, -sun[0] / flat])  # two axes across the light
    v_3 = jnp.cross(sun, u_3)
    across_u, across_v, along = _dot(u_3, point), _dot(v_3, point), _dot(sun, point)

    def capsule(i, dark):
        row = scene["capsule"][i]
        a_u, a_v, a_s = _dot(u_3, row), _dot(v_3, row), _dot(sun, row)
        b_u, b_v, b_s = _dot(u_3, row[3:6]), _dot(v_3, row[3:6]), _dot(sun, row[3:6])
        p_u, p_v = across_u - a_u, across_v - a_v
        h = jnp.clip((p_u * b_u + p_v * b_v) / (b_u * b_u + b_v * b_v + 1e-12), 0, 1)
        gap = (p_u - h * b_u) ** 2 + (p_v - h * b_v) ** 2
        # A visible point is outside the capsule, so all of the capsule is before it or behind it along the light.
        return dark | ((gap < row[6] ** 2) & (a_s + h * b_s > along) & (part != i))

    dark = jax.lax.fori_loop(0, scene["count"][0], capsule, part < -2)
    for order, shape in enumerate(SOLIDS, start=1):

        def solid(i, dark, shape=shape):
            map_34 = scene[shape][i]
            enter, leave = _UNIT[shape](_apply(map_34, point, True), _apply(map_34, sun, False))
            return dark | ((enter <= leave) & (leave > 1e-3) & (part != _FIRST_PART[shape] + i))

        dark = jax.lax.fori_loop(0, scene["count"][order], solid, dark)
    return dark


def _normal(scene, point, part):
    """Outward unit normal [3][P] of the part that was hit at `point`; up for the floor."""
    # Every ray has one part, so the row of each is looked up for every shape and the right result is chosen at the end.
    last = {shape: CAPACITY[shape] - 1 for shape in CAPACITY}
    index = {shape: jnp.clip(part - _FIRST_PART[shape], 0, last[shape]) for shape in CAPACITY}
    row = scene["capsule"][index["capsule"]]
    start, axis = row[:, :3].T, row[:, 3:6].T
    p = [point[i] - start[i] for i in range(3)]
    h = jnp.clip(_dot(p, axis) / jnp.maximum(_dot(axis, axis), 1e-12), 0, 1)
    normal = [p[i] - h * axis[i] for i in range(3)]  # away from the nearest point of the axis

    # A solid's normal is that of its unit shape at the mapped point, multiplied by the transposed map.
    maps = jnp.concatenate([scene[shape] for shape in SOLIDS])
    map_P34 = maps[jnp.clip(part - _FIRST_PART["ellipsoid"], 0, len(maps) - 1)]
    q = [_dot(map_P34[:, i, :3].T, point) + map_P34[:, i, 3] for i in range(3)]
    size = [jnp.abs(c) for c in q]
    is_box, is_cylinder = part >= _FIRST_PART["box"], part >= _FIRST_PART["cylinder"]
    on_face = [size[i] >= jnp.maximum(size[(i + 1) % 3], size[(i + 2) % 3]) for i in range(3)]
    radius = jnp.sqrt(q[0] ** 2 + q[2] ** 2)
    on_cap = size[1] >= radius
    box = [jnp.where(on_face[i], jnp.sign(q[i]), 0.0) for i in range(3)]
    cylinder = [jnp.where(on_cap, jnp.sign(q[1]) if i == 1 else 0.0, 0.0 if i == 1 else q[i]) for i in range(3)]
    local = [jnp.where(is_cylinder, cylinder[i], jnp.where(is_box, box[i], q[i])) for i in range(3)]
    solid = [_dot(map_P34[:, :, i].T, local) for i in range(3)]

    is_solid, is_floor = part >= _FIRST_PART["ellipsoid"], part < 0
    up = (0.0, -1.0, 0.0)
    normal = [jnp.where(is_floor, up[i], jnp.where(is_solid, solid[i], normal[i])) for i in range(3)]
    scale = jax.lax.rsqrt(jnp.maximum(_dot(normal, normal), 1e-20))
    return [n * scale for n in normal]


def _floor_color(scene, point, footprint):
    """[3][P] colour of the floor. Its pattern of 1 m fades where one pixel covers more than it can show."""
    checker = jnp.sin(jnp.pi * point[0]) * jnp.sin(jnp.pi * point[2]) > 0
    stripes = jnp.sin(jnp.pi * point[0]) > 0
    pattern = scene["pattern"]
    second = jnp.where(pattern == 1, checker, (pattern == 2) & stripes)
    clarity = jnp.clip(1.6 - 1.6 * footprint, 0, 1)
    mean = jnp.where(pattern == 0, 0.0, 0.5)
    mix = mean + clarity * (second - mean)
    first, other = scene["floor"]
    return [first[i] + mix * (other[i] - first[i]) for i in range(3)]


def _shade(scene, origin_3, ray, depth, part, focal):
    """Colour [P, 3]: Lambert sun with hard shadows, sky light, a weak fill against the sun, far haze, gradient sky."""
    is_sky, is_floor = part == -2, part == -1
    safe_depth = jnp.where(is_sky, 0.0, depth)
    point = [origin_3[i] + safe_depth * ray[i] for i in range(3)]
    normal = _normal(scene, point, part)
    facing = jnp.maximum(_dot(normal, scene["sun"]), 0)
    direct = jnp.where(_shadow(scene, point, part), 0.0, facing)
    # 1 for a surface that looks up, 0.44 for one that looks down; the fill gives the shaded side a form.
    fill = jnp.maximum(-scene["sun"][0] * normal[0] - scene["sun"][2] * normal[2], 0)
    around = 0.72 - 0.28 * normal[1] + 0.45 * fill

    zenith, horizon, sunlight, skylight = scene["sky"]
    length = jnp.sqrt(_dot(ray, ray))
    height = jnp.maximum(jnp.abs(origin_3[1]), 0.1)
    # Metres of floor in one pixel. They grow with the square of the distance, as the floor is seen at a flatter angle.
    footprint = safe_depth * safe_depth * length / (focal * height)
    floor = _floor_color(scene, point, footprint)
    albedo = scene["color"][jnp.maximum(part, 0)].T
    haze = jnp.where(is_floor, 1 - jnp.exp(-safe_depth * length / _HAZE), 0.0)

    elevation = jnp.clip(-ray[1] / length, 0, 1)
    blend = jnp.sqrt(elevation)
    halo = jnp.maximum(_dot(ray, scene["sun"]) / length, 0) ** 64
    out = []
    for i in range(3):
        surface = jnp.where(is_floor, floor[i], albedo[i]) * (direct * sunlight[i] + around * skylight[i])
        surface = surface + haze * (horizon[i] - surface)
        sky = horizon[i] + blend * (zenith[i] - horizon[i]) + 0.5 * halo * sunlight[i]
        out.append(jnp.where(is_sky, sky, surface))
    return jnp.stack(out, axis=-1)
