"""Framing: where a subject is in the picture, how large, from where it is seen, and how good a shot that makes.

All functions are pure and take arrays, batched over any leading axes and differentiable; callers jit them. Cameras are
camera-to-world with OpenCV axes, in a world whose y axis points down (the stage's). A *lens* is fx, fy, cx, cy as
shares of the picture's width and height, so that points of the picture have u and v from 0 to 1, u to the right and v
down. Joints are points of a body; the first three are its head, chest and pelvis (`JOINTS`).

Array axes: T frames; J joints; 2 u, v; 3 coordinates x, y, z; 4 of a lens; "..." leading axes.
"""

import dataclasses
import functools
import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from shotverse_jax.camera.vocabulary import ANGLES, POSITIONS, SIDES, SIZES

JOINTS = (
    "head", "chest", "pelvis", "left wrist", "right wrist", "left knee", "right knee", "left ankle", "right ankle",
)  # fmt: skip
"""The nine key joints of a body, in their order."""
CORE = 3
"""How many of the first joints are the trunk: a subject is on screen while one of them is."""
NEAR = 1e-4
"""A point is in front of the camera when its depth is larger, in units of length."""
BORDER = 0.1
"""Share of the width and of the height on each side that counts as the border of the picture."""

ANGLE_OF_VIEW_RULE = 30.0
"""Degrees by which two cameras on one subject should differ, or the cut looks like a jump."""
JERK = 0.013
"""Usual jerk of smooth camera paths, units of length per frame³ (95 % of filmed paths are below it)."""


class Seen(NamedTuple):
    """Joints as a camera sees them.

    Attributes:
        uv_TJ2: [..., T, J, 2] u and v. Where a joint is not in front of the camera they are finite, without a meaning.
        depth_TJ: [..., T, J] depth along the optical axis, units of length.
    """

    uv_TJ2: jax.Array
    depth_TJ: jax.Array

    @property
    def front_TJ(self) -> jax.Array:
        """[..., T, J] whether a joint is in front of the camera."""
        return self.depth_TJ > NEAR

    @property
    def visible_TJ(self) -> jax.Array:
        """[..., T, J] whether a joint is in front of the camera and in the picture; what hides it does not count."""
        return self.front_TJ & (self.margin_TJ >= 0)

    @property
    def margin_TJ(self) -> jax.Array:
        """[..., T, J] distance to the nearest edge, as a share of width or height; negative outside the picture."""
        return _margin(self.uv_TJ2)

    @property
    def facing_T(self) -> jax.Array:
        """[..., T] whether head and pelvis are in front of the camera."""
        return self.front_TJ[..., 0] & self.front_TJ[..., CORE - 1]

    def center_T2(self, height_T) -> jax.Array:
        """[..., T, 2] u and v of what a picture of such a size is centred on (`focus`); `height_T` as `body_height`."""
        share_T1 = focus(height_T)[..., None]
        return share_T1 * self.uv_TJ2[..., 0, :] + (1 - share_T1) * self.uv_TJ2[..., CORE - 1, :]


def lens_of(intrinsics_T4, width: int, height: int) -> jax.Array:
    """Returns lenses [..., T, 4] as shares of the picture from intrinsics in pixels of width x height."""
    return jnp.asarray(intrinsics_T4) / jnp.array([width, height, width, height], jnp.float32)


def project(pose_T34, lens_T4, joint_TJ3) -> Seen:
    """Returns where joints [..., T, J, 3] of the world are in the pictures of cameras [..., T, 3, 4].

    Args:
        pose_T34: camera-to-world poses.
        lens_T4: [..., T, 4] lens of every frame, or [4].
        joint_TJ3: the joints; T may be 1 for a body that stands still.
    """
    offset_TJ3 = joint_TJ3 - pose_T34[..., None, :, 3]
    seen_TJ3 = jnp.einsum("...tij,...tki->...tkj", pose_T34[..., :3], offset_TJ3)
    depth_TJ = seen_TJ3[..., 2]
    # The depth is replaced before the division, so that no gradient is NaN where a joint is behind the camera.
    safe_TJ = jnp.where(depth_TJ > NEAR, depth_TJ, 1.0)
    lens_T14 = jnp.asarray(lens_T4)[..., None, :]
    return Seen(lens_T14[..., :2] * seen_TJ3[..., :2] / safe_TJ[..., None] + lens_T14[..., 2:], depth_TJ)


def off_screen(seen: Seen) -> jax.Array:
    """[..., T] whether head, chest and pelvis are all outside the picture or behind the camera."""
    return ~seen.visible_TJ[..., :CORE].any(-1)


def out(seen: Seen) -> jax.Array:
    """[..., T] whether no joint at all is in the picture ("Out" of Pulp Motion)."""
    return ~seen.visible_TJ.any(-1)


def severe(seen: Seen) -> jax.Array:
    """[..., T] whether fewer than half of the joints are in the picture ("severe-outscreen" of AESOP)."""
    return seen.visible_TJ.mean(-1) < 0.5


def misframed(seen: Seen, height_T, border: float = BORDER) -> jax.Array:
    """[..., T] whether the subject is off screen or its centre is in the border. The mean over frames is MisR.

    VERTIGO calls the border "the outer 20 %"; its default here is 0.1 on each side, which leaves the central 80 %. The
    centre is `Seen.center_T2`: the middle of the body would put every good close-up of a face in the border.

    height_T: as `body_height` returns.
    """
    inside_T = seen.facing_T & (_margin(seen.center_T2(height_T)) >= border)
    return off_screen(seen) | ~inside_T


def body_height(seen: Seen, lens_T4, height) -> jax.Array:
    """[..., T] height of the whole body in heights of the picture, as if it stood upright before a level camera.

    The body's foreshortening does not count, so that a size is a matter of distance and lens alone. It is 0 behind the
    camera.

    Args:
        seen: the joints.
        lens_T4: the lens.
        height: [...] height of the body, units of length.
    """
    depth_T = (seen.depth_TJ[..., 0] + seen.depth_TJ[..., CORE - 1]) / 2
    safe_T = jnp.where(depth_T > NEAR, depth_T, 1.0)
    return jnp.where(depth_T > NEAR, jnp.asarray(lens_T4)[..., 1] * jnp.asarray(height)[..., None] / safe_T, 0.0)


def size_class(height_T) -> jax.Array:
    """Index in `SIZES` of heights as of `body_height`."""
    edges = _halfway([math.log(height) for height in SIZES.values()])
    return jnp.searchsorted(edges, jnp.log(jnp.maximum(height_T, 1e-6)))


def focus(height_T) -> jax.Array:
    """[..., T] what a picture of a size is centred on: 0 is the pelvis (wide shots), 1 the head (close-ups).

    height_T: as `body_height` returns.
    """
    near, far = jnp.log(SIZES["close"]), jnp.log(SIZES["wide"])
    return jnp.clip((jnp.log(jnp.maximum(height_T, 1e-6)) - far) / (near - far), 0, 1)


def aim(joint_TJ3, height_T) -> jax.Array:
    """[..., T, 3] the point of the body on which a picture of this size is centred; `height_T` as `body_height`."""
    share_T1 = focus(height_T)[..., None]
    return share_T1 * joint_TJ3[..., 0, :] + (1 - share_T1) * joint_TJ3[..., CORE - 1, :]


def elevation(pose_T34, point_T3) -> jax.Array:
    """[..., T] degrees by which the camera is above a point, seen from it; below it they are negative."""
    offset_T3 = pose_T34[..., 3] - point_T3
    flat_T = jnp.sqrt(offset_T3[..., 0] ** 2 + offset_T3[..., 2] ** 2 + 1e-12)
    return jnp.degrees(jnp.arctan2(-offset_T3[..., 1], flat_T))


def angle_class(degrees_T) -> jax.Array:
    """Index in `ANGLES` of elevations in degrees."""
    return jnp.searchsorted(jnp.array([high for _, high in ANGLES.values()][:-1]), degrees_T)


def azimuth(pose_T34, point_T3, facing_T3) -> jax.Array:
    """[..., T] degrees around a subject at which the camera is: 0 where it faces, positive on its right, 180 behind."""
    x_T, z_T = (pose_T34[..., i, 3] - point_T3[..., i] for i in (0, 2))
    ahead_x, ahead_z = facing_T3[..., 0], facing_T3[..., 2]
    # Seen from above with x to the right and z up, the right of who faces (0, 1) is (1, 0).
    return jnp.degrees(jnp.arctan2(x_T * ahead_z - z_T * ahead_x, x_T * ahead_x + z_T * ahead_z))


def side_class(degrees_T) -> jax.Array:
    """Index in `SIDES` of azimuths in degrees."""
    return jnp.round(degrees_T / 45).astype(jnp.int32) % len(SIDES)


def position_class(u_T) -> jax.Array:
    """Index in `POSITIONS` of the u of a subject's middle."""
    return jnp.searchsorted(_halfway(list(POSITIONS.values())), u_T)


def thirds(center_T2) -> jax.Array:
    """[..., T] distance of a point of the picture to the nearest of the four crossings of the thirds, in shares."""
    offset_T2 = jnp.minimum(jnp.abs(center_T2 - 1 / 3), jnp.abs(center_T2 - 2 / 3))
    return _length(offset_T2)


def jerk(pose_T34) -> jax.Array:
    """[...] mean jerk of the camera, units of length per frame³: 0 for a camera at constant speed. T is 4 or more."""
    if pose_T34.shape[-3] < 4:
        return jnp.zeros(pose_T34.shape[:-3])
    return _length(jnp.diff(pose_T34[..., 3], 3, axis=-2)).mean(-1)


# ---- the reward of one shot


class Wanted(NamedTuple):
    """What a shot should show. Every field may have leading axes.

    Attributes:
        position_2: u and v of the subject's middle; default the middle of the picture.
        height: of the whole body in heights of the picture (`SIZES`); 0 (default) for any size.
        angle_2: degrees of the lowest and the highest elevation (`ANGLES`); default any.
    """

    position_2: jax.Array | tuple[float, float] = (0.5, 0.5)
    height: jax.Array | float = 0.0
    angle_2: jax.Array | tuple[float, float] = (-90.0, 90.0)


ANY = Wanted()
"""Any size and angle, in the middle of the picture."""


@dataclasses.dataclass(frozen=True)
class Reward:
    """Weights and widths of `framing_reward`; hashable, for jit's static arguments.

    Attributes:
        visible, border, center, size, angle, smooth: weights of the terms, whose sum is 1.
        off_screen: weight of the share of frames without the subject, which is subtracted.
        margin: share of width and height on each side that is border.
        spread: natural logarithm of the ratio of heights at which the size term has fallen to exp(-1/2).
        degrees: distance to the wanted angles, in degrees, at which the angle term has fallen to exp(-1/2).
        soft: width of the edge of the picture in shares, for gradients; 0 (default) counts frames as they are.
    """

    visible: float = 0.35
    border: float = 0.20
    center: float = 0.15
    size: float = 0.15
    angle: float = 0.10
    smooth: float = 0.05
    off_screen: float = 0.5
    margin: float = BORDER
    spread: float = 0.35
    degrees: float = 10.0
    soft: float = 0.0


HARD = Reward()
"""The reward that counts frames as they are."""
SOFT = Reward(soft=0.02)
"""The reward with soft edges, for gradients with regard to the camera."""


def framing_reward(pose_T34, lens_T4, joint_TJ3, height, wanted: Wanted = ANY, reward: Reward = HARD):
    """Returns the framing reward [...] of shots, at most 1: how well a subject is seen, without a look at pixels.

    0.35 visible joints + 0.2 centre inside the border + 0.15 centre at the wanted position + 0.15 wanted size
    + 0.1 wanted angle + 0.05 smoothness, as a mean over frames, minus 0.5 of the share of frames without the subject. A
    frame in which head or pelvis is behind the camera earns nothing. Only joints that belong into a picture of the
    wanted size count: a close-up need not show feet.

    Args:
        pose_T34: [..., T, 3, 4] cameras.
        lens_T4: [..., T, 4] lenses, or [4].
        joint_TJ3: [..., T, J, 3] joints.
        height: [...] height of the body, units of length.
        wanted: what the shot should show.
        reward: weights; `SOFT` makes every term differentiable with regard to the camera.
    """
    seen = project(pose_T34, lens_T4, joint_TJ3)
    height_T = body_height(seen, lens_T4, height)
    inside_TJ = seen.front_TJ * _edge(seen.margin_TJ, reward.soft)
    center_T2 = seen.center_T2(height_T)
    border_T = _edge(_margin(center_T2) - reward.margin, reward.soft)
    away_T = _length(center_T2 - jnp.asarray(wanted.position_2)[..., None, :])
    low_T, high_T = (jnp.asarray(wanted.angle_2)[..., i, None] for i in range(2))
    elevation_T = elevation(pose_T34, aim(joint_TJ3, height_T))
    beyond_T = jnp.maximum(jnp.maximum(low_T - elevation_T, elevation_T - high_T), 0)
    goal_T = jnp.asarray(wanted.height)[..., None]
    ratio_T = jnp.log(jnp.maximum(height_T, 1e-6)) - jnp.log(jnp.where(goal_T > 0, goal_T, 1.0))
    due_TJ = _due(joint_TJ3, jnp.where(goal_T > 0, goal_T, height_T), height)
    frame_T = (
        reward.visible * (due_TJ * inside_TJ).sum(-1) / due_TJ.sum(-1)
        + reward.border * border_T
        + reward.center * (1 - jnp.clip(away_T / 0.5, 0, 1))
        + reward.size * jnp.where(goal_T > 0, jnp.exp(-((ratio_T / reward.spread) ** 2) / 2), 1.0)
        + reward.angle * jnp.exp(-((beyond_T / reward.degrees) ** 2) / 2)
        + reward.smooth * jnp.exp(-jerk(pose_T34) / JERK)[..., None]
    )
    lost_T = 1 - functools.reduce(jnp.maximum, [inside_TJ[..., j] for j in range(CORE)])
    return (seen.facing_T * frame_T - reward.off_screen * lost_T).mean(-1)


def _due(joint_TJ3, height_T, height) -> jax.Array:
    """[..., T, J] joints that a picture of such a size shows, when it is centred as it should be; the head always."""
    up_TJ = (aim(joint_TJ3, height_T)[..., None, 1] - joint_TJ3[..., 1]) / jnp.asarray(height)[..., None, None]
    due_TJ = jnp.abs(up_TJ) * height_T[..., None] <= 0.5
    return jax.lax.stop_gradient(due_TJ.at[..., 0].set(True).astype(height_T.dtype))


# ---- from one shot to the next


def side_of_line(eye_3, start_3, end_3) -> jax.Array:
    """Returns on which side of the line of action a camera is, -1 to 1: negative on the left of who looks along it.

    The line runs on the floor from one point to another: between two who talk, or along the way of one who moves. The
    value is the sine of the angle at the line's middle, so that near 0 the camera is on the line. Two cameras with
    values of different signs are on different sides: a cut between them breaks the 180° rule.
    """
    way_3, offset_3 = end_3 - start_3, eye_3 - (start_3 + end_3) / 2
    across = offset_3[..., 0] * way_3[..., 2] - offset_3[..., 2] * way_3[..., 0]
    return across / jnp.maximum(_flat(way_3) * _flat(offset_3), 1e-9)


def view_change(eye_a_3, eye_b_3, point_3) -> jax.Array:
    """Returns the degrees between two cameras, seen from the subject; less than 30 (the 30° rule) looks like a jump."""
    a_3, b_3 = eye_a_3 - point_3, eye_b_3 - point_3
    return jnp.degrees(jnp.arctan2(_length(jnp.cross(a_3, b_3)), (a_3 * b_3).sum(-1)))


def screen_direction(pose_34, way_3) -> jax.Array:
    """Returns how far a direction of the world points to the right of the picture, from -1 (left) to 1 (right).

    Of a moving subject's way it is its screen direction, which should have one sign in neighbouring shots.
    """
    return (pose_34[..., :, 0] * way_3).sum(-1) / jnp.maximum(_length(way_3), 1e-9)


def eyeline(pose_a_34, gaze_a_3, pose_b_34, gaze_b_3) -> jax.Array:
    """Returns how well the looks of two people in shot and reverse shot meet, from -1 (not at all) to 1.

    One must look to the right of its picture and the other to the left of its own: the value is positive then, and
    larger the more they look sideways.

    Args:
        pose_a_34, pose_b_34: the two cameras.
        gaze_a_3: where the person of the first shot looks; gaze_b_3: the one of the second.
    """
    return -screen_direction(pose_a_34, gaze_a_3) * screen_direction(pose_b_34, gaze_b_3)


def _halfway(values: list[float]) -> jax.Array:
    """The borders between neighbouring values."""
    return jnp.array([(a + b) / 2 for a, b in itertools.pairwise(values)])


def _margin(uv_2) -> jax.Array:
    """Distance to the nearest edge of the picture, negative outside."""
    # Not min(-1): its gradient goes to the entries that equal the minimum, and a compiled program may compute the two
    # sides of that comparison with different last digits, so that the gradient is lost.
    edge_2 = jnp.minimum(uv_2, 1 - uv_2)
    return jnp.minimum(edge_2[..., 0], edge_2[..., 1])


def _edge(margin, soft: float) -> jax.Array:
    """1 inside and 0 outside, with a soft edge where one is wanted."""
    return jax.nn.sigmoid(margin / soft) if soft else (margin >= 0).astype(jnp.float32)


def _length(x) -> jax.Array:
    """Length over the last axis; its gradient at 0 is 0, not NaN."""
    return jnp.sqrt((x**2).sum(-1) + 1e-16)


def _flat(x_3) -> jax.Array:
    """Length on the floor."""
    return jnp.sqrt(x_3[..., 0] ** 2 + x_3[..., 2] ** 2 + 1e-16)
