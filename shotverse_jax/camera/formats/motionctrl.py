"""MotionCtrl camera files: a JSON list with 12 numbers per frame.

Axes: 3x4 world-to-camera, row-major, OpenCV camera axes (x right, y down, z forward): "zoom in" has a falling t_z.
The world is (nearly) the first camera. Unit: arbitrary. Conversion: inverse of the matrix. Lens, size, time and cuts
are not stored; the reader's options give them. The writer moves the world to the first camera, as MotionCtrl expects,
unless `relative=False`.
"""

import json
from pathlib import Path

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.trajectory import Trajectory


@common.reader
def read(path: Path) -> common.Reading:
    """Reads one camera file."""
    doc = common.load_json(path)
    if not isinstance(doc, list) or not doc:
        raise ValueError("expected a JSON list with 12 numbers (world-to-camera 3x4) per frame")
    rows = np.stack([common.numbers(row, (12,), f"frame {t}", lost=True) for t, row in enumerate(doc)])
    return common.Reading(pose_T34=rows.reshape(-1, 3, 4), world_to_camera=True)


def write(trajectory: Trajectory, path: Path, *, relative: bool = True) -> None:
    """Writes the film as one camera file, relative to its first camera by default."""
    poses = (trajectory.from_first_camera() if relative else trajectory).pose_T34
    # Adding 0 turns the negative zeros of the inverse into plain ones.
    rows = (se3.inverse(poses).reshape(-1, 12) + 0.0).tolist()
    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n", encoding="utf-8")


FORMAT = common.Format(
    name="motionctrl",
    suffixes=("motionctrl.json",),
    description="MotionCtrl camera file: JSON list of 12 numbers a frame",
    convention="world-to-camera 3x4, OpenCV camera axes, relative to the first camera; no lens, time or cuts",
    keeps=frozenset({"poses"}),
    read=read,
    write=write,
)
