"""What other programs see in exported files: Blender by a stand-in of its API, glTF by its bytes, USD by usd-core."""

import json
import struct
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from shotverse_jax.camera.formats import FORMATS, write_trajectory
from shotverse_jax.camera.trajectory import Trajectory


def cameras_in_blender(path: Path, monkeypatch) -> dict:
    """Runs the script against a stand-in for Blender's API; {camera: {frame: (location, rotation, lens)}}."""

    class Block(dict):
        def __init__(self, name, data=None):
            self.name, self.data, self.animation_data, self.keys = name, data, None, {}
            self.dof = None if name == "dof" else Block("dof")

        def keyframe_insert(self, channel, frame):
            value = getattr(self, channel)
            self.keys.setdefault(frame, {})[channel] = tuple(value) if hasattr(value, "__len__") else value

    bpy = types.ModuleType("bpy")
    objects, markers = {}, []

    def new_object(name, data):
        objects[name] = Block(name, data)
        return objects[name]

    def new_marker(name, frame):
        markers.append(types.SimpleNamespace(name=name, frame=frame, camera=None))
        return markers[-1]

    link = types.SimpleNamespace(link=lambda block: None)
    collection = types.SimpleNamespace(objects=link, children=link)
    bpy.data = types.SimpleNamespace(
        cameras=types.SimpleNamespace(new=Block),
        objects=types.SimpleNamespace(new=new_object),
        collections=types.SimpleNamespace(new=lambda name: collection),
    )

    class Scene(types.SimpleNamespace):
        def __setitem__(self, name, value):
            setattr(self, f"custom_{name}", value)

    scene = Scene(
        render=types.SimpleNamespace(), collection=collection, frame_set=lambda frame: None,
        timeline_markers=types.SimpleNamespace(new=new_marker),
    )  # fmt: skip
    bpy.context = types.SimpleNamespace(scene=scene)
    monkeypatch.setitem(sys.modules, "bpy", bpy)
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), {})  # the file under test is a program
    return {"scene": scene, "markers": markers, "objects": objects}


def exported_poses(fmt: str, trajectory: Trajectory, folder: Path, monkeypatch) -> np.ndarray:
    """[T, 4, 4] camera-to-world, OpenGL camera axes, as another program would see the exported file."""
    path = folder / f"film{FORMATS[fmt].extension}"
    write_trajectory(trajectory, path, fmt)
    poses = np.tile(np.eye(4), (len(trajectory), 1, 1))
    if fmt == "blender":
        for camera in cameras_in_blender(path, monkeypatch)["objects"].values():
            for frame, key in camera.keys.items():
                poses[frame - 1, :3, 3] = key["location"]
                poses[frame - 1, :3, :3] = Rotation.from_quat(np.roll(key["rotation_quaternion"], -1)).as_matrix()
    elif fmt == "chan":
        rows = np.loadtxt(path, ndmin=2)
        poses[:, :3, 3] = rows[:, 1:4]
        poses[:, :3, :3] = Rotation.from_euler("YXZ", rows[:, [5, 4, 6]], degrees=True).as_matrix()
    elif fmt == "gltf":
        doc, read = load_glb(path)
        for channel in doc["animations"][0]["channels"]:
            sampler = doc["animations"][0]["samplers"][channel["sampler"]]
            frames = np.round(read(sampler["input"])[:, 0] * trajectory.fps).astype(int)
            values = read(sampler["output"])
            if channel["target"]["path"] == "translation":
                poses[frames, :3, 3] = values
            elif channel["target"]["path"] == "rotation":
                poses[frames, :3, :3] = Rotation.from_quat(values).as_matrix()
    else:
        pxr = pytest.importorskip("pxr.UsdGeom")
        stage = pytest.importorskip("pxr.Usd").Stage.Open(str(path))
        for k, (start, end) in enumerate(trajectory.spans):
            camera = pxr.Camera(stage.GetPrimAtPath(f"/Film/shot_{k + 1:02d}"))
            for t in range(start, end):
                poses[t] = np.array(camera.GetCamera(t + 1).transform).T
    return poses


def load_glb(path: Path):
    """(JSON document, function accessor number → float array) of a .glb file, checked on the way."""
    data = path.read_bytes()
    magic, version, length = struct.unpack("<4sII", data[:12])
    assert (magic, version, length) == (b"glTF", 2, len(data))
    size, kind = struct.unpack("<I4s", data[12:20])
    assert kind == b"JSON" and size % 4 == 0
    doc = json.loads(data[20 : 20 + size])
    rest = data[20 + size :]
    binary_size, kind = struct.unpack("<I4s", rest[:8])
    assert kind == b"BIN\0" and binary_size % 4 == 0 and binary_size == len(rest) - 8
    assert 0 <= binary_size - doc["buffers"][0]["byteLength"] < 4

    def read(index):
        accessor = doc["accessors"][index]
        view = doc["bufferViews"][accessor["bufferView"]]
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[accessor["type"]]
        assert accessor["componentType"] == 5126 and view["byteOffset"] % 4 == 0
        assert view["byteLength"] == 4 * width * accessor["count"]
        raw = rest[8 + view["byteOffset"] :][: view["byteLength"]]
        values = np.frombuffer(raw, "<f4").reshape(-1, width).astype(np.float64)
        np.testing.assert_array_equal(values.min(0), accessor["min"])
        np.testing.assert_array_equal(values.max(0), accessor["max"])
        return values

    return doc, read
