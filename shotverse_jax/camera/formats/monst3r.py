"""`*_traj.txt` of MonST3R and DataDoP: lines of `t tx ty tz qw qx qy qz`.

They differ from TUM's files by the quaternion alone: its real part comes FIRST. Axes: camera-to-world with OpenCV
camera axes (x right, y down, z forward). Unit: a reconstruction's scale, and the time is the number of the frame in
place of seconds. Lens, size and cuts are not stored.
"""

from pathlib import Path

import numpy as np

from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.formats import _tables as tables
from shotverse_jax.camera.formats import tum
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.limits import POSES

MEANING = "frame, position, quaternion w x y z"


def fits(path: Path, table: tables.Table) -> bool:
    """Returns whether a text file is one of these: named so, and its first camera nearly upright.

    Other programs name TUM's files so too; their first camera has its real part last.
    """
    name = path.name.lower()
    if table.columns != 8 or not name.endswith(("_traj.txt", ".monst3r.txt")):
        return False
    q = [float(word) if tables.is_number(word) else 0.0 for word in table.rows[0][1][4:]]
    return name.endswith(".monst3r.txt") or (abs(q[0]) > abs(q[3]) and tum.named_order(table.names) != "xyzw")


@common.reader
def read(path: Path) -> common.Reading:
    """Reads one path."""
    rows = tables.read_table(common.read_text(path)).numbers(8, MEANING, pose=slice(1, 8))
    frame_T = rows[:, 0]
    whole = (frame_T == np.round(frame_T)).all() and (np.diff(frame_T) > 0).all() and np.ptp(frame_T) < POSES
    return common.Reading(
        position_T3=rows[:, 1:4],
        quaternion_T4=rows[:, 4:],
        quaternion_order="wxyz",
        number_T=(frame_T - frame_T[0]).astype(np.int64) if whole else None,
        notes=[] if whole else ["the first column does not count frames and was left out"],
    )


def write(trajectory: Trajectory, path: Path) -> None:
    """Writes the film as one path."""
    poses = np.concatenate([trajectory.pose_T34[:, :, 3], common.quaternions(trajectory.pose_T34)], axis=1)
    rows = [f"{frame:.1f} {common.join(row)}" for frame, row in enumerate(poses)]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


FORMAT = common.Format(
    name="monst3r",
    suffixes=("_traj.txt",),
    description="MonST3R's and DataDoP's _traj.txt: frame tx ty tz qw qx qy qz",
    convention="camera-to-world, OpenCV camera axes, quaternion real part first, frame numbers; no lens or cuts",
    keeps=frozenset({"poses"}),
    read=read,
    write=write,
)
