"""trajectory.json (the project's own format) and transforms.json of nerfstudio, instant-ngp and DataDoP.

Axes: `transform_matrix` is 4x4 camera-to-world, row-major, with OpenGL camera axes (x right, y up, z back). The world
is left as it is: a plan's world is the first camera of shot 1 with OpenCV orientation (x right, y down, z forward),
as in DataDoP, so its frame 0 reads diag(1, -1, -1). nerfstudio captures have a z-up world; it stays z-up on reading.
Unit: the trajectory's, metres for plans. Pixels: fl_x, fl_y, cx, cy of a w x h image whose corner is (0, 0), so a
centred camera has cx = w / 2. Conversion: columns 1 and 2 of the rotation change sign, both ways. Distortion is
dropped.

trajectory.json is a superset of transforms.json: fps, scale, captions, shots (start inclusive, end exclusive),
recorded times, and `stage` (4x4 or null: x to the subject's side, y down, z where the subject faces; not a camera,
never flipped). Sources: GenDoP dataset/Dataset_DataDoP.py (the DataDoP files), nerfstudio's data conventions.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.motion_tags import tag_trajectory
from shotverse_jax.camera.trajectory import Trajectory, check_rigid

ABOUT = (
    "transform_matrix is camera-to-world with OpenGL camera axes (x right, y up, z back); the world of a plan is the "
    "first camera of shot 1 in OpenCV orientation (x right, y down, z forward)"
)
KEYS = ("fl_x", "fl_y", "cx", "cy")


@common.reader
def read(path: Path, *, fps: float | None = None) -> Trajectory:
    """Reads trajectory.json or transforms.json; `fps` overrules the file's (16 when it has none)."""
    doc = common.load_json(path)
    if not isinstance(doc, dict) or not isinstance(doc.get("frames"), list) or not doc["frames"]:
        raise ValueError("expected a JSON object with a list 'frames' of at least one camera")
    frames = doc["frames"]
    if not all(isinstance(frame, dict) for frame in frames):
        raise ValueError("every entry of 'frames' should be an object with 'transform_matrix'")
    convention = doc.get("convention", "opengl")
    if convention not in ("opengl", "opencv"):
        raise ValueError(f"convention should be 'opengl' or 'opencv', got {json.dumps(convention)[:40]}")
    width, height = (common.pixels(doc.get(key), f"'{key}' (image size)") for key in "wh")
    pose_T34 = np.stack([_matrix(frame.get("transform_matrix"), f"frame {t}") for t, frame in enumerate(frames)])
    if convention == "opengl":
        pose_T34 = se3.flip_yz(pose_T34)
    shot_T, captions = _shots(doc, frames)
    stage = None if doc.get("stage") is None else _matrix(doc["stage"], "'stage'")
    if stage is not None:
        check_rigid(stage[None], "the stage pose")
    times = [frame.get("time") for frame in frames]
    recorded = doc.get("recorded_time") is True
    return Trajectory(
        pose_T34=common.clean_poses(pose_T34),
        intrinsics_T4=_intrinsics(doc, frames, width, height),
        width=width,
        height=height,
        shot_T=shot_T,
        fps=fps or common.positive(doc.get("fps", common.FPS), "'fps'"),
        scale=common.positive(doc.get("scale", 1.0), "'scale'"),
        captions=captions,
        global_caption=_string(doc.get("global_caption", ""), "'global_caption'"),
        stage_34=stage,
        time_T=common.numbers(times, (len(frames),), "'time' of the frames") if recorded else None,
    )


def _matrix(value: Any, what: str) -> np.ndarray:
    """4x4 (or 3x4) nested list → [3, 4]."""
    rows = len(value) if isinstance(value, list) else 4
    matrix = common.numbers(value, (3 if rows == 3 else 4, 4), f"{what}: the matrix")
    if rows == 4 and np.abs(matrix[3] - [0, 0, 0, 1]).max() > 1e-6:
        raise ValueError(f"{what}: the last row of the matrix should be 0 0 0 1, got {matrix[3].tolist()}")
    return matrix[:3]


def _intrinsics(doc: dict, frames: list[dict], width: int, height: int) -> np.ndarray:
    """[T, 4]: per-frame values where a frame has them, else the file's; fl_y, cx, cy have the usual defaults."""
    rows = []
    for t, frame in enumerate(frames):
        # The frame's own values come last and win: only films with a zoom have them.
        values = {**{key: doc[key] for key in (*KEYS, "camera_angle_x") if key in doc}, **frame}
        if "fl_x" in values:
            fx = common.positive(values["fl_x"], f"frame {t}: 'fl_x'")
        elif "camera_angle_x" in values:
            angle = common.positive(values["camera_angle_x"], f"frame {t}: 'camera_angle_x'")
            if angle >= np.pi:
                raise ValueError(f"frame {t}: 'camera_angle_x' should be below pi radians, got {angle}")
            # camera_angle_x is the whole horizontal field of view; each half spans half of the width.
            fx = width / 2 / np.tan(angle / 2)
        else:
            raise ValueError(f"frame {t}: no focal length; expected 'fl_x' in pixels in the file or the frame")
        default = {"fl_y": fx, "cx": width / 2, "cy": height / 2}
        rest = [common.numbers(values.get(key, value), (), f"frame {t}: '{key}'") for key, value in default.items()]
        rows.append([fx, *map(float, rest)])
    return np.array(rows)


def _shots(doc: dict, frames: list[dict]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Shot number of each frame and one caption per shot, from 'shots' and the frames' 'shot'; they must agree."""
    shots = doc.get("shots")
    marked = [frame["shot"] for frame in frames if "shot" in frame]
    if marked and len(marked) != len(frames):
        raise ValueError("some frames have 'shot' and some have not")
    numbers = common.numbers(marked, (len(frames),), "'shot' of the frames") if marked else None
    if shots is None:
        return common.shot_numbers(np.zeros(len(frames)) if numbers is None else numbers, "'shot' of the frames"), ()
    if not isinstance(shots, list) or not shots or not all(isinstance(shot, dict) for shot in shots):
        raise ValueError("'shots' should be a list of objects with 'start', 'end' (exclusive) and 'caption'")
    edges = common.numbers([[shot.get("start"), shot.get("end")] for shot in shots], (len(shots), 2), "'shots' spans")
    start, end = edges.T
    if start[0] != 0 or end[-1] != len(frames) or (start[1:] != end[:-1]).any() or (end <= start).any():
        raise ValueError(
            f"'shots' should cover frames 0 to {len(frames)} (exclusive) without gaps, got {edges.tolist()}"
        )
    shot_T = np.searchsorted(end, np.arange(len(frames)), side="right").astype(np.int32)
    if numbers is not None and (numbers != shot_T).any():
        raise ValueError(f"frame {int(np.argmax(numbers != shot_T))}: its 'shot' disagrees with 'shots'")
    return shot_T, tuple(_string(shot.get("caption", ""), "a shot's 'caption'") for shot in shots)


def _string(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{what} should be a text, got {json.dumps(value)[:60]}")
    return value


def write_trajectory_json(trajectory: Trajectory, path: Path) -> None:
    """Writes trajectory.json, with each shot's motion tags for readers of the file (they are not read back)."""
    tags = [[segment.name for segment in shot] for shot in tag_trajectory(trajectory)]
    head = {"about": ABOUT, **_head(trajectory), "convention": "opengl", "fps": float(trajectory.fps)}
    head |= {"scale": float(trajectory.scale), "global_caption": trajectory.global_caption}
    head["stage"] = None if trajectory.stage_34 is None else se3.to_44(trajectory.stage_34).tolist()
    head["shots"] = [
        {"index": k, "start": start, "end": end, "caption": caption, "tags": tags[k]}
        for k, ((start, end), caption) in enumerate(zip(trajectory.spans, trajectory.captions, strict=True))
    ]
    frames = _frames(trajectory)
    for t, frame in enumerate(frames):
        frame["shot"] = int(trajectory.shot_T[t])
        if trajectory.time_T is not None:
            frame["time"] = float(trajectory.time_T[t])
    if trajectory.time_T is not None:
        head["recorded_time"] = True
    path.write_text(_dump(head | {"frames": frames}), encoding="utf-8")


def write_transforms_json(trajectory: Trajectory, path: Path, *, monst3r_im_id: bool = False) -> None:
    """Writes a plain transforms.json: intrinsics and poses only, so cuts, captions and fps are lost.

    Frames get `file_path` names that nerfstudio asks for; with `monst3r_im_id` DataDoP's frame number from 1 instead.
    """
    frames = _frames(trajectory)
    for t, frame in enumerate(frames):
        frame |= {"monst3r_im_id": t + 1} if monst3r_im_id else {"file_path": f"images/frame_{t + 1:05d}.png"}
    head = _head(trajectory) if monst3r_im_id else {"camera_model": "PINHOLE", **_head(trajectory)}
    path.write_text(_dump(head | {"frames": frames}), encoding="utf-8")


def _head(trajectory: Trajectory) -> dict:
    first = dict(zip(KEYS, trajectory.intrinsics_T4[0].tolist(), strict=True))
    return {"w": int(trajectory.width), "h": int(trajectory.height), **first}


def _frames(trajectory: Trajectory) -> list[dict]:
    frames = [{"transform_matrix": matrix} for matrix in se3.to_44(se3.flip_yz(trajectory.pose_T34)).tolist()]
    if (trajectory.intrinsics_T4 != trajectory.intrinsics_T4[0]).any():
        for frame, row in zip(frames, trajectory.intrinsics_T4.tolist(), strict=True):
            frame |= dict(zip(KEYS, row, strict=True))
    return frames


def _dump(doc: dict) -> str:
    """JSON with one line per key, and one per entry of a list of objects: small, and it diffs well."""
    lines = []
    for key, value in doc.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            entries = ",\n".join("    " + json.dumps(entry, ensure_ascii=False, allow_nan=False) for entry in value)
            lines.append(f'  "{key}": [\n{entries}\n  ]')
        else:
            lines.append(f'  "{key}": {json.dumps(value, ensure_ascii=False, allow_nan=False)}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


TRAJECTORY_JSON = common.Format(
    name="shotverse",
    suffixes=(".json",),
    description="trajectory.json of this project: poses, lens, cuts, captions, stage (opens as transforms.json)",
    convention="camera-to-world 4x4, OpenGL camera axes, world left as it is (OpenCV-oriented in plans); lossless",
    read=read,
    write=write_trajectory_json,
)
TRANSFORMS_JSON = common.Format(
    name="nerfstudio",
    suffixes=("transforms.json", "transforms_cleaning.json"),
    description="transforms.json of nerfstudio, instant-ngp and DataDoP",
    convention="camera-to-world 4x4, OpenGL camera axes, world left as it is; no cuts, captions or fps",
    read=read,
    write=write_transforms_json,
)
