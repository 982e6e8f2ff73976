"""Pictures and exact depths of a room, without the ray caster of the stage: quick to make, and rich in features."""

import numpy as np

from shotverse_jax.calibration.reconstruction import Footage
from shotverse_jax.camera import se3

HALF = np.array([4.0, 2.0, 4.0])
"""Half the room's width, height and depth; its middle is the origin."""


def lens(width: int, height: int) -> np.ndarray:
    """A lens of 53 degrees across."""
    return np.array([width, width, width / 2, height / 2])


def path(kind: str, count: int) -> np.ndarray:
    """Cameras [count, 3, 4] of a shot in the room: static, pan, dolly, truck, arc or loop."""
    u, zero = np.linspace(0, 1, count), np.zeros(count)
    eye, ahead = np.zeros((count, 3)), np.tile([0.0, 0.3, 4.0], (count, 1))
    if kind == "pan":
        ahead = np.stack([4 * np.sin(0.7 * u - 0.35), zero + 0.3, 4 * np.cos(0.7 * u - 0.35)], axis=1)
    elif kind == "dolly":
        eye = np.stack([zero, zero, 1.5 * u], axis=1)
    elif kind == "truck":
        eye = np.stack([1.5 * u - 0.75, zero, zero], axis=1)
    elif kind == "arc":
        eye = np.stack([4 * np.sin(u - 0.5), zero, 4 - 4 * np.cos(u - 0.5)], axis=1)
    elif kind == "loop":
        eye = np.stack([np.sin(2 * np.pi * u), zero, 1 - np.cos(2 * np.pi * u)], axis=1)
    target = np.tile([0.0, 0.3, 4.0], (count, 1)) if kind == "arc" else eye + ahead
    return np.stack([se3.look_at(*row) for row in zip(eye, target, strict=True)])


def pictures(pose_T34: np.ndarray, width: int, height: int, repeats: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Frames [T, H, W, 3] uint8 and depths [T, H, W] of the room; walls of `repeats` are a checkerboard."""
    fx, fy, cx, cy = lens(width, height)
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    ray_HW3 = np.stack([(u - cx) / fx, (v - cy) / fy, np.ones_like(u)], axis=-1)
    noise = np.random.default_rng(0).integers(40, 216, (6, 64, 64))
    colors, depths = [], []
    for pose_34 in pose_T34:
        way_HW3, eye = ray_HW3 @ pose_34[:, :3].T, pose_34[:, 3]
        way_HW3 = np.where(np.abs(way_HW3) < 1e-9, 1e-9, way_HW3)
        depth_HW3 = (np.sign(way_HW3) * HALF - eye) / way_HW3
        axis_HW, depth_HW = depth_HW3.argmin(-1), depth_HW3.min(-1)
        point_HW3 = eye + depth_HW[..., None] * way_HW3
        wall_HW = 2 * axis_HW + (np.take_along_axis(way_HW3, axis_HW[..., None], -1)[..., 0] > 0)
        across = [np.take_along_axis(point_HW3, ((axis_HW + k) % 3)[..., None], -1)[..., 0] for k in (1, 2)]
        coarse, fine = (tuple(np.floor(x / cell + 0.37).astype(int) % 64 for x in across) for cell in (0.5, 0.13))
        gray_HW = 0.5 * noise[wall_HW, *coarse] + 0.5 * noise[wall_HW, *fine]
        if repeats:
            gray_HW = np.where(sum(coarse) % 2, 200.0, 60.0)
        colors.append(np.repeat(gray_HW[..., None], 3, -1).astype(np.uint8))
        depths.append(depth_HW)
    return np.stack(colors), np.stack(depths)


def footage(kinds, count: int, width: int = 320, height: int = 192, **look) -> tuple[Footage, np.ndarray, np.ndarray]:
    """A film of shots in the room with a known lens, its true cameras and depths."""
    pose_T34 = np.concatenate([path(kind, count) for kind in kinds])
    color_THWC, depth_THW = pictures(pose_T34, width, height, **look)
    return Footage(color_THWC, np.repeat(np.arange(len(kinds)), count), lens(width, height)), pose_T34, depth_THW
