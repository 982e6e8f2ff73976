"""trajectory.json (the project's own format) and transforms.json of nerfstudio, instant-ngp and DataDoP.

Axes: `transform_matrix` is 4x4 camera-to-world, row-major, with OpenGL camera axes (x right, y up, z back). The world
is left as it is: a plan's world is the first camera of shot 1 with OpenCV orientation (x right, y down, z forward),
as in DataDoP, so its frame 0 reads diag(1, -1, -1). nerfstudio captures have a z-up world; it stays z-up on reading.
Unit: the trajectory's, metres for plans. Pixels: fl_x, fl_y, cx, cy of a w x h image whose corner is (0, 0), so a
centred camera has cx = w / 2; a frame's own lens and size go before the file's, and angles are whole fields of view.
Conversion: columns 1 and 2 of the rotation change sign, both ways.

trajectory.json is a superset of transforms.json: fps, scale, captions, shots (start inclusive, end exclusive),
recorded times, times on the stage, focus_distance and f_number of the frames of a path that is focused, and `stage`
(4x4 or null: x to the subject's side, y down, z where the subject faces; not a camera, never flipped). Sources: GenDoP
dataset/Dataset_DataDoP.py (the DataDoP files), nerfstudio's data conventions.
"""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.formats import lens, timing
from shotverse_jax.camera.motion_tags import tag_trajectory
from shotverse_jax.camera.trajectory import Trajectory, check_rigid

ABOUT = (
    "transform_matrix is camera-to-world with OpenGL camera axes (x right, y up, z back); the world of a plan is the "
    "first camera of shot 1 in OpenCV orientation (x right, y down, z forward)"
)
FOCUS = ("focus_distance", "f_number")
"""Keys of a frame for its `Trajectory.focus_T2`."""
DATADOP_FRAMES = 120
"""Poses of every shot of DataDoP; GenDoP reads no other number."""


@common.reader
def read(path: Path) -> common.Reading:
    """Reads trajectory.json or transforms.json."""
    doc = common.load_json(path)
    if not isinstance(doc, dict) or not isinstance(doc.get("frames"), list) or not doc["frames"]:
        raise ValueError("expected a JSON object with a list 'frames' of at least one camera")
    if not all(isinstance(frame, dict) for frame in doc["frames"]):
        raise ValueError("every entry of 'frames' should be an object with 'transform_matrix'")
    convention = doc.get("convention", "opengl")
    if convention not in ("opengl", "opencv"):
        raise ValueError(f"convention should be 'opengl' or 'opencv', got {json.dumps(convention)[:40]}")
    notes: list[str] = []
    frames, number_T = _in_order(doc, notes)
    pose_T34 = np.stack([_matrix(frame.get("transform_matrix"), f"frame {t}", True) for t, frame in enumerate(frames)])
    shot_T, captions = _shots(doc, frames)
    stage = None if doc.get("stage") is None else _matrix(doc["stage"], "'stage'")
    if stage is not None:
        check_rigid(stage[None], "the stage pose")
    return common.Reading(
        pose_T34=se3.flip_yz(pose_T34) if convention == "opengl" else pose_T34,
        **_lens(doc, frames, path.parent, notes),
        shot_T=shot_T,
        number_T=number_T,
        fps=None if doc.get("fps") is None else common.positive(doc["fps"], "'fps'"),
        scale=common.positive(doc.get("scale", 1.0), "'scale'"),
        captions=captions,
        global_caption=_string(doc.get("global_caption", ""), "'global_caption'"),
        stage_34=stage,
        focus_T2=_focus(frames),
        time_T=_times(frames, "time") if doc.get("recorded_time") is True else None,
        stage_time_T=_times(frames, "stage_time") if "stage_time" in frames[0] else None,
        notes=notes,
    )


def _times(frames: list[dict], key: str) -> np.ndarray:
    return common.numbers([frame.get(key) for frame in frames], (len(frames),), f"'{key}' of the frames")


def _focus(frames: list[dict]) -> np.ndarray | None:
    if not any(key in frames[0] for key in FOCUS):
        return None
    rows = [[frame.get(key) for key in FOCUS] for frame in frames]
    return common.numbers(rows, (len(frames), 2), "'focus_distance' and 'f_number' of the frames")


def _in_order(doc: dict, notes: list[str]) -> tuple[list[dict], np.ndarray | None]:
    """The frames in the order of their images, and their places in the video where numbers are left out.

    Programs list frames in the order in which they registered them; the names of the images tell the order of time.
    """
    frames = doc["frames"]
    ids = [frame.get("monst3r_im_id") for frame in frames]
    if all(type(number) is int for number in ids):
        if len(frames) != DATADOP_FRAMES:
            notes.append(f"DataDoP's shots have {DATADOP_FRAMES} poses, this one has {len(frames)}")
        names = [str(number) for number in ids]
    else:
        names = [frame.get("file_path") for frame in frames]
    # Cuts are spans of the list, so a list with cuts has its order.
    named = all(isinstance(name, str) for name in names) and len(set(names)) == len(names)
    if not named or "shots" in doc or any("shot" in frame for frame in frames):
        return frames, None
    order = sorted(range(len(names)), key=lambda t: timing.natural(names[t]))
    if order != list(range(len(names))):
        notes.append("the frames were put in the order of the names of their images")
    return [frames[t] for t in order], timing.frame_numbers([names[t] for t in order])


def _matrix(value: Any, what: str, lost: bool = False) -> np.ndarray:
    """4x4 (or 3x4) nested list → [3, 4]; `lost` accepts NaN for a pose that is not known."""
    rows = len(value) if isinstance(value, list) else 4
    matrix = common.numbers(value, (3 if rows == 3 else 4, 4), f"{what}: the matrix", lost)
    if rows == 4 and np.abs(matrix[3] - [0, 0, 0, 1]).max() > 1e-6:
        raise ValueError(f"{what}: the last row of the matrix should be 0 0 0 1, got {matrix[3].tolist()}")
    return matrix[:3]


def _lens(doc: dict, frames: list[dict], folder: Path, notes: list[str]) -> dict[str, Any]:
    """The lens of a `Reading`: a frame's own values go before the file's."""
    size_T2 = [_size(doc | frame, f"frame {t}") for t, frame in enumerate(frames)]
    if None in size_T2 and any(size_T2):
        raise ValueError(f"frame {size_T2.index(None)}: no image size 'w' and 'h', and other frames have one")
    if size_T2[0] is None:
        size_T2 = [_found_size(doc | frames[0], folder, notes)] * len(frames)
    rows, distorted, kinds = [], False, []
    for t, (frame, size) in enumerate(zip(frames, size_T2, strict=True)):
        # Focal lengths and angles say the same, so a frame that has one of them needs none of the file's.
        left_out = set(lens.FOCAL) if lens.FOCAL & frame.keys() else set()
        if size != _size(doc, "the file") is not None:
            left_out |= {"cx", "cy"}  # they are those of images of the file's size
        values = {key: value for key, value in doc.items() if key not in left_out} | frame
        row, bent = lens.read_lens(values, size, f"frame {t}")
        rows.append(row)
        distorted |= bent
        kinds.append(lens.kind_of(values))
    return {
        "lens_T4": np.array(rows),
        "relative": size_T2[0] is None and not any(lens.PIXELS & values.keys() for values in (doc, *frames)),
        "size_T2": None if size_T2[0] is None else np.array(size_T2),
        "distorted": distorted,
        "lens_kind": next((kind for kind in kinds if kind != "pinhole"), "pinhole"),
    }


def _size(values: dict, where: str) -> tuple[int, int] | None:
    """(width, height); None where neither is there."""
    if values.get("w") is None and values.get("h") is None:
        return None
    width, height = (common.pixels(values.get(key), f"{where}: '{key}' (image size)") for key in "wh")
    return width, height


def _found_size(values: dict, folder: Path, notes: list[str]) -> tuple[int, int] | None:
    """The size of the first image, if it is there, else twice the principal point."""
    name = values.get("file_path")
    if isinstance(name, str):
        # The files of synthetic scenes name their images without the suffix.
        for path in (folder / name, folder / f"{name}.png", folder / f"{name}.jpg"):
            try:
                if not path.is_file():  # a pipe would be waited for
                    continue
                with warnings.catch_warnings(action="ignore"), Image.open(path) as image:  # its header alone is read
                    size = image.size
            except (OSError, ValueError, Image.DecompressionBombError):
                continue
            notes.append(f"the size is that of the first image, {size[0]}x{size[1]}")
            return tuple(common.pixels(side, f"the size of the image {path.name}") for side in size)
    if values.get("cx") is None or values.get("cy") is None:
        return None
    size = [max(round(2 * common.positive(values[key], f"'{key}'")), 1) for key in ("cx", "cy")]
    notes.append(f"the size is twice the principal point, {size[0]}x{size[1]} (options width, height)")
    return tuple(common.pixels(side, "the size of twice the principal point") for side in size)


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
        if trajectory.focus_T2 is not None:
            frame |= dict(zip(FOCUS, trajectory.focus_T2[t].tolist(), strict=True))
        if trajectory.time_T is not None:
            frame["time"] = float(trajectory.time_T[t])
        if trajectory.stage_time_T is not None:
            frame["stage_time"] = float(trajectory.stage_time_T[t])
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
    first = dict(zip(lens.KEYS, trajectory.intrinsics_T4[0].tolist(), strict=True))
    return {"w": int(trajectory.width), "h": int(trajectory.height), **first}


def _frames(trajectory: Trajectory) -> list[dict]:
    frames = [{"transform_matrix": matrix} for matrix in se3.to_44(se3.flip_yz(trajectory.pose_T34)).tolist()]
    if (trajectory.intrinsics_T4 != trajectory.intrinsics_T4[0]).any():
        for frame, row in zip(frames, trajectory.intrinsics_T4.tolist(), strict=True):
            frame |= dict(zip(lens.KEYS, row, strict=True))
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
    keeps=common.EVERYTHING,
    read=read,
    write=write_trajectory_json,
)
TRANSFORMS_JSON = common.Format(
    name="nerfstudio",
    suffixes=("transforms.json", "transforms_cleaning.json"),
    description="transforms.json of nerfstudio, instant-ngp and DataDoP",
    convention="camera-to-world 4x4, OpenGL camera axes, world left as it is; no cuts, captions or fps",
    keeps=frozenset({"poses", "size", "lens", "zoom", "principal point", "pixel aspect"}),
    read=read,
    write=write_transforms_json,
)
