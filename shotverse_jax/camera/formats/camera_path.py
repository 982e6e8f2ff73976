"""camera_path.json for `ns-render camera-path` of nerfstudio (written only).

Axes: `camera_to_world` is 4x4 camera-to-world, row-major as 16 numbers, OpenGL camera axes (x right, y up, z back);
the world is that of the transforms.json this project writes (not turned upright), so both files fit together when
nerfstudio is run with orientation, centring and scaling of poses off. Unit: the trajectory's. `fov` is vertical, in
degrees; fx and the principal point are not stored. Cuts are not stored: the camera jumps.
Source: nerfstudio cameras/camera_paths.py, `get_path_from_json`.
"""

import json
from pathlib import Path

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.trajectory import Trajectory


def write(trajectory: Trajectory, path: Path) -> None:
    """Writes the whole film as one camera path."""
    matrices = se3.to_44(se3.flip_yz(trajectory.pose_T34)).reshape(-1, 16).tolist()
    fov_T = np.degrees(2 * np.arctan(trajectory.height / 2 / trajectory.intrinsics_T4[:, 1])).tolist()
    aspect = trajectory.width / trajectory.height
    doc = {
        "camera_type": "perspective",
        "render_height": int(trajectory.height),
        "render_width": int(trajectory.width),
        "fps": float(trajectory.fps),
        "seconds": len(trajectory) / float(trajectory.fps),
        "smoothness_value": 0,
        "is_cycle": False,
        "crop": None,
        "camera_path": [
            {"camera_to_world": matrix, "fov": fov, "aspect": aspect}
            for matrix, fov in zip(matrices, fov_T, strict=True)
        ],
    }
    path.write_text(json.dumps(doc, indent=1, allow_nan=False) + "\n", encoding="utf-8")


FORMAT = common.Format(
    name="camera_path",
    suffixes=("camera_path.json",),
    description="camera_path.json for nerfstudio's ns-render (write)",
    convention="camera-to-world 4x4 row-major, OpenGL camera axes, world left as it is; vertical fov only, no cuts",
    keeps=frozenset({"poses", "size", "lens", "zoom", "rate"}),
    write=write,
    steady=True,
)
