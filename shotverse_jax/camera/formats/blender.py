"""A Python script that builds the film's cameras in Blender (2.93 or newer); it and .blend files are read.

Every shot is one camera with keys for location, rotation (quaternion) and, where it changes, lens on every frame; keys
are interpolated linearly. Timeline markers are bound to the cameras, so playback and rendering cut by themselves. The
film starts at frame 1.
Axes: OpenGL camera axes (x right, y up, looking along -z), z-up world. Unit: metres. Lens: millimetres on a 36 mm
sensor, fx * 36 / W; the principal point becomes lens shift, non-square pixels the scene's pixel aspect (of frame 1).
Depth of field, with keys for its distance and f-stop, is switched on in shots that are focused.
Conversion: the world is the stage (floor under the subject) when known, else the trajectory's own, turned from y down
to z up by (x, y, z) → (x, z, -y): a subject that faces the stage's +z faces Blender's +y.
"""

from pathlib import Path

import numpy as np

from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.formats import blender_read
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.text_files import plain

SCRIPT = '''"""Cameras of a multi-shot film. In Blender: Scripting > Open > Run, or: blender --python THIS_FILE"""

import bpy

FPS = @FPS@
WIDTH, HEIGHT = @SIZE@
PIXEL_ASPECT = @ASPECT@  # height of a pixel over its width
FIRST_FRAME, LAST_FRAME = @RANGE@
SENSOR_MM = @SENSOR@
# Per shot: name, caption, keys. A key: frame, location x y z, quaternion w x y z, lens in mm, lens shift x y@MORE@.
SHOTS = [
@SHOTS@]
CAPTION = @CAPTION@
STAGE = @STAGE@  # where the subject stands, in the world of the plan


def curves(action):
    """The animation curves of an action, in old (flat) and new (layered) Blender versions."""
    if hasattr(action, "fcurves"):
        return list(action.fcurves)
    bags = [bag for layer in action.layers for strip in layer.strips for bag in strip.channelbags]
    return [curve for bag in bags for curve in bag.fcurves]


def make_linear(block):
    if block.animation_data and block.animation_data.action:
        for curve in curves(block.animation_data.action):
            for point in curve.keyframe_points:
                point.interpolation = "LINEAR"


def build_shot(scene, collection, name, caption, keys):
    data = bpy.data.cameras.new(name)
    data.sensor_fit = "HORIZONTAL"
    data.sensor_width = SENSOR_MM
    camera = bpy.data.objects.new(name, data)
    camera["caption"] = caption
    # Files that are exported from here tell by these when a camera is shown.
    camera["start_seconds"] = (keys[0][0] - FIRST_FRAME) / FPS
    camera["end_seconds"] = (keys[-1][0] + 1 - FIRST_FRAME) / FPS
    collection.objects.link(camera)
    camera.rotation_mode = "QUATERNION"
    changing = [i for i in (8, 9, 10) if len({key[i] for key in keys}) > 1]
    for key in keys:
        frame = key[0]
        camera.location = key[1:4]
        camera.rotation_quaternion = key[4:8]
        data.lens, data.shift_x, data.shift_y = key[8:11]
        camera.keyframe_insert("location", frame=frame)
        camera.keyframe_insert("rotation_quaternion", frame=frame)
        for i in changing:
            data.keyframe_insert(("lens", "shift_x", "shift_y")[i - 8], frame=frame)
@FOCUS@    make_linear(camera)
    make_linear(data)
    marker = scene.timeline_markers.new(name, frame=keys[0][0])
    marker.camera = camera
    return camera


def build():
    scene = bpy.context.scene
    render = scene.render
    render.resolution_x, render.resolution_y, render.resolution_percentage = WIDTH, HEIGHT, 100
    render.pixel_aspect_x, render.pixel_aspect_y = max(1.0, 1 / PIXEL_ASPECT), max(1.0, PIXEL_ASPECT)
    render.fps = max(1, round(FPS))
    render.fps_base = render.fps / FPS
    scene.frame_start, scene.frame_end = FIRST_FRAME, LAST_FRAME
    collection = bpy.data.collections.new("Film cameras")
    scene.collection.children.link(collection)
    scene["caption"] = CAPTION
    if STAGE:
        scene["stage"] = STAGE
    cameras = [build_shot(scene, collection, *shot) for shot in SHOTS]
    scene.camera = cameras[0]
    scene.frame_set(FIRST_FRAME)


build()
'''


FOCUS = """        data.dof.use_dof = key[12] > 0
        if data.dof.use_dof:
            data.dof.focus_distance, data.dof.aperture_fstop = key[11:13]
            data.dof.keyframe_insert("focus_distance", frame=frame)
            data.dof.keyframe_insert("aperture_fstop", frame=frame)
"""
"""The lines of the script for a film with a focus."""


def write(trajectory: Trajectory, path: Path) -> None:
    """Writes the script.

    Raises:
        ValueError: the file is to be a .blend, which Blender saves after it has run the script.
    """
    if path.suffix.lower() == ".blend":
        raise ValueError("what is written is a script that builds the cameras; give the suffix .py")
    first = common.FIRST_FRAME
    fx, fy = trajectory.intrinsics_T4[0, :2].tolist()
    focused = trajectory.focus_T2 is not None
    values = {
        "MORE": ", focus distance, f-stop" if focused else "",
        "FOCUS": FOCUS if focused else "",
        "FPS": repr(float(trajectory.fps)),
        "SIZE": f"{trajectory.width}, {trajectory.height}",
        "ASPECT": repr(fx / fy),
        "RANGE": f"{first}, {first + len(trajectory) - 1}",
        "SENSOR": repr(common.FILM_BACK_MM),
        "CAPTION": repr(trajectory.global_caption),
        "STAGE": repr(None if trajectory.stage_34 is None else trajectory.stage_34.ravel().tolist()),
        "SHOTS": "".join(_shot(trajectory, k) for k in range(trajectory.num_shots)),
    }
    script = SCRIPT
    # SHOTS is filled in last, because a caption may hold text like @FPS@ that must stay.
    for key, value in values.items():
        script = script.replace(f"@{key}@", value, 1)
    path.write_text(script, encoding="utf-8")


def _shot(trajectory: Trajectory, index: int) -> str:
    """The Python literal of one shot: (name, caption, [one key per frame])."""
    start, end = trajectory.spans[index]
    shot = trajectory.shot(index)
    pose_T34 = common.upright(shot, common.Z_UP)
    fx, fy, cx, cy = shot.intrinsics_T4.T
    # Blender measures both shifts in widths of the sensor. Its y points up and that of pixels down, so the signs
    # differ.
    shift_x = 0.5 - cx / shot.width
    shift_y = (cy - shot.height / 2) / shot.width * (fx / fy)
    lens = np.stack([fx / shot.width * common.FILM_BACK_MM, shift_x, shift_y], axis=-1)
    focus = [] if trajectory.focus_T2 is None else [trajectory.focus_T2[start:end]]
    keys = np.concatenate([pose_T34[:, :, 3], common.quaternions(pose_T34), lens, *focus], axis=-1)
    lines = [
        f"        ({frame}, {', '.join(common.digits(value) for value in row)}),\n"
        for frame, row in zip(range(start + common.FIRST_FRAME, end + common.FIRST_FRAME), keys, strict=True)
    ]
    return f"    ({common.shot_name(index)!r}, {shot.captions[0]!r}, [\n{''.join(lines)}    ]),\n"


FORMAT = common.Format(
    name="blender",
    suffixes=(".py", ".blend"),
    description="Python script that builds one camera per shot in Blender, with cuts (a .blend needs bpy to be read)",
    convention="OpenGL camera axes, z-up world, metres, quaternion real part first, lens in mm on a 36 mm sensor",
    keeps=common.EVERYTHING - {"times"},
    read=blender_read.read,
    write=write,
    steady=True,
    words=plain,
)
