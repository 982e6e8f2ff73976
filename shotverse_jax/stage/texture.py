"""Fine patterns that never repeat, laid over rendered frames of the stage.

The stage's own floors are plain or repeat every metre, which misleads whatever looks for the same point in several
pictures. These patterns are cells of random brightness, of four sizes, fixed in space.
"""

import numpy as np

CELLS = ((1.0, 0.18), (0.4, 0.18), (0.16, 0.15), (0.07, 0.12))
"""Edge of the cells in metres, and how much brighter or darker they are at most, as a share."""


def textured(
    color_THW3: np.ndarray, depth_THW: np.ndarray, still_THW: np.ndarray, pose_T34: np.ndarray, lens_T4: np.ndarray
) -> np.ndarray:
    """Returns frames [T, H, W, 3] uint8 with a pattern on all that stands still.

    Cells fade where a pixel covers more than they can show, so that pictures from afar do not flicker.

    Args:
        color_THW3: frames of the stage, uint8.
        depth_THW: their depth in metres; inf is the sky.
        still_THW: bool, False where something moves by itself and gets no pattern.
        pose_T34: cameras in stage coordinates.
        lens_T4: fx, fy, cx, cy in pixels.
    """
    height, width = depth_THW.shape[1:]
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    out = np.empty_like(color_THW3)
    for t, (fx, fy, cx, cy) in enumerate(lens_T4):
        still_HW = still_THW[t] & np.isfinite(depth_THW[t])
        depth_HW = np.where(still_HW, depth_THW[t], 1.0)
        ray_HW3 = np.stack([(u - cx) / fx, (v - cy) / fy, np.ones_like(u)], axis=-1)
        point_HW3 = (ray_HW3 * depth_HW[..., None]) @ pose_T34[t][:, :3].T + pose_T34[t][:, 3]
        footprint_HW = np.maximum(*(np.abs(np.gradient(point_HW3, axis=axis)).max(-1) for axis in (0, 1)))
        factor_HW = np.ones((height, width))
        for edge, share in CELLS:
            # No surface of the stage lies where a cell ends, so rounding does not decide between two cells.
            cell_HW3 = np.floor(point_HW3 / edge + 0.37).astype(np.int64)
            factor_HW += share * (2 * _noise(cell_HW3) - 1) * np.clip(1.5 - 1.5 * footprint_HW / edge, 0, 1)
        factor_HW = np.where(still_HW, factor_HW, 1.0)
        out[t] = np.clip(color_THW3[t] * factor_HW[..., None], 0, 255)
    return out


def _noise(cell_3: np.ndarray) -> np.ndarray:
    """A number [...] in [0, 1) for every cell [..., 3], by a hash of its whole coordinates."""
    x, y, z = (cell_3[..., i].astype(np.uint32) for i in range(3))
    mixed = x * np.uint32(374761393) + y * np.uint32(668265263) + z * np.uint32(2147483647)
    mixed = (mixed ^ (mixed >> np.uint32(13))) * np.uint32(1274126177)
    return (mixed ^ (mixed >> np.uint32(16))) / 2.0**32
