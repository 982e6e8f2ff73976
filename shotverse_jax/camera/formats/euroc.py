"""EuRoC ground truth, read by evo too: a .csv with nanoseconds, position and quaternion w x y z.

Lines: `timestamp, p_x, p_y, p_z, q_w, q_x, q_y, q_z`, then velocities and biases of the sensor, which are not read.
Axes: pose of the body (the IMU) in a world whose z points up; the body's axes are taken for a camera's (x right, y
down, z forward), since the camera's place on the body is in another file. Unit: metres. Conversion: none. Lens, size
and cuts are not stored.
"""

from pathlib import Path

import numpy as np

from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.formats import _tables as tables
from shotverse_jax.camera.trajectory import Trajectory

COLUMNS = (8, 17)
MEANING = "nanoseconds, position, quaternion w x y z"
HEADING = "#timestamp, p_RS_R_x [m], p_RS_R_y [m], p_RS_R_z [m], q_RS_w [], q_RS_x [], q_RS_y [], q_RS_z []"
YEAR = 1e15
"""A stamp above this is in nanoseconds since 1970: as seconds it would lie millions of years ahead."""


def fits(table: tables.Table) -> bool:
    """Returns whether a table is one of these, by its names of columns or by stamps in nanoseconds."""
    if table.columns not in COLUMNS:
        return False
    stamp = table.rows[0][1][0]
    return "p_rs_r_x" in table.names or (tables.is_number(stamp) and float(stamp) > YEAR)


@common.reader
def read(path: Path) -> common.Reading:
    """Reads one path."""
    table = tables.read_table(common.read_text(path))
    if len(table.heading) > 1:
        raise ValueError(f"expected lines of 8 or 17 numbers ({MEANING}, …), got '{table.heading[0][:40]}'")
    columns = table.columns if table.columns in COLUMNS else COLUMNS[0]
    meaning = MEANING + (", velocities and biases" if columns == COLUMNS[1] else "")
    rows = table.numbers(columns, meaning, pose=slice(1, columns))
    return common.Reading(
        time_T=_since_the_first([row[0] for _, row in table.rows], rows[:, 0]),
        time_unit="nanoseconds",
        position_T3=rows[:, 1:4],
        quaternion_T4=rows[:, 4:8],
        quaternion_order="wxyz",
        notes=["the poses are those of the sensor's body, and its axes were taken for a camera's"],
    )


def _since_the_first(words: list[str], stamp_T: np.ndarray) -> np.ndarray:
    """Nanoseconds from the first stamp. A double of those since 1970 is right to a quarter of a microsecond only."""
    if not all(word.isascii() and word.isdigit() for word in words):
        return stamp_T - stamp_T[0]
    return np.array([int(word) - int(words[0]) for word in words], np.float64)


def write(trajectory: Trajectory, path: Path) -> None:
    """Writes the film as one path."""
    poses = np.concatenate([trajectory.pose_T34[:, :, 3], common.quaternions(trajectory.pose_T34)], axis=1)
    rows = [
        f"{round(time * 1e9)},{','.join(map(common.digits, row))}"
        for time, row in zip(common.times(trajectory), poses, strict=True)
    ]
    path.write_text("\n".join([HEADING, *rows]) + "\n", encoding="utf-8")


FORMAT = common.Format(
    name="euroc",
    suffixes=("euroc.csv",),
    description="EuRoC ground truth, for evo: nanoseconds, position, quaternion w x y z",
    convention="camera-to-world, quaternion real part first, metres and nanoseconds; no lens or cuts",
    keeps=frozenset({"poses", "rate", "times"}),
    read=read,
    write=write,
)
