"""TUM RGB-D trajectories, the usual input of evo: lines of `t tx ty tz qx qy qz qw`, "#" starts a comment.

Axes: camera-to-world with OpenCV camera axes (x right, y down, z forward); the real part of the quaternion comes LAST.
Unit: metres, seconds. Conversion: none but the quaternion. Lens, size and cuts are not stored.
"""

from pathlib import Path

from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.trajectory import Trajectory


@common.reader
def read(path: Path) -> common.Reading:
    """Reads one path."""
    lines = common.data_lines(common.read_text(path))
    rows = common.number_rows(lines, 8, "t, position, quaternion x y z w", pose=slice(1, 8))
    return common.Reading(time_T=rows[:, 0], position_T3=rows[:, 1:4], quaternion_T4=rows[:, 4:])


def write(trajectory: Trajectory, path: Path) -> None:
    """Writes the film as one path."""
    q_T4 = common.quaternions(trajectory.pose_T34)[:, [1, 2, 3, 0]]
    rows = [
        f"{time + 0.0:.16g} {common.join(t)} {common.join(q)}"
        for time, t, q in zip(common.times(trajectory), trajectory.pose_T34[:, :, 3], q_T4, strict=True)
    ]
    path.write_text("\n".join(["# timestamp tx ty tz qx qy qz qw", *rows]) + "\n", encoding="utf-8")


FORMAT = common.Format(
    name="tum",
    suffixes=(".txt", ".tum"),
    description="TUM RGB-D trajectory, for evo: t tx ty tz qx qy qz qw",
    convention="camera-to-world, OpenCV camera axes, quaternion real part last, metres and seconds; no lens or cuts",
    keeps=frozenset({"poses", "rate", "times"}),
    read=read,
    write=write,
)
