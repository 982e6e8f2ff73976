"""MotionScene of ComfyUI-Majoor-OmniCam: cameras on a stage, their key frames, and the cuts between them.

A camera has a `track` of key frames with `position`, `target`, `roll` (degrees; positive turns the right of the picture
up), `fov` (vertical, degrees) and `zoom`; the key's `interpolation` makes the frames between two of them. Axes:
right-handed world, y up, floor at 0. Unit: the scene's, metres by custom. Conversion: (x, y, z) → (x, -y, -z), since
our worlds are y down. Cuts have a camera and a time in seconds; without cuts the active camera films the whole scene.
Pixels are square and lenses are centred. Objects, motion layers and the handles of Bézier keys are not read; captions
are kept as labels.
Source: MajoorWaldi/ComfyUI-Majoor-OmniCam, omnicam/core/{motion_scene,track,camera_math}.py.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.limits import POSES

EASES = {
    "linear": lambda u: u,
    "ease_in": lambda u: u * u,
    "ease_out": lambda u: 1 - (1 - u) ** 2,
    "smooth": lambda u: u**3 * (u * (u * 6 - 15) + 10),
    "bezier": lambda u: 0.15 * (1 - u) ** 2 * u + 2.85 * (1 - u) * u**2 + u**3,
    "ease": lambda u: u * u * (3 - 2 * u),
    "hold": lambda u: np.where(u < 1, 0.0, 1.0),
}
"""Part of the way from a key to the next after the part u of the time, by the interpolation of the key."""
DEFAULTS = {"fov": 35.0, "roll": 0.0, "zoom": 1.0}


@common.reader
def read(path: Path, *, camera: str | None = None) -> common.Reading:
    """Reads the edit of a scene, or with `camera` the whole of the camera of that id or label as one shot."""
    doc = common.load_json(path)
    if not isinstance(doc, dict) or not all(isinstance(doc.get(key), dict) for key in ("timeline", "canvas")):
        raise ValueError("expected a MotionScene with 'timeline', 'canvas' and 'cameras'")
    width, height = (common.pixels(doc["canvas"].get(side), f"'{side}' of the canvas") for side in ("width", "height"))
    fps = common.positive(doc["timeline"].get("authoring_fps"), "'authoring_fps'")
    seconds = common.positive(doc["timeline"].get("duration_seconds"), "'duration_seconds'")
    if not seconds * fps < POSES:
        raise ValueError(f"{seconds:g} s at {fps:g} frames per second are too many frames")
    frames = max(1, round(seconds * fps))
    cameras = _cameras(doc.get("cameras"))
    cuts = [(_named(cameras, camera), 0)] if camera is not None else _cuts(doc, cameras, fps, frames)
    edges = [start for _, start in cuts] + [frames]
    spans = zip(cuts, edges, edges[1:], strict=False)
    state_T9 = np.concatenate([_states(cameras[name], start, end, name) for (name, _), start, end in spans])
    focal_T = height / 2 / np.tan(np.radians(state_T9[:, 6]) / 2) * state_T9[:, 8]
    center = np.broadcast_to([width / 2, height / 2], (frames, 2))
    labels = [_caption(name, cameras[name].get("label")) for name, _ in cuts]
    left_out = [key.replace("_", " ") for key in ("objects", "motion_layers") if doc.get(key)]
    return common.Reading(
        pose_T34=se3.flip_yz(_poses(state_T9)),
        up="y",
        lens_T4=np.concatenate([focal_T[:, None], focal_T[:, None], center], axis=1),
        size_T2=(width, height),
        shot_T=np.repeat(np.arange(len(cuts)), np.diff(edges)),
        fps=fps,
        captions=tuple(labels),
        notes=[f"the {' and '.join(left_out)} of the scene were left out"] if left_out else [],
    )


def _cameras(value: Any) -> dict[str, dict]:
    """id → camera, in the order of the file."""
    if not isinstance(value, list) or not value or not all(isinstance(camera, dict) for camera in value):
        raise ValueError("'cameras' should be a list of objects with 'id' and 'track'")
    cameras = {str(camera.get("id")): camera for camera in value}
    if len(cameras) < len(value):
        raise ValueError("two cameras have the same 'id'")
    return cameras


def _caption(name: str, label: Any) -> str:
    """The label of a camera, "" where it says no more than the id."""
    return label if isinstance(label, str) and label != name else ""


def _named(cameras: dict[str, dict], name: Any) -> str:
    """The id of the camera with that id or label."""
    found = [key for key, camera in cameras.items() if str(name) in (key, camera.get("label"))]
    if not found:
        raise ValueError(f"no camera '{name}'; the file has {', '.join(cameras)[:200]}")
    return found[0]


def _cuts(doc: dict, cameras: dict[str, dict], fps: float, frames: int) -> list[tuple[str, int]]:
    """(camera, first frame) of every shot; the first begins with the film, and the same camera twice is one shot."""
    cuts = doc.get("cuts") or []
    if not isinstance(cuts, list) or not all(isinstance(cut, dict) for cut in cuts):
        raise ValueError("'cuts' should be a list of objects with 'camera_id' and 'time_seconds'")
    if not cuts:
        return [(_named(cameras, doc.get("active_camera_id", next(iter(cameras)))), 0)]
    shots = []
    for k, cut in enumerate(cuts):
        time = float(common.numbers(cut.get("time_seconds"), (), f"cut {k}: 'time_seconds'"))
        start = int(round(min(max(time, 0.0) * fps, frames))) if k else 0
        if shots and start <= shots[-1][1] or start >= frames:
            raise ValueError(f"cut {k} is at {time:g} s: cuts should follow each other within the film")
        shots.append((_named(cameras, cut.get("camera_id")), start))
    return shots


def _states(camera: dict, start: int, end: int, name: str) -> np.ndarray:
    """[T, 9] position, target, fov, roll, zoom of a camera in the frames from `start` to `end` - 1."""
    track = camera.get("track")
    keys = track.get("keyframes") if isinstance(track, dict) else None
    if not isinstance(keys, list) or not keys or not all(isinstance(key, dict) for key in keys):
        raise ValueError(f"camera {name}: its 'track' should have a list 'keyframes' of at least one key")
    rows = {}
    for k, key in enumerate(keys):
        what = f"camera {name}, key {k}"
        frame = float(common.numbers(key.get("frame"), (), f"{what}: 'frame'"))
        ease = key.get("interpolation", "ease")
        if not isinstance(ease, str) or ease not in EASES:
            raise ValueError(
                f"{what}: 'interpolation' should be one of {', '.join(EASES)}, got {json.dumps(ease)[:40]}"
            )
        rows[frame] = ease, _state(key.get("camera"), what)
    at = np.array(sorted(rows))
    eases, state_K9 = [rows[frame][0] for frame in at], np.stack([rows[frame][1] for frame in at])
    # Angles take the short way round, as they do in the editor.
    state_K9[:, 7] = np.degrees(np.unwrap(np.radians(state_K9[:, 7])))
    t = np.clip(np.arange(start, end), at[0], at[-1])
    left = np.clip(np.searchsorted(at, t, side="right") - 1, 0, max(len(at) - 2, 0))
    right = np.minimum(left + 1, len(at) - 1)
    u = (t - at[left]) / np.maximum(at[right] - at[left], 1)
    part = np.array([EASES[eases[k]](value) for k, value in zip(left, u, strict=True)])[:, None]
    return state_K9[left] + part * (state_K9[right] - state_K9[left])


def _state(camera: Any, what: str) -> np.ndarray:
    """[9] position, target, fov, roll, zoom of a key."""
    if not isinstance(camera, dict):
        raise ValueError(f"{what}: 'camera' should be an object with 'position' and 'target'")
    if camera.get("camera_type", "perspective") != "perspective":
        raise ValueError(f"{what}: a camera of the type {json.dumps(camera['camera_type'])[:40]} cannot be read")
    position, target = (common.numbers(camera.get(key), (3,), f"{what}: '{key}'") for key in ("position", "target"))
    fov, roll, zoom = (
        float(common.numbers(camera.get(key, value), (), f"{what}: '{key}'")) for key, value in DEFAULTS.items()
    )
    if not 0 < fov < 180 or zoom <= 0:
        raise ValueError(f"{what}: 'fov' should be between 0 and 180 and 'zoom' above 0, got {fov:g} and {zoom:g}")
    return np.array([*position, *target, fov, roll, zoom])


def _poses(state_T9: np.ndarray) -> np.ndarray:
    """Camera-to-world [T, 3, 4] with OpenGL camera axes in the y-up world."""
    position, forward = state_T9[:, :3], state_T9[:, 3:6] - state_T9[:, :3]
    length = np.linalg.norm(forward, axis=1, keepdims=True)
    forward = np.where(length < 1e-9, [0.0, 0, -1], forward / np.maximum(length, 1e-9))
    right, up = _level(forward)
    angle = np.radians(state_T9[:, 7:8])
    right, up = right * np.cos(angle) + up * np.sin(angle), up * np.cos(angle) - right * np.sin(angle)
    return np.stack([right, up, -forward, position], axis=-1)


def _level(forward_T3: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Right and up of level cameras; one that looks straight up or down has the editor's own up."""
    right = np.cross(forward_T3, [0.0, 1, 0])
    steep = (right * right).sum(1) < 1e-12
    other = np.zeros_like(forward_T3)
    other[:, 2] = np.where(forward_T3[:, 1] > 0, -1.0, 1.0)
    right = np.where(steep[:, None], np.cross(forward_T3, other), right)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    return right, np.cross(right, forward_T3)


def write(trajectory: Trajectory, path: Path) -> None:
    """Writes the film as a scene with one camera a shot, a key in every frame, and a cut at the start of each shot."""
    # Rates of rounded time stamps are nearly whole; those of television are not.
    if abs(trajectory.fps - round(trajectory.fps)) > 1e-4 * trajectory.fps:
        raise ValueError(f"OmniCam's rates are whole numbers, not {trajectory.fps:g}; give one with the option rate")
    fps = round(trajectory.fps)
    pose_T34 = common.upright(trajectory, common.Y_UP)
    forward = -pose_T34[:, :, 2]
    right, up = _level(forward)
    roll_T = np.degrees(np.arctan2((pose_T34[:, :, 0] * up).sum(1), (pose_T34[:, :, 0] * right).sum(1)))
    fov_T = np.degrees(2 * np.arctan(trajectory.height / 2 / trajectory.intrinsics_T4[:, 1]))
    size = {"width": int(trajectory.width), "height": int(trajectory.height)}
    head = {"schema_version": 1, "fps": fps, "duration_frames": len(trajectory), **size}
    head |= {"render_mode": "omni_ref"}
    cameras, cuts = [], []
    for k, (start, end) in enumerate(trajectory.spans):
        keys = [_key(t, pose_T34[t, :, 3], forward[t], fov_T[t], roll_T[t]) for t in range(start, end)]
        track = head | {"keyframes": keys, "objects": [], "metadata": {}}
        name = common.shot_name(k)
        cameras.append(
            {
                "id": name,
                "label": trajectory.captions[k] if trajectory.captions[k].strip() else name,
                "enabled": True,
                "track": track,
            }
        )
        times = {"time_seconds": start / fps, "end_time_seconds": end / fps}
        cuts.append({"camera_id": name, **times})
    doc = {
        "version": 1,
        "timeline": {"duration_seconds": len(trajectory) / fps, "authoring_fps": float(fps)},
        "canvas": size,
        "cameras": cameras,
        "active_camera_id": common.shot_name(0),
        "playblast_camera_id": common.shot_name(0),
        "objects": [],
        "motion_layers": [],
        "cuts": cuts,
        "metadata": {},
    }
    path.write_text(json.dumps(doc, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _key(frame: int, position: np.ndarray, forward: np.ndarray, fov: float, roll: float) -> dict:
    camera = {"position": position.tolist(), "target": (position + forward).tolist(), "fov": float(fov)}
    camera |= {"roll": float(roll), "camera_type": "perspective", "zoom": 1.0, "near": 0.01, "far": 10000.0}
    return {"frame": frame, "camera": camera, "interpolation": "linear"}


FORMAT = common.Format(
    name="omnicam",
    suffixes=("omnicam.json",),
    description="MotionScene of ComfyUI-Majoor-OmniCam: cameras, key frames and cuts",
    convention="position, target, roll and vertical fov in degrees, y-up world, floor at 0; square pixels",
    keeps=frozenset({"poses", "cuts", "captions", "size", "lens", "zoom", "rate"}),
    read=read,
    write=write,
    steady=True,
)
