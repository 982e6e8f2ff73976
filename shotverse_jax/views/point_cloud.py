"""Coloured points as a .ply, which MeshLab, Blender and CloudCompare read."""

from pathlib import Path

import numpy as np

from shotverse_jax.files import replacing

HEADER = """ply
format binary_little_endian 1.0
element vertex {count}
property float x
property float y
property float z
property uchar red
property uchar green
property uchar blue
end_header
"""


def write_ply(path: str | Path, point_M3: np.ndarray, color_M3: np.ndarray) -> None:
    """Writes points, whole or not at all.

    Args:
        path: the file.
        point_M3: [M, 3] places, in any unit; axes are written as they are.
        color_M3: [M, 3] uint8 red, green, blue.

    Raises:
        ValueError: it cannot be written.
    """
    vertex_M = np.empty(len(point_M3), [("place", "<f4", 3), ("color", "u1", 3)])
    vertex_M["place"], vertex_M["color"] = point_M3, color_M3
    with replacing(path) as place:
        place.write_bytes(HEADER.format(count=len(point_M3)).encode() + vertex_M.tobytes())
