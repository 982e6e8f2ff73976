"""cameras.json of 3D Gaussian splatting, which its training writes and its viewers read: a list of cameras.

Each camera has `position` (3 numbers) and `rotation` (3x3, row-major): camera-to-world with OpenCV camera axes (x
right, y down, z forward); the world is that of the reconstruction. Unit: arbitrary. `fx` and `fy` in pixels of `width`
x `height`; a lens is centred. Conversion: none. Time and cuts are not stored. Frames are taken in the order of
`img_name`, by numbers, since training shuffles the cameras.
Source: graphdeco-inria/gaussian-splatting, utils/camera_utils.py, `camera_to_JSON`.
"""

import json
from pathlib import Path

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.formats import timing
from shotverse_jax.camera.trajectory import Trajectory


@common.reader
def read(path: Path) -> common.Reading:
    """Reads the cameras as a film of one shot."""
    doc = common.load_json(path)
    if not isinstance(doc, list) or not doc or not all(isinstance(camera, dict) for camera in doc):
        raise ValueError("expected a JSON list of cameras with 'position', 'rotation', 'fx', 'fy', 'width', 'height'")
    cameras, number_T = _in_order(doc)
    size, lens, rotation, position = [], [], [], []
    for t, camera in enumerate(cameras):
        size.append([common.pixels(camera.get(side), f"camera {t}: '{side}'") for side in ("width", "height")])
        focal = [common.positive(camera.get(key), f"camera {t}: '{key}'") for key in ("fx", "fy")]
        lens.append([*focal, size[-1][0] / 2, size[-1][1] / 2])
        rotation.append(common.numbers(camera.get("rotation"), (3, 3), f"camera {t}: 'rotation'", lost=True))
        position.append(common.numbers(camera.get("position"), (3,), f"camera {t}: 'position'", lost=True))
    return common.Reading(
        pose_T34=se3.make(np.stack(rotation), np.stack(position)), lens_T4=lens, size_T2=size, number_T=number_T
    )


def _in_order(cameras: list[dict]) -> tuple[list[dict], np.ndarray | None]:
    """(cameras in the order of their names, their places by the numbers in these), if all have a name of their own."""
    names = [camera.get("img_name") for camera in cameras]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        return cameras, None
    order = sorted(range(len(names)), key=lambda t: timing.natural(names[t]))
    return [cameras[t] for t in order], timing.frame_numbers([names[t] for t in order])


def write(trajectory: Trajectory, path: Path) -> None:
    """Writes every frame as a camera, named shot_01_frame_00001, …"""
    cameras = [
        {
            "id": t,
            "img_name": f"{common.shot_name(int(trajectory.shot_T[t]))}_frame_{t + 1:05d}",
            "width": int(trajectory.width),
            "height": int(trajectory.height),
            "position": pose_34[:, 3].tolist(),
            "rotation": pose_34[:, :3].tolist(),
            "fy": float(trajectory.intrinsics_T4[t, 1]),
            "fx": float(trajectory.intrinsics_T4[t, 0]),
        }
        for t, pose_34 in enumerate(trajectory.pose_T34)
    ]
    path.write_text("[" + ",\n".join(json.dumps(c, allow_nan=False) for c in cameras) + "]\n", encoding="utf-8")


FORMAT = common.Format(
    name="3dgs",
    suffixes=("cameras.json",),
    description="cameras.json of 3D Gaussian splatting",
    convention="camera-to-world position and rotation, OpenCV camera axes; fx and fy in pixels; no time or cuts",
    keeps=frozenset({"poses", "size", "lens", "zoom", "pixel aspect"}),
    read=read,
    write=write,
)
