"""A path as GenDoP's figures show it: a row of coloured camera frusta over a floor, rendered by Blender.

The script that builds and renders the scene has all numbers in it, and runs in Blender 3.6 or newer or with the module
bpy. Its world has z up: the first camera looks along +y.
"""

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.files import replacing
from shotverse_jax.views.three_views import CAMERAS, colors_of, first_camera_points, frames_of, pyramids

PICTURES = (".png",)
REACH = 5.0
"""The farthest camera is this far from the first one in Blender's unit, as in GenDoP's figures."""
DEPTH = 0.14
"""Depth of a frustum as a part of that."""

SCRIPT = '''"""Camera frusta of a path: blender --background --python THIS_FILE, or python THIS_FILE with bpy."""

import math
import os

import bpy
from mathutils import Vector

PICTURE = @PICTURE@
SIZE = @SIZE@
# Of every frustum its colour (linear red, green, blue) and its corners: the eye, then around the picture.
FRUSTA = [
@FRUSTA@]
PATH = @PATH@  # colour and two ends of every piece of the path
FACES = [(0, 1, 2), (0, 2, 3), (0, 3, 4), (0, 4, 1)]
EDGES = [(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1)]


def material(color, alpha):
    made = bpy.data.materials.new("camera")
    made.use_nodes = True
    shader = made.node_tree.nodes["Principled BSDF"]
    shader.inputs["Base Color"].default_value = (*color, 1.0)
    shader.inputs["Alpha"].default_value = alpha
    shader.inputs["Roughness"].default_value = 0.6
    if hasattr(made, "blend_method"):
        made.blend_method = "BLEND"
    return made


def mesh(name, points, faces, look):
    data = bpy.data.meshes.new(name)
    data.from_pydata(points, [], faces)
    data.materials.append(look)
    thing = bpy.data.objects.new(name, data)
    bpy.context.scene.collection.objects.link(thing)
    return thing


def tube(name, pieces, width, look):
    curve = bpy.data.curves.new(name, "CURVE")
    curve.dimensions, curve.bevel_depth = "3D", width
    for piece in pieces:
        line = curve.splines.new("POLY")
        line.points.add(len(piece) - 1)
        for point, at in zip(line.points, piece):
            point.co = (*at, 1.0)
    curve.materials.append(look)
    bpy.context.scene.collection.objects.link(bpy.data.objects.new(name, curve))


def build():
    for thing in list(bpy.data.objects):
        bpy.data.objects.remove(thing, do_unlink=True)
    scene = bpy.context.scene
    points = [corner for _, corners in FRUSTA for corner in corners]
    low = Vector(min(point[i] for point in points) for i in range(3))
    high = Vector(max(point[i] for point in points) for i in range(3))
    middle, reach = (low + high) / 2, max((high - low).length, 1.0)
    for color, corners in FRUSTA:
        look = material(color, 0.55)
        mesh("frustum", corners, FACES, look)
        tube("edges", [(corners[a], corners[b]) for a, b in EDGES], 0.0022 * reach, material(color, 1.0))
    for color, ends in PATH:
        tube("path", [ends], 0.0035 * reach, material(color, 1.0))
    floor_z = low.z - 0.02 * reach
    far = 40 * reach
    corners = [(middle.x + x * far, middle.y + y * far, floor_z) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    mesh("floor", corners, [(0, 1, 2, 3)], material((0.9, 0.9, 0.9), 1.0))
    # From behind the first camera, to its right, and above: the path goes away from the viewer.
    view = bpy.data.cameras.new("view")
    eye = bpy.data.objects.new("view", view)
    scene.collection.objects.link(eye)
    toward = Vector((-0.55, 0.68, -0.62)).normalized()
    eye.rotation_euler = toward.to_track_quat("-Z", "Y").to_euler()
    turn = eye.rotation_euler.to_matrix().transposed()
    seen = [turn @ (Vector(point) - middle) for point in points]
    view.lens, view.sensor_width = 60.0, 36.0
    half_x, half_y = 18.0 / 60.0, 18.0 / 60.0 * SIZE[1] / SIZE[0]
    away = max(max(abs(p.x) / half_x, abs(p.y) / half_y) + p.z for p in seen) * 1.12
    eye.location = middle - away * toward
    view.clip_end = 100 * far
    scene.camera = eye
    sun = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
    sun.data.energy, sun.data.angle = 2.6, math.radians(12)
    sun.rotation_euler = (math.radians(28), math.radians(18), math.radians(30))
    scene.collection.objects.link(sun)
    world = scene.world or bpy.data.worlds.new("world")
    scene.world = world
    world.use_nodes = True
    world.node_tree.nodes["Background"].inputs[0].default_value = (1.0, 1.0, 1.0, 1.0)
    world.node_tree.nodes["Background"].inputs[1].default_value = 0.55
    scene.view_settings.view_transform = "Standard"


def render():
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.device = 16, "CPU"
    scene.cycles.transparent_max_bounces = 24
    try:
        scene.cycles.use_denoising = True
    except (AttributeError, TypeError):
        pass
    scene.render.resolution_x, scene.render.resolution_y = SIZE
    scene.render.resolution_percentage = 100
    scene.render.image_settings.file_format = "PNG"
    scene.render.filepath = os.path.abspath(PICTURE)
    bpy.ops.render.render(write_still=True)


build()
render()
'''


def write_figure(trajectory: Trajectory, path: str | Path, cameras: int = CAMERAS) -> None:
    """Writes the script, which renders <name>.png beside itself when it runs, whole or not at all.

    Args:
        trajectory: the path, of any number of shots.
        path: the .py file.
        cameras: frusta of every shot; default 30.

    Raises:
        ValueError: the file cannot be written.
    """
    path = Path(path)
    with replacing(path) as place:
        place.write_text(_script(trajectory, cameras, path.with_suffix(".png").name), encoding="utf-8")


def render_figure(trajectory: Trajectory, path: str | Path, cameras: int = CAMERAS) -> None:
    """Renders the figure with the module bpy, else with Blender, whichever is installed; whole or not at all.

    Args:
        trajectory, cameras: as `write_figure`.
        path: the .png file.

    Raises:
        ValueError: the suffix is another, neither is installed, or rendering fails.
    """
    path = Path(path)
    if path.suffix.lower() not in PICTURES:
        raise ValueError(f"{path}: Blender's figures are written as .png, or as its script .py")
    if importlib.util.find_spec("bpy") is not None:
        # In a process of its own: bpy changes the state of the one that it is in, and may end it.
        command = [sys.executable]
    elif blender := shutil.which("blender"):
        command = [blender, "--background", "--factory-startup", "--python"]
    else:
        raise ValueError(
            f"{path}: rendering needs Blender, or its module: pip install bpy; without them write the script: "
            f"--out {path.with_suffix('.py').name}"
        )
    with replacing(path) as place, tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "figure.py"
        script.write_text(_script(trajectory, cameras, str(place.absolute())), encoding="utf-8")
        done = subprocess.run([*command, str(script)], stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode or not place.is_file():
            said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
            raise ValueError(f"{path}: Blender could not render it ({(said or ['it said nothing'])[-1][:300]})")


def _script(trajectory: Trajectory, cameras: int, picture: str) -> str:
    pose_T34 = first_camera_points(trajectory)
    # Blender's world has z up: right, forward, up.
    pose_T34 = pose_T34[:, [0, 2, 1]]
    far = np.linalg.norm(pose_T34[:, :, 3], axis=1).max()
    pose_T34[:, :, 3] *= REACH / far if far > 1e-9 else 1.0
    frames = frames_of(trajectory, cameras)
    corner_F53 = pyramids(trajectory, pose_T34, frames, REACH * DEPTH)
    color_T3 = linear(colors_of(len(trajectory))[:, :3])
    frusta = "".join(
        f"    ({_row(color_T3[f])}, {_rows(corners)}),\n" for f, corners in zip(frames, corner_F53, strict=True)
    )
    eye_T3, step = pose_T34[:, :, 3], np.flatnonzero(np.diff(trajectory.shot_T) == 0)
    path = ", ".join(f"({_row(color_T3[t])}, {_rows(eye_T3[[t, t + 1]])})" for t in step)
    values = {"PICTURE": repr(picture), "SIZE": "(1200, 750)", "PATH": f"[{path}]", "FRUSTA": frusta}
    script = SCRIPT
    for key, value in values.items():
        script = script.replace(f"@{key}@", value, 1)
    return script


def linear(color: np.ndarray) -> np.ndarray:
    """Colours of a screen (sRGB, 0..1) as amounts of light, which Blender's materials take."""
    return np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)


def _row(values: np.ndarray) -> str:
    return f"({', '.join(f'{value:.6g}' for value in values)})"


def _rows(values: np.ndarray) -> str:
    return f"[{', '.join(_row(row) for row in values)}]"
