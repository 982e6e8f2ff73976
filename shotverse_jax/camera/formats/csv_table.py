"""A table with one line per frame, for spreadsheets and scripts.

Columns: frame, shot (both from 0), time (s), tx ty tz, qw qx qy qz, fx fy cx cy (pixels), width, height. Axes:
camera-to-world, OpenCV camera axes (x right, y down, z forward), quaternion real part first. Unit: the trajectory's.
Of a path that is focused there are two more columns, focus_distance (the trajectory's unit) and f_number.
Pixels: corner (0, 0), a centred camera has cx = W / 2. Conversion: none. Captions and the stage are not stored.
"""

from pathlib import Path

import numpy as np

from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.formats import _tables as tables
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.limits import POSES

COLUMNS = "frame,shot,time,tx,ty,tz,qw,qx,qy,qz,fx,fy,cx,cy,width,height"
FOCUS = ",focus_distance,f_number"


@common.reader
def read(path: Path) -> common.Reading:
    """Reads the table."""
    table = tables.read_table(common.read_text(path))
    columns = COLUMNS + FOCUS if table.names == (COLUMNS + FOCUS).split(",") else COLUMNS
    if len(table.heading) != 1 or table.names != columns.split(","):
        raise ValueError(f"the first line should be {COLUMNS}")
    rows = table.numbers(columns.count(",") + 1, columns, pose=slice(3, 10))
    number_T = rows[:, 0]
    if (number_T != np.round(number_T)).any() or (np.diff(number_T) < 1).any() or np.ptp(number_T) > POSES:
        raise ValueError("the column 'frame' should count upwards in whole numbers")
    return common.Reading(
        position_T3=rows[:, 3:6],
        quaternion_T4=rows[:, 6:10],
        quaternion_order="wxyz",
        lens_T4=rows[:, 10:14],
        size_T2=[[common.pixels(side, "width or height") for side in row] for row in rows[:, 14:16].tolist()],
        focus_T2=rows[:, 16:] if rows.shape[1] > 16 else None,
        shot_T=common.shot_numbers(rows[:, 1], "the column 'shot'"),
        time_T=rows[:, 2],
    )


def write(trajectory: Trajectory, path: Path) -> None:
    """Writes the table."""
    poses = np.concatenate([trajectory.pose_T34[:, :, 3], common.quaternions(trajectory.pose_T34)], axis=1)
    tail = f"{trajectory.width},{trajectory.height}"
    focus_T2 = trajectory.focus_T2
    lines = [COLUMNS if focus_T2 is None else COLUMNS + FOCUS]
    for t, time in enumerate(common.times(trajectory)):
        cells = [common.digits(value) for value in (*poses[t], *trajectory.intrinsics_T4[t])]
        focus = [] if focus_T2 is None else map(common.digits, focus_T2[t])
        lines.append(",".join([f"{t},{trajectory.shot_T[t]},{time:.16g}", *cells, tail, *focus]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


FORMAT = common.Format(
    name="csv",
    suffixes=(".csv",),
    description="table with one line per frame",
    convention="camera-to-world position and quaternion (real part first), OpenCV camera axes, pixels; no captions",
    keeps=common.EVERYTHING - {"captions", "stage"},
    read=read,
    write=write,
)
