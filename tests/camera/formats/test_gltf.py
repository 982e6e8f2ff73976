"""glTF files: what is written, what is read of other programs' files, and who else opens ours."""

import base64
import dataclasses
import json
import sys

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from other_programs import load_glb
from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import read_trajectory, write_trajectory


def test_gltf_lens_and_cuts(tmp_path, film):
    write_trajectory(film, tmp_path / "film.glb")
    doc, read = load_glb(tmp_path / "film.glb")
    for camera, (fx, fy) in zip(doc["cameras"], film.intrinsics_T4[[0, 3], :2], strict=True):
        lens = camera["perspective"]
        assert lens["yfov"] == pytest.approx(2 * np.arctan(240 / fy))
        assert np.tan(lens["yfov"] / 2) * lens["aspectRatio"] == pytest.approx(416 / fx)
    animation = doc["animations"][0]
    clocks = [read(animation["samplers"][channel["sampler"]]["input"])[:, 0] for channel in animation["channels"]]
    assert [len(clock) for clock in clocks] == [3, 3, 2, 2, 2] and clocks[2][0] == 3 / 16
    zoom = animation["channels"][-1]
    pointer = {"KHR_animation_pointer": {"pointer": "/cameras/1/perspective/yfov"}}
    assert zoom["target"] == {"path": "pointer", "extensions": pointer}
    assert doc["extensionsUsed"] == ["KHR_animation_pointer"]
    yfov = read(animation["samplers"][zoom["sampler"]]["output"])[:, 0]
    np.testing.assert_allclose(yfov, 2 * np.arctan(240 / film.intrinsics_T4[3:, 1]), rtol=1e-6)
    for channel in animation["channels"]:
        if channel["target"]["path"] == "rotation":
            norm = np.linalg.norm(read(animation["samplers"][channel["sampler"]]["output"]), axis=1)
            np.testing.assert_allclose(norm, 1, atol=1e-6)
    assert [node["extras"]["caption"] for node in doc["nodes"]] == list(film.captions)


def document(nodes, cameras=None, animations=(), arrays=(), **more):
    """A .gltf text with its numbers in a data URI; arrays: float32 arrays, one accessor each."""
    kinds = {1: "SCALAR", 3: "VEC3", 4: "VEC4"}
    data, views, accessors = b"", [], []
    for array in arrays:
        array = np.asarray(array, "<f4").reshape(len(array), -1)
        views.append({"buffer": 0, "byteOffset": len(data), "byteLength": array.nbytes})
        kind = {"componentType": 5126, "count": len(array), "type": kinds[array.shape[1]]}
        accessors.append({"bufferView": len(views) - 1, **kind})
        data += array.tobytes()
    uri = "data:application/octet-stream;base64," + base64.b64encode(data).decode()
    cameras = cameras or [{"type": "perspective", "perspective": {"yfov": 0.8, "znear": 0.1}}]
    parts = {"nodes": nodes, "cameras": cameras, "animations": list(animations), "accessors": accessors, **more}
    buffers = {"bufferViews": views, "buffers": [{"byteLength": len(data), "uri": uri}]} if data else {}
    return json.dumps({"asset": {"version": "2.0"}, "scenes": [{"nodes": [0]}], **parts, **buffers})


def animation(*channels, mode="LINEAR"):
    """channels: (node, path, time accessor, value accessor)."""
    return {
        "channels": [{"sampler": k, "target": {"node": c[0], "path": c[1]}} for k, c in enumerate(channels)],
        "samplers": [{"input": c[2], "output": c[3], "interpolation": mode} for c in channels],
    }


def test_a_camera_below_moving_nodes(tmp_path):
    """A dolly that moves along x and turns to the left, scaled, with the camera 2 above it and looking along -z."""
    turn = Rotation.from_rotvec([[0, 0, 0], [0, np.pi / 2, 0]]).as_quat()
    nodes = [
        {"children": [1], "scale": [2, 2, 2]},
        {"children": [2], "name": "dolly"},
        {"camera": 0, "name": "Camera", "translation": [0, 1, 0]},
    ]
    move = animation((1, "translation", 0, 1), (1, "rotation", 0, 2))
    (tmp_path / "a.gltf").write_text(document(nodes, animations=[move], arrays=[[0, 1], [[0, 0, 0], [3, 0, 0]], turn]))
    read = read_trajectory(tmp_path / "a.gltf")
    # The world is turned from y up to y down.
    np.testing.assert_allclose(read.pose_T34[:, :, 3], [[0, -2, 0], [6, -2, 0]], atol=1e-6)
    np.testing.assert_allclose(read.pose_T34[:, :, 2], [[0, 0, 1], [-1, 0, 0]], atol=1e-6)
    assert read.intrinsics_T4[0] == pytest.approx([240 / np.tan(0.4)] * 2 + [416, 240])
    assert read.num_shots == 1 and any("832x480" in note for note in read.notes)


@pytest.mark.parametrize(
    ("mode", "values", "x"),
    [
        ("STEP", [[0, 0, 0], [2, 0, 0], [6, 0, 0]], [0, 0, 2, 2, 6]),
        ("LINEAR", [[0, 0, 0], [2, 0, 0], [6, 0, 0]], [0, 1, 2, 4, 6]),
    ],
)
def test_interpolation_of_keys(tmp_path, mode, values, x):
    """The second camera has keys at all times, the first at three of them."""
    nodes = [{"children": [1]}, {"camera": 0}]
    keys = np.arange(5) / 4
    still = [[0, 0, 0, 1.0]] * 5
    moves = {
        "channels": [
            {"sampler": 0, "target": {"node": 0, "path": "translation"}},
            {"sampler": 1, "target": {"node": 1, "path": "rotation"}},
        ],
        "samplers": [{"input": 0, "output": 1, "interpolation": mode}, {"input": 2, "output": 3}],
    }
    (tmp_path / "a.gltf").write_text(document(nodes, animations=[moves], arrays=[keys[::2], values, keys, still]))
    read = read_trajectory(tmp_path / "a.gltf")
    np.testing.assert_allclose(read.pose_T34[:, 0, 3], x, atol=1e-6)
    assert read.fps == 4


def test_cubic_splines_are_sampled(tmp_path):
    """Hermite's curve from 0 to 1 with flat ends is 3 t^2 - 2 t^3."""
    flat, ends = [0, 0, 0], [[0, 0, 0], [1, 0, 0]]
    values = [flat, ends[0], flat, flat, ends[1], flat]
    moves = animation((0, "translation", 0, 1), mode="CUBICSPLINE")
    (tmp_path / "a.gltf").write_text(document([{"camera": 0}], animations=[moves], arrays=[[0, 1], values]))
    read = read_trajectory(tmp_path / "a.gltf")
    t = np.arange(25) / 24
    np.testing.assert_allclose(read.pose_T34[:, 0, 3], 3 * t**2 - 2 * t**3, atol=1e-6)
    assert read.fps == 24 and any("splines" in note for note in read.notes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nodes": [{"children": [0], "camera": 0}]}, "node 0 is below itself"),
        ({"nodes": [{"camera": 5}]}, "not a whole glTF 2.0 file"),
        ({"nodes": [{}]}, "no camera with a perspective lens"),
        ({"cameras": [{"type": "orthographic"}]}, "no camera with a perspective lens"),
        ({"arrays": [[0, 1], [[0, 0, 0]]]}, "other numbers of times and values"),
        ({"arrays": [[1, 0], [[0, 0, 0], [1, 0, 0]]]}, "its times do not rise"),
        ({"buffers": [{"byteLength": 40, "uri": "../../secret.bin"}]}, "outside of the file's folder"),
    ],
)  # fmt: skip
def test_files_that_are_not_whole(tmp_path, change, message):
    parts = {"nodes": [{"camera": 0}], "arrays": [[0, 1], [[0, 0, 0], [1, 0, 0]]]}
    text = document(**{"animations": [animation((0, "translation", 0, 1))], **parts, **change})
    doc = json.loads(text) | {key: value for key, value in change.items() if key == "buffers"}
    (tmp_path / "a.gltf").write_text(json.dumps(doc))
    with pytest.raises(ValueError, match=rf"a\.gltf: .*{message}"):
        read_trajectory(tmp_path / "a.gltf")


def test_recorded_times_and_zoom_stay(tmp_path, film):
    times = np.array([0, 0.1, 0.3, 0.35, 0.5])
    write_trajectory(dataclasses.replace(film, time_T=times), tmp_path / "a.glb")
    read = read_trajectory(tmp_path / "a.glb")
    np.testing.assert_allclose(read.seconds_T, times, atol=1e-6)
    np.testing.assert_allclose(read.intrinsics_T4, film.intrinsics_T4, rtol=1e-9)
    np.testing.assert_allclose(read.pose_T34, film.pose_T34, atol=1e-6)
    np.testing.assert_allclose(read.stage_34, film.stage_34, atol=1e-12)
    assert (read.captions, read.global_caption, read.fps) == (film.captions, "scene", 16)


def test_other_readers_open_it(tmp_path, film):
    pygltflib, trimesh = pytest.importorskip("pygltflib"), pytest.importorskip("trimesh")
    write_trajectory(film, tmp_path / "a.glb")
    doc = pygltflib.GLTF2().load(str(tmp_path / "a.glb"))
    assert [camera.name for camera in doc.cameras] == ["shot_01", "shot_02"] and len(doc.animations[0].channels) == 5
    scene = trimesh.load(tmp_path / "a.glb")
    assert scene.camera.fov[1] == pytest.approx(np.degrees(2 * np.arctan(240 / 700)), rel=1e-6)
    first = se3.flip_yz(np.diag([1, -1, -1]) @ se3.relative(film.stage_34, film.pose_T34[0]))
    np.testing.assert_allclose(scene.graph.get("shot_01")[0][:3], first, atol=1e-6)


def test_without_the_package_it_says_what_to_install(tmp_path, film, monkeypatch):
    write_trajectory(film, tmp_path / "a.glb")
    monkeypatch.setitem(sys.modules, "pygltflib", None)
    with pytest.raises(ValueError, match=r"pip install 'shotverse_jax\[dcc\]'"):
        read_trajectory(tmp_path / "a.glb")
