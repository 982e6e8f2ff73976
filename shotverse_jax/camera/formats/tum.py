"""TUM RGB-D trajectories, the usual input of evo: lines of `t tx ty tz qx qy qz qw`, "#" starts a comment.

Axes: camera-to-world with OpenCV camera axes (x right, y down, z forward); the real part of the quaternion comes LAST,
unless the names of the columns, in a comment or a heading above the numbers, put it first. Unit: metres, seconds.
Conversion: none but the quaternion. Lens, size and cuts are not stored. Blanks, tabs, commas or semicolons stand
between the numbers.
"""

import re
from pathlib import Path

from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.formats import _tables as tables
from shotverse_jax.camera.trajectory import Trajectory

MEANING = "t, position, quaternion x y z w"
COMPONENT = re.compile(r"(?:q|quat|orientation|rotation)\w*?[_.]?([wxyz])")


@common.reader
def read(path: Path) -> common.Reading:
    """Reads one path."""
    table = tables.read_table(common.read_text(path))
    if len(table.heading) > 1:
        raise ValueError(f"expected lines of 8 numbers ({MEANING}), got '{table.heading[0][:40]}'")
    rows = table.numbers(8, MEANING, pose=slice(1, 8))
    order = named_order(table.names) or "xyzw"
    return common.Reading(
        time_T=rows[:, 0], position_T3=rows[:, 1:4], quaternion_T4=rows[:, 4:], quaternion_order=order
    )


def named_order(names: list[str]) -> str | None:
    """Returns the order of the quaternion that eight names of columns give, None where they name none.

    Raises:
        ValueError: the names have another order than that of this format or its real part first.
    """
    found = [COMPONENT.fullmatch(name) for name in names[4:8]]
    if len(names) != 8 or not all(found):
        return None
    order = "".join(match[1] for match in found)
    if order not in ("xyzw", "wxyz"):
        raise ValueError(f"the columns should end in qx qy qz qw or qw qx qy qz, got {' '.join(names[4:])}")
    return order


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
