"""KITTI odometry poses, also read by evo, and the neighbours of that format: one matrix a line.

A line has 12 numbers (3x4), or 16 (4x4, its last row 0 0 0 1, as in Replica, NICE-SLAM and ScanNet), or 13 or 17, with
the number of the frame before them (KITTI-360). Written are lines of 12.
Axes: camera-to-world, row-major, OpenCV camera axes (x right, y down, z forward), world = first camera by custom.
Unit: metres. Conversion: none. Time, lens, size and cuts are not stored; numbers of frames give their time.
"""

from pathlib import Path

import numpy as np

from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.formats import _tables as tables
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.limits import POSES

MEANING = {
    12: "camera-to-world 3x4",
    13: "frame number, camera-to-world 3x4",
    16: "camera-to-world 4x4",
    17: "frame number, camera-to-world 4x4",
}


@common.reader
def read(path: Path) -> common.Reading:
    """Reads one path."""
    table = tables.read_table(common.read_text(path))
    if len(table.heading) > 1:
        raise ValueError(f"expected lines of numbers, got '{table.heading[0][:40]}'")
    columns = table.columns if table.columns in MEANING else 12
    numbered = columns in (13, 17)
    rows = table.numbers(columns, MEANING[columns], pose=slice(int(numbered), columns))
    number_T = _places(rows[:, 0]) if numbered else None
    rows = rows[:, 1:] if numbered else rows
    rows = _without_last_row(rows, table.rows) if rows.shape[1] == 16 else rows
    return common.Reading(pose_T34=rows.reshape(-1, 3, 4), number_T=number_T)


def _places(number_T: np.ndarray) -> np.ndarray:
    """The numbers of frames, counted from the first."""
    odd, step = number_T != np.round(number_T), np.diff(number_T)
    if odd.any():
        raise ValueError(f"expected the number of the frame first, got {number_T[np.argmax(odd)]:g}")
    if (step <= 0).any():
        raise ValueError(f"the numbers of the frames should rise, but pose {int(np.argmax(step <= 0)) + 1} does not")
    if number_T[-1] - number_T[0] > POSES:
        raise ValueError(f"the numbers of the frames are too far apart, up to {number_T[-1]:g}")
    return (number_T - number_T[0]).astype(np.int64)


def _without_last_row(rows: np.ndarray, lines: list) -> np.ndarray:
    """[T, 16] → [T, 12]; a line whose matrix has another last row than 0 0 0 1 is refused."""
    # A lost pose may be NaN in its last row too.
    off = (np.abs(rows[:, 12:] - [0, 0, 0, 1]) > 1e-6).any(1)
    if off.any():
        first = int(np.argmax(off))
        turned = np.abs(rows[first, 3::4] - [0, 0, 0, 1]).max() <= 1e-6
        hint = "; the matrices seem to be written column by column" if turned else ""
        got = common.join(rows[first, 12:])
        raise ValueError(f"{lines[first][0]}: the last row of the matrix should be 0 0 0 1, got {got}{hint}")
    return rows[:, :12]


def write(trajectory: Trajectory, path: Path) -> None:
    """Writes the film as one path."""
    rows = [common.join(row) for row in trajectory.pose_T34.reshape(-1, 12)]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


FORMAT = common.Format(
    name="kitti",
    suffixes=(".txt", ".kitti"),
    description="KITTI odometry poses, for evo: a matrix a line; reads those of KITTI-360 and Replica too",
    convention="camera-to-world 3x4 row-major, OpenCV camera axes, metres; no time, lens or cuts",
    keeps=frozenset({"poses"}),
    read=read,
    write=write,
)
