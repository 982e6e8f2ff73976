"""Point maps: a point in the camera (OpenCV axes) for every pixel of a frame; the lens behind it, and its edges."""

from collections.abc import Iterator

import numpy as np


def focal_of(local_THWC: np.ndarray, weight_THW: np.ndarray | None = None) -> np.ndarray:
    """Returns the focal lengths of frames by least squares, [T, 2] float64: fx and fy in pixels of the map.

    A pinhole in the middle of the frame is assumed: u - W/2 = fx X/Z and v - H/2 = fy Y/Z, at the centres of pixels.

    Args:
        local_THWC: points in the camera.
        weight_THW: how much each pixel counts; None counts all alike.

    Points without depth in front of the camera and points that are not finite do not count; a frame without any other
    has NaN.
    """
    height, width = local_THWC.shape[1:3]
    x, y, z = np.moveaxis(local_THWC.astype(np.float64), -1, 0)
    seen_THW = (z > 0) & np.isfinite(local_THWC).all(-1)
    weight = np.where(seen_THW, 1.0 if weight_THW is None else weight_THW, 0.0)
    depth = np.where(seen_THW, z, 1.0)
    u, v = np.arange(width) + 0.5 - width / 2, (np.arange(height) + 0.5 - height / 2)[:, None]
    focal = []
    for side, pixel in ((x, u), (y, v)):
        ray = np.where(seen_THW, side, 0.0) / depth
        with np.errstate(invalid="ignore", divide="ignore"):
            focal.append((weight * ray * pixel).sum((1, 2)) / (weight * ray * ray).sum((1, 2)))
    return np.stack(focal, axis=-1)


def sure_points(
    local_THWC: np.ndarray,
    confidence_THW: np.ndarray,
    least: float = 0.1,
    jump: float = 0.03,
    turn: float = 5.0,
) -> np.ndarray:
    """Returns which points are worth keeping, bool [T, H, W]: those that are confident and not at an edge.

    At the edges of things a network puts points between the front and the back, where nothing is. The defaults of
    `least` and `jump` are those of Pi3's authors, who take depth alone (turn=0): this also takes away floors that are
    seen at a small angle.

    Args:
        local_THWC: points in the camera.
        confidence_THW: between 0 and 1.
        least: the confidence that is not enough.
        jump: an edge has depths in its 3x3 pixels that differ by more than this share of the pixel's own.
        turn: and has a surface that turns by more than so many degrees there. 0 asks for no turn.
    """
    depth_THW = local_THWC[..., 2]
    near, far = depth_THW.copy(), depth_THW.copy()
    for beside in _neighbours(depth_THW):
        np.minimum(near, beside, out=near)
        np.maximum(far, beside, out=far)
    edge_THW = ~(far - near <= jump * depth_THW)  # also where depth is not finite
    if turn > 0:
        normal_THWC = normals(local_THWC)
        likeness = np.ones(depth_THW.shape, normal_THWC.dtype)
        for beside in _neighbours(normal_THWC):
            np.minimum(likeness, (normal_THWC * beside).sum(-1), out=likeness)
        edge_THW &= ~(likeness >= np.cos(np.radians(turn)))
    return (confidence_THW > least) & ~edge_THW & np.isfinite(local_THWC).all(-1)


def normals(local_THWC: np.ndarray) -> np.ndarray:
    """Returns the unit normals of the surface, [T, H, W, 3]; zero where it has none. A map has 2x2 pixels at least."""
    down, right = np.gradient(local_THWC, axis=(1, 2))
    normal = np.cross(right, down)
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    return np.divide(normal, length, out=np.zeros_like(normal), where=length > 0)


def _neighbours(map_THW: np.ndarray) -> Iterator[np.ndarray]:
    """The eight maps whose pixels are those beside; a pixel beyond the border is the one on it."""
    height, width = map_THW.shape[1:3]
    padded = np.pad(map_THW, [(0, 0), (1, 1), (1, 1)] + [(0, 0)] * (map_THW.ndim - 3), mode="edge")
    for i in range(3):
        for j in range(3):
            if (i, j) != (1, 1):
                yield padded[:, i : i + height, j : j + width]
