"""camera_path.json of nerfstudio, made in its viewer and rendered by `ns-render camera-path`.

Axes: `camera_to_world` is 4x4 camera-to-world, row-major as 16 numbers, OpenGL camera axes (x right, y up, z back);
the world is that of the transforms.json this project writes (not turned upright), so both files fit together when
nerfstudio is run with orientation, centring and scaling of poses off. Unit: the trajectory's. `fov` is vertical, in
degrees; fx and the principal point are not stored: pixels are square and the lens is centred. Cuts are not stored: the
camera jumps. `keyframes`, between which the viewer lays a curve of its own, are written for its "load path" and not
read.
Sources: nerfstudio viewer/render_panel.py, cameras/camera_paths.py (`get_path_from_json`).
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.trajectory import Trajectory


@common.reader
def read(path: Path) -> common.Reading:
    """Reads the frames of a camera path."""
    doc = common.load_json(path)
    cameras = doc.get("camera_path") if isinstance(doc, dict) else None
    if not isinstance(cameras, list) or not all(isinstance(camera, dict) for camera in cameras):
        raise ValueError("expected a JSON object with a list 'camera_path' of cameras with 'camera_to_world' and 'fov'")
    if not cameras:
        raise ValueError("the path holds no frames; in nerfstudio's viewer, add key frames before it is saved")
    kind = str(doc.get("camera_type", "perspective")).lower()
    size = [common.pixels(doc.get(f"render_{side}"), f"'render_{side}'") for side in ("width", "height")]
    focal_T = [_focal(camera.get("fov"), size[1], f"frame {t}") for t, camera in enumerate(cameras)]
    matrices = [_matrix(camera.get("camera_to_world"), f"frame {t}") for t, camera in enumerate(cameras)]
    return common.Reading(
        pose_T34=se3.flip_yz(np.stack(matrices)),
        lens_T4=[[focal, focal, size[0] / 2, size[1] / 2] for focal in focal_T],
        lens_kind="pinhole" if kind == "perspective" else f"{kind[:40]} (camera_type)",
        size_T2=size,
        fps=common.positive(doc["fps"], "'fps'") if "fps" in doc else None,
    )


def _focal(value: Any, height: int, what: str) -> float:
    fov = common.positive(value, f"{what}: 'fov'")
    if fov >= 180:
        raise ValueError(f"{what}: 'fov' should be below 180 degrees, got {fov}")
    return height / 2 / np.tan(np.radians(fov) / 2)


def _matrix(value: Any, what: str) -> np.ndarray:
    """16 numbers, flat or nested → [3, 4]."""
    nested = isinstance(value, list) and len(value) == 4
    matrix = common.numbers(value, (4, 4) if nested else (16,), f"{what}: 'camera_to_world'").reshape(4, 4)
    if np.abs(matrix[3] - [0, 0, 0, 1]).max() > 1e-6:
        raise ValueError(f"{what}: the last row of 'camera_to_world' should be 0 0 0 1, got {matrix[3].tolist()}")
    return matrix[:3]


def write(trajectory: Trajectory, path: Path, *, keyframes: int = 20) -> None:
    """Writes the whole film as one camera path, with about `keyframes` of its frames as key frames for the viewer."""
    matrices = se3.to_44(se3.flip_yz(trajectory.pose_T34)).reshape(-1, 16).tolist()
    fov_T = np.degrees(2 * np.arctan(trajectory.height / 2 / trajectory.intrinsics_T4[:, 1])).tolist()
    aspect = trajectory.width / trajectory.height
    keys = _keys(trajectory, keyframes)
    doc = {
        # The field of view that the viewer gives to key frames of "default_fov", whatever that is in the file.
        "default_fov": 75.0,
        "default_transition_sec": 1.0,
        "keyframes": [_keyframe(trajectory, keys, k, matrices, fov_T) for k in range(len(keys))],
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


def _keys(trajectory: Trajectory, count: int) -> list[int]:
    """Frames that become key frames: first and last of every shot, and others evenly between them."""
    ends = {t for start, end in trajectory.spans for t in (start, end - 1)}
    even = np.linspace(0, len(trajectory) - 1, max(count, 2)).round().astype(int)
    return sorted(ends | set(even.tolist()))


def _keyframe(trajectory: Trajectory, keys: list[int], k: int, matrices: list, fov_T: list) -> dict:
    """One key frame, with the time from the one before it."""
    before = keys[k - 1] if k else keys[0]
    return {
        "matrix": matrices[keys[k]],
        "fov": fov_T[keys[k]],
        "aspect": trajectory.width / trajectory.height,
        "override_transition_enabled": k > 0,
        "override_transition_sec": (keys[k] - before) / float(trajectory.fps) if k else None,
    }


FORMAT = common.Format(
    name="camera_path",
    suffixes=("camera_path.json",),
    description="camera_path.json of nerfstudio's viewer and ns-render",
    convention="camera-to-world 4x4 row-major, OpenGL camera axes, world left as it is; vertical fov only, no cuts",
    keeps=frozenset({"poses", "size", "lens", "zoom", "rate"}),
    read=read,
    write=write,
    steady=True,
)
