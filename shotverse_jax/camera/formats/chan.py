"""Nuke .chan camera channels, also read by Natron, Houdini and Blender.

Lines of `frame tx ty tz rx ry rz vfov`, frames from 1. Cuts are not stored: the camera jumps.
Axes: OpenGL camera axes (x right, y up, looking along -z), y-up world. Unit: metres; degrees. Rotation order ZXY,
Nuke's default: the camera is rotated about z first, then x, then y, R = Ry Rx Rz on column vectors; choose the same
order in other programs. Angles follow their predecessor without jumps of 360 degrees. `vfov` is the vertical field of
view; give the camera's film back the picture's aspect ratio. Principal point and pixel aspect are not stored.
Conversion: the world is the stage (floor under the subject) when known, else the trajectory's own, turned from y down
to y up.
"""

from pathlib import Path

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.formats import _tables as tables
from shotverse_jax.camera.formats.record import HEIGHT, WIDTH
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.limits import POSES


def euler_zxy(rotation_T33: np.ndarray) -> np.ndarray:
    """Rotations R = Ry Rx Rz [T, 3, 3] → continuous angles rx, ry, rz [T, 3] in radians.

    Of the two solutions per frame, each up to full turns, the one nearest to the previous frame is taken; where x is at
    90 degrees (looking straight up or down) z keeps its value.
    """
    angles, last = [], np.zeros(3)
    for m in rotation_T33:
        rx = np.arctan2(-m[1, 2], np.hypot(m[1, 0], m[1, 1]))
        if np.hypot(m[1, 0], m[1, 1]) > 1e-7:
            found = np.array([rx, np.arctan2(m[0, 2], m[2, 2]), np.arctan2(m[1, 0], m[1, 1])])
            candidates = [found, np.array([np.pi - rx, found[1] + np.pi, found[2] + np.pi])]
        else:
            # Looking straight up or down, y and z turn about the same line, and the matrix shows only their sum or
            # difference.
            turn = np.arctan2(-m[2, 0], m[0, 0])
            candidates = [np.array([rx, turn + np.sign(rx) * last[2], last[2]])]
        near = [angle + 2 * np.pi * np.round((last - angle) / (2 * np.pi)) for angle in candidates]
        last = min(near, key=lambda angle: np.abs(angle - last).sum())
        angles.append(last)
    return np.array(angles)


@common.reader
def read(path: Path) -> common.Reading:
    """Reads one camera; lines without a field of view are read too."""
    table = tables.read_table(common.read_text(path))
    columns = 7 if table.columns == 7 else 8
    rows = table.numbers(
        columns, "frame, position, angles rx ry rz" + ", vertical fov" * (columns == 8), pose=slice(0, 0)
    )
    if (rows[:, 0] != np.round(rows[:, 0])).any() or (np.diff(rows[:, 0]) < 1).any() or np.ptp(rows[:, 0]) > POSES:
        raise ValueError("the frames should count upwards in whole numbers")
    x, y, z = np.radians(rows[:, 4:7]).T
    rotation = _about(1, y) @ _about(0, x) @ _about(2, z)
    lens = (np.nan,) * 4
    if rows.shape[1] == 8:
        if not ((rows[:, 7] > 0) & (rows[:, 7] < 180)).all():
            raise ValueError("the vertical field of view should be between 0 and 180 degrees")
        fy = 0.5 / np.tan(np.radians(rows[:, 7]) / 2)
        # Pixels are taken as square, as long as nothing says the size.
        lens = np.stack([fy * HEIGHT / WIDTH, fy, np.full_like(fy, 0.5), np.full_like(fy, 0.5)], axis=1)
    return common.Reading(
        pose_T34=se3.flip_yz(se3.make(rotation, rows[:, 1:4])),
        lens_T4=lens,
        relative=rows.shape[1] == 8,
        number_T=(rows[:, 0] - rows[0, 0]).astype(np.int64),
        up="y",
    )


def _about(axis: int, angle_T: np.ndarray) -> np.ndarray:
    """Rotations [T, 3, 3] about an axis, by angles in radians."""
    return se3.so3_exp(angle_T[:, None] * np.eye(3)[axis])


def write(trajectory: Trajectory, path: Path) -> None:
    """Writes the film as one camera."""
    pose_T34 = common.upright(trajectory, common.Y_UP)
    angles_T3 = np.degrees(euler_zxy(pose_T34[:, :, :3]))
    vfov_T = np.degrees(2 * np.arctan(trajectory.height / 2 / trajectory.intrinsics_T4[:, 1]))
    lines = [
        f"{frame} {common.join((*position, *angles, vfov))}"
        for frame, (position, angles, vfov) in enumerate(
            zip(pose_T34[:, :, 3], angles_T3, vfov_T, strict=True), common.FIRST_FRAME
        )
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


FORMAT = common.Format(
    name="chan",
    suffixes=(".chan",),
    description="Nuke / Natron / Houdini camera channels",
    convention="OpenGL camera axes, y-up world, metres, Euler angles in degrees in order ZXY, vertical fov; no cuts",
    keeps=frozenset({"poses", "lens", "zoom"}),
    read=read,
    write=write,
    steady=True,
)
