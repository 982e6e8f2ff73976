"""The cameras of a Blender film: the numbers of a script that `blender` wrote, or the scene of a .blend file.

The script is parsed and never run: its numbers must be plain ones. A .blend is opened by Blender's own module, bpy;
shots are what the timeline's markers bind to cameras, else the scene's camera over its frames.
"""

import ast
from pathlib import Path
from typing import Any

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.formats import tracks

KEY = 11
"""Numbers of a key: frame, location x y z, quaternion w x y z, lens, lens shift x y; and of a film that is focused
two more, distance and f-stop."""
_NAMES = ("FPS", "WIDTH, HEIGHT", "PIXEL_ASPECT", "SENSOR_MM", "SHOTS")


@common.reader
def read(path: Path, *, camera: str | None = None) -> common.Reading:
    """Reads the shots; `camera` names one camera, which then is read over all its frames."""
    if path.suffix.lower() == ".blend":
        return _read_blend(path, camera)
    values = _values(common.read_text(path))
    fps = common.positive(values["FPS"], "FPS")
    size = _list(values["WIDTH, HEIGHT"], 2, "WIDTH, HEIGHT")
    width, height = (common.pixels(side, "WIDTH, HEIGHT") for side in size)
    aspect, sensor = (common.positive(values[name], name) for name in ("PIXEL_ASPECT", "SENSOR_MM"))
    found = []
    for shot in _list(values["SHOTS"], None, "SHOTS"):
        name, caption, keys = _list(shot, 3, "a shot")
        keys = _list(keys, None, "keys")
        count = KEY + 2 if keys and isinstance(keys[0], list | tuple) and len(keys[0]) == KEY + 2 else KEY
        keys = [_list(key, count, f"a key of {name}") for key in keys]
        rows = common.numbers(keys, (len(keys), count), f"the keys of {name}")
        lens, shift_x, shift_y = rows[:, 8:KEY].T
        focus_T2 = rows[:, KEY:] * [1.0, common.FILM_BACK_MM / sensor] if count > KEY else None
        if not (lens > 0).all():
            raise ValueError(f"{name} has a lens of {lens.min():g} mm")
        fx = lens / sensor
        # Blender measures both shifts in widths of the sensor, its y points up, and that of pixels down.
        fy = fx * width / aspect / height
        lens_T4 = np.stack([fx, fy, 0.5 - shift_x, 0.5 + shift_y * width / aspect / height], axis=1)
        rotation = se3.quaternion_to_rotation(rows[:, 4:8] / np.linalg.norm(rows[:, 4:8], axis=1, keepdims=True))
        if not np.isfinite(rotation).all() or (np.diff(rows[:, 0]) <= 0).any():
            raise ValueError(f"{name} has a rotation of length 0, or frames that do not rise")
        pose_T34 = se3.flip_yz(se3.make(rotation, rows[:, 1:4]))
        found.append(tracks.Track(str(name), rows[:, 0] / fps, pose_T34, lens_T4, str(caption), None, focus_T2))
    reading = tracks.film(found, camera, [])
    return _finished(reading, fps, (width, height), values.get("CAPTION"), values.get("STAGE"))


def _finished(reading: common.Reading, fps: float, size: tuple[int, int], caption: Any, stage: Any) -> common.Reading:
    reading.size_T2 = np.tile(size, (len(reading), 1))
    reading.global_caption = str(caption or "")
    tracks.set_rate(reading, fps)
    tracks.place(reading, None if stage is None else np.reshape(np.asarray(stage, object), (-1, 4)).tolist(), "z")
    return reading


def _values(text: str) -> dict[str, Any]:
    """The plain values that a script gives to names at its top level."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError("not a Python script") from error
    values = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            try:
                values[ast.unparse(node.targets[0]).strip("()")] = ast.literal_eval(node.value)
            except (ValueError, RecursionError, MemoryError):
                continue  # it is no plain value, and none of those that are asked for below
    if missing := [name for name in _NAMES if name not in values]:
        raise ValueError(f"not a script that export wrote: it has no {' and no '.join(missing)} of plain numbers")
    return values


def _list(value: Any, length: int | None, what: str) -> list:
    if not isinstance(value, list | tuple) or len(value) != (len(value) if length is None else length):
        raise ValueError(f"{what} should be a list" + (f" of {length}" if length else ""))
    return list(value)


# ---------------------------------------------------------------------------------------------------- .blend


def _read_blend(path: Path, camera: str | None) -> common.Reading:
    try:
        import bpy
    except ImportError as error:
        raise ValueError(
            "reading a .blend needs Blender's own module, bpy; without it, let Blender export its cameras as USD"
        ) from error
    if not path.is_file():
        raise ValueError("no such file")
    try:
        bpy.ops.wm.open_mainfile(filepath=str(path.resolve()))
    except RuntimeError as error:
        raise ValueError(f"Blender cannot open it: {str(error).strip()[:120]}") from error
    scene = bpy.context.scene
    render = scene.render
    percent = render.resolution_percentage / 100
    size = tuple(max(1, int(side * percent)) for side in (render.resolution_x, render.resolution_y))
    fps = render.fps / render.fps_base
    found = [_blend_track(scene, one, start, end, size, fps) for one, start, end in _blend_shots(bpy, scene, camera)]
    reading = tracks.film(found, "all" if len(found) > 1 else None, [])
    reading.time_T = np.concatenate([track.second_T for track in found])
    stage = scene.get("stage")
    return _finished(reading, fps, size, scene.get("caption"), None if stage is None else list(stage))


def _blend_shots(bpy: Any, scene: Any, camera: str | None) -> list[tuple[Any, int, int]]:
    """(camera, first frame, end frame exclusive) of every shot."""
    first, end = scene.frame_start, scene.frame_end + 1
    if camera is not None:
        one = next((one for one in bpy.data.objects if one.type == "CAMERA" and one.name == camera), None)
        if one is None:
            names = ", ".join(one.name for one in bpy.data.objects if one.type == "CAMERA")
            raise ValueError(f"there is no camera '{camera}'; the file has {names or 'none'}")
        return [(one, first, end)]
    bound = sorted((marker.frame, marker.camera) for marker in scene.timeline_markers if marker.camera is not None)
    cuts = [(frame, one) for frame, one in bound if frame < end]
    if not cuts or cuts[0][0] > first:
        cuts = [(first, scene.camera), *cuts]
    shots = [
        (one, max(frame, first), stop)
        for (frame, one), stop in zip(cuts, [*(frame for frame, _ in cuts[1:]), end], strict=True)
        if stop > max(frame, first)
    ]
    if any(one is None or one.data.type != "PERSP" for one, *_ in shots):
        raise ValueError("the scene has frames without a perspective camera")
    return shots


def _blend_track(scene: Any, camera: Any, start: int, end: int, size: tuple[int, int], fps: float) -> tracks.Track:
    import bpy

    poses, lenses, focus, render = [], [], [], scene.render
    for frame in range(start, end):
        scene.frame_set(frame)
        depsgraph = bpy.context.evaluated_depsgraph_get()
        evaluated = camera.evaluated_get(depsgraph)
        poses.append(np.array(evaluated.matrix_world, np.float64)[:3])
        projection = evaluated.calc_matrix_camera(
            depsgraph, x=size[0], y=size[1], scale_x=render.pixel_aspect_x, scale_y=render.pixel_aspect_y
        )
        p = np.array(projection, np.float64)
        focus.append(_blend_focus(evaluated, scene.unit_settings.scale_length))
        lenses.append([p[0, 0] / 2, p[1, 1] / 2, 0.5 - p[0, 2] / 2, 0.5 + p[1, 2] / 2])
    pose_T34 = np.array(poses)
    pose_T34[:, :, 3] *= scene.unit_settings.scale_length
    second_T = np.arange(start, end) / fps
    caption = str(camera.get("caption") or "")
    return tracks.Track(camera.name, second_T, se3.flip_yz(pose_T34), np.array(lenses), caption, None, np.array(focus))


def _blend_focus(camera: Any, unit: float) -> list[float]:
    """Distance in metres, of the object that is in focus where there is one, and f-number; 0, 0 for a pinhole."""
    dof = camera.data.dof
    if not dof.use_dof:
        return [0.0, 0.0]
    distance = dof.focus_distance
    if dof.focus_object is not None:
        distance = -(camera.matrix_world.inverted() @ dof.focus_object.matrix_world.translation).z
    return [distance * unit, dof.aperture_fstop * common.FILM_BACK_MM / camera.data.sensor_width]
