"""KITTI odometry poses, also read by evo: 12 numbers a line.

Axes: 3x4 camera-to-world, row-major, OpenCV camera axes (x right, y down, z forward), world = first camera by custom.
Unit: metres. Conversion: none. Time, lens, size and cuts are not stored.
"""

from pathlib import Path

from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.trajectory import Trajectory


@common.reader
def read(path: Path) -> common.Reading:
    """Reads one path."""
    rows = common.number_rows(common.data_lines(common.read_text(path)), 12, "camera-to-world 3x4", pose=slice(12))
    return common.Reading(pose_T34=rows.reshape(-1, 3, 4))


def write(trajectory: Trajectory, path: Path) -> None:
    """Writes the film as one path."""
    rows = [common.join(row) for row in trajectory.pose_T34.reshape(-1, 12)]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


FORMAT = common.Format(
    name="kitti",
    suffixes=(".txt", ".kitti"),
    description="KITTI odometry poses, for evo: 12 numbers a line",
    convention="camera-to-world 3x4 row-major, OpenCV camera axes, metres; no time, lens or cuts",
    keeps=frozenset({"poses"}),
    read=read,
    write=write,
)
