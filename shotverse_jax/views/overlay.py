"""A grid on the ground and three axes, drawn into the frames of a film through its cameras.

They stand still in the picture of a place where the cameras are right, and slide over it where they are wrong.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from shotverse_jax.camera import se3
from shotverse_jax.stage.preview import gravity_of

CELLS = 10
"""Cells of the grid from its middle to each side."""
LEAST_POINTS, MOST_POINTS, TRIES = 20, 5000, 300
"""Points that a plane needs, points that are asked how good one is, and planes that are tried."""
LEVEL = np.cos(np.radians(40))
"""Planes that are steeper, as cameras hold themselves, are no ground."""
NEAR = 0.02
"""Lines end so near to the camera, in cells of the grid."""
STRENGTH = 0.75
"""How much of a pixel under a line is the line's."""
AXES = ((235, 60, 50), (60, 200, 80), (70, 120, 255))
"""Colours of the axes: red to the right, green up, blue ahead, as the first camera sees them."""


class Ground(NamedTuple):
    """The ground of a world.

    Attributes:
        pose_34: [3, 4] its frame in the world: origin where the axes stand, x to the right, y down, z ahead.
        cell: edge of a cell of its grid, in the unit of the world.
        measured: whether points say where it is; else it is assumed a little below the cameras.
    """

    pose_34: np.ndarray
    cell: float
    measured: bool


def find_ground(pose_T34: np.ndarray, point_M3: np.ndarray) -> Ground:
    """Returns the probable ground of a world, for a drawing: the plane that holds most of the points below the cameras.

    Args:
        pose_T34: cameras.
        point_M3: points that are seen; there may be none.
    """
    eye, down = np.median(pose_T34[:, :, 3], axis=0), gravity_of(pose_T34)
    away_M = np.linalg.norm(point_M3 - eye, axis=1)
    size = float(np.median(away_M)) if len(point_M3) else float(np.ptp(pose_T34[:, :, 3], axis=0).max())
    size = size if size > 0 else 1.0
    below_M = (away_M < 3 * size) & ((point_M3 - eye) @ down > 0.05 * size)
    plane = _plane(point_M3[below_M], down, 0.01 * size)
    if plane is not None:
        down, height = plane
        middle = np.median(point_M3, axis=0)
    else:
        height = float((pose_T34[:, :, 3] @ down).max()) + 0.3 * size
        middle = eye + 1.5 * size * pose_T34[0, :, 2]
    forward = pose_T34[0, :, 2] - (pose_T34[0, :, 2] @ down) * down
    if np.linalg.norm(forward) < 1e-3:  # the first camera looks straight down: the upper edge of its picture is ahead
        forward = -pose_T34[0, :, 1] + (pose_T34[0, :, 1] @ down) * down
    forward /= np.linalg.norm(forward)
    rotation = np.stack([np.cross(down, forward), down, forward], axis=1)
    return Ground(se3.make(rotation, middle + (height - middle @ down) * down), size / 5, plane is not None)


def _plane(point_M3: np.ndarray, down: np.ndarray, tolerance: float) -> tuple[np.ndarray, float] | None:
    """The normal of the most level plane of many points, and its height along it; None where there is none."""
    if len(point_M3) < LEAST_POINTS:
        return None
    corner_R33 = point_M3[np.random.default_rng(0).integers(0, len(point_M3), (TRIES, 3))]
    normal_R3 = np.cross(corner_R33[:, 1] - corner_R33[:, 0], corner_R33[:, 2] - corner_R33[:, 0])
    length_R = np.linalg.norm(normal_R3, axis=1)
    normal_R3 = normal_R3[length_R > 0] / length_R[length_R > 0, None]
    normal_R3 *= np.where(normal_R3 @ down < 0, -1.0, 1.0)[:, None]
    level_R = normal_R3 @ down > LEVEL
    if not level_R.any():
        return None
    normal_R3, height_R = normal_R3[level_R], (normal_R3 * corner_R33[length_R > 0, 0]).sum(1)[level_R]
    near_RM = np.abs(normal_R3 @ point_M3[:MOST_POINTS].T - height_R[:, None]) < tolerance
    best = int(near_RM.sum(1).argmax())
    on_M3 = point_M3[np.abs(point_M3 @ normal_R3[best] - height_R[best]) < tolerance]
    if len(on_M3) < LEAST_POINTS:
        return None
    normal = np.linalg.svd(on_M3 - on_M3.mean(0), full_matrices=False)[2][2]
    normal = normal if normal @ down > 0 else -normal
    return normal, float(on_M3.mean(0) @ normal)


def segments(ground: Ground) -> list[tuple[np.ndarray, tuple[int, int, int], int]]:
    """Returns lines in the world: their ends [S, 2, 3], a colour and a width. The grid comes before the axes."""
    reach, cell = CELLS * ground.cell, ground.cell
    steps = np.linspace(-reach, reach, 2 * CELLS + 1)
    # Cells are drawn one by one, so that one end behind the camera costs no more than one cell.
    lines = []
    for side in steps:
        for start, end in zip(steps, steps[1:], strict=False):
            lines += [[[side, 0, start], [side, 0, end]], [[start, 0, side], [end, 0, side]]]
    axes = 2 * cell * np.array([[1.0, 0, 0], [0, -1.0, 0], [0, 0, 1.0]])
    drawn = [(np.array(lines), (255, 255, 255), 1)]
    drawn += [(np.stack([np.zeros(3), axis])[None], color, 4) for axis, color in zip(axes, AXES, strict=True)]
    return [(se3.transform_points(ground.pose_34, ends), color, width) for ends, color, width in drawn]


def draw(frame_HWC: np.ndarray, pose_34: np.ndarray, lens_4: np.ndarray, ground: Ground, label: str) -> np.ndarray:
    """Returns a frame [H, W, 3] uint8 with the ground drawn into it, as a camera sees it, and a line of text.

    lens_4: fx, fy, cx, cy in pixels of the frame.
    """
    image = Image.fromarray(frame_HWC)
    pen = ImageDraw.Draw(image)
    to_camera = se3.inverse(pose_34)
    for ends_S23, color, width in segments(ground):
        for (x, y), (u, v) in _projected(
            se3.transform_points(to_camera, ends_S23), lens_4, NEAR * ground.cell, image.size
        ):
            pen.line((x, y, u, v), fill=color, width=width)
    return labelled(np.asarray(Image.blend(Image.fromarray(frame_HWC), image, STRENGTH)), label)


def labelled(frame_HWC: np.ndarray, label: str) -> np.ndarray:
    """Returns a frame with a line of text in its upper left corner."""
    image = Image.fromarray(frame_HWC)
    font = ImageFont.load_default(max(11, round(image.height / 24)))
    ImageDraw.Draw(image).text((8, 6), label, font=font, fill=(255, 255, 255), stroke_width=2, stroke_fill=(0, 0, 0))
    return np.asarray(image)


def _projected(ends_S23: np.ndarray, lens_4: np.ndarray, near: float, size: tuple[int, int]) -> np.ndarray:
    """Lines in the camera, in pixels [S, 2, 2], cut off before the camera and without those outside the picture."""
    depth_S2 = ends_S23[..., 2]
    ends_S23 = ends_S23[depth_S2.max(1) > near]
    depth_S2 = ends_S23[..., 2]
    along_S2 = np.where(depth_S2 < near, (near - depth_S2) / (depth_S2[:, ::-1] - depth_S2 + 1e-12), 0)
    ends_S23 = ends_S23 + along_S2[..., None] * (ends_S23[:, ::-1] - ends_S23)
    pixel_S22 = ends_S23[..., :2] / np.maximum(ends_S23[..., 2:], near) * lens_4[:2] + lens_4[2:]
    outside = ((pixel_S22 < 0).all(1) | (pixel_S22 > np.array(size)).all(1)).any(1)
    return np.clip(pixel_S22[~outside], -1e5, 1e5)
