"""Depth of field: frames as a thin lens sees them, sharp at one distance and blurred in front of it and behind it.

The blur is made of the colours and the depths of a pinhole's frame. A point at the depth z is spread over a disc whose
radius is R fx |1/s - 1/z| pixels, for a lens of the radius R that is focused at s. Each pixel gathers what reaches it.
What is in front spreads over it by its own disc and covers a part of it. The rest of the pixel is the mean of what is
as far or farther, within the smaller one of the two discs, so that a sharp thing keeps its edge before a blurred
ground. What stands behind something blurred and is hidden from the pinhole is not known; its neighbours take its place.

Array axes: T frames; H, W rows and columns; K offsets between pixels.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from shotverse_jax.camera.trajectory import Trajectory

WIDEST = 32
"""Largest radius of a disc in pixels; a wider blur is cut off there."""
_FRONT = 0.5  # pixels by which discs of surfaces must differ, where one covers the other


def blur_radius(trajectory: Trajectory, depth, width: int | None = None) -> np.ndarray:
    """Returns the radius [T] in pixels over which a point at a depth is spread.

    Args:
        trajectory: the cameras; its unit of length is the metre.
        depth: metres along the optical axis, [T] or a number; infinity is the sky.
        width: pixels of the picture's width; None (default) is that of the trajectory.
    """
    per_metre_T, focus_T = _discs(trajectory, trajectory.width if width is None else width)
    return np.abs(per_metre_T / np.asarray(depth, np.float64) - focus_T)


def _discs(trajectory: Trajectory, width: int) -> tuple[np.ndarray, np.ndarray]:
    """R fx and R fx / s of every frame: the disc's radius is the first over the depth, minus the second."""
    per_metre_T = trajectory.lens_radius_T * trajectory.intrinsics_T4[:, 0] * width / trajectory.width
    if trajectory.focus_T2 is None:
        return per_metre_T, per_metre_T
    return per_metre_T, per_metre_T / np.where(per_metre_T > 0, trajectory.focus_T2[:, 0], 1.0)


def focused(color_THW3, depth_THW, trajectory: Trajectory, frames) -> np.ndarray:
    """Returns frames [T, H, W, 3] uint8 with the depth of field of a trajectory.

    Args:
        color_THW3: uint8 frames of a pinhole.
        depth_THW: their depths along the optical axis, metres; infinity for the sky.
        trajectory: the cameras; without a focus the frames are returned as they are.
        frames: [T] number of each frame in the trajectory.
    """
    if trajectory.focus_T2 is None:
        return np.asarray(color_THW3)
    depth_THW = np.asarray(depth_THW)
    per_metre_T, focus_T = (part[frames].astype(np.float32) for part in _discs(trajectory, depth_THW.shape[2]))
    near_T = depth_THW.min((1, 2))
    widest = max(np.abs(per_metre_T / near_T - focus_T).max(), focus_T.max())  # the nearest point, or the sky
    # Powers of two, so that few programs are compiled.
    reach = min(2 ** max(math.ceil(math.log2(max(widest, 1.0))), 0), WIDEST)
    return np.asarray(_gather(color_THW3, depth_THW, per_metre_T, focus_T, reach))


@functools.partial(jax.jit, static_argnames="reach")
def _gather(color_THW3, depth_THW, per_metre_T, focus_T, reach: int):
    reach_K2 = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1).T
    offset_K2 = jnp.asarray(reach_K2[np.hypot(*reach_K2.T) < reach + 0.5])

    def frame(inputs):
        color_HW3, depth_HW, per_metre, focus = inputs
        height, width = depth_HW.shape
        near_HW = per_metre / depth_HW  # disc's radius, with a sign and shifted: larger is nearer
        pad = lambda x: jnp.pad(x, ((reach, reach), (reach, reach)), mode="edge")  # noqa: E731
        planes = [pad(near_HW), *(pad(color_HW3[..., i].astype(jnp.float32)) for i in range(3))]
        disc_HW = jnp.minimum(jnp.abs(near_HW - focus), reach)

        def step(k, sums):
            down, right = offset_K2[k] + reach
            near, *color = (jax.lax.dynamic_slice(plane, (down, right), (height, width)) for plane in planes)
            away = jnp.sqrt(jnp.sum(offset_K2[k] ** 2).astype(jnp.float32))
            disc = jnp.minimum(jnp.abs(near - focus), reach)
            front = near - near_HW > _FRONT
            disc = jnp.where(front, disc, jnp.minimum(disc, disc_HW))
            share = jnp.clip(disc - away + 0.5, 0, 1) / jnp.maximum(jnp.pi * disc**2, 1.0)
            before, behind = jnp.where(front, share, 0), jnp.where(front, 0, share)
            parts = [before, behind, *(before * c for c in color), *(behind * c for c in color)]
            return [total + part for total, part in zip(sums, parts, strict=True)]

        sums = [jnp.zeros((height, width))] * 8
        before, behind, *color = jax.lax.fori_loop(0, len(offset_K2), step, sums)
        cover = jnp.minimum(before, 1)
        over = cover / jnp.maximum(before, 1e-6)
        mixed = [over * a + (1 - cover) * b / behind for a, b in zip(color[:3], color[3:], strict=True)]
        return jnp.round(jnp.stack(mixed, axis=-1)).astype(jnp.uint8)

    return jax.lax.map(frame, (color_THW3, depth_THW, per_metre_T, focus_T))
