"""glTF 2.0 binary, .glb, for three.js, model viewers, Blender and game engines; .gltf is read too.

One node with a perspective camera per shot, moved by one animation whose time is the film's (seconds from 0, recorded
ones as they are); shots are separate nodes, so nothing interpolates across a cut. A node's `extras` hold its caption
and its span in frames and seconds. Axes: OpenGL camera axes (x right, y up, looking along -z), right-handed y-up world,
translation vec3 and rotation quaternion x y z w (real part last), float32. Unit: metres. Conversion: the world is the
stage (floor under the subject) when known, else the trajectory's own, turned from y down to y up.
The lens is `yfov` in radians and an aspect ratio. A zoom animates `yfov` by the extension KHR_animation_pointer, which
programs without it leave out. What glTF has no place for is in `extras`: size, rate, stage and caption, and of a lens
that is not centred or changes, `intrinsics`: fx, fy, cx, cy of every frame as fractions of width and height;
of a shot that is focused, `focus`: distance in metres and f-number of every frame.
Source: Khronos glTF 2.0 specification, KHR_animation_pointer.
"""

import json
import struct
from pathlib import Path

import numpy as np

from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.formats import gltf_read
from shotverse_jax.camera.trajectory import Trajectory

FLOAT = 5126
TYPES = {1: "SCALAR", 3: "VEC3", 4: "VEC4"}


def write(trajectory: Trajectory, path: Path) -> None:
    """Writes one .glb file.

    Raises:
        ValueError: the file is to be a .gltf, which would need others beside it.
    """
    if path.suffix.lower() == ".gltf":
        raise ValueError("glTF is written as .glb, which is one file; give that suffix")
    pose_T34 = common.upright(trajectory, common.Y_UP)
    times_T = trajectory.seconds_T
    # The last pose is shown for a frame of the film's rate.
    edges = [*times_T.tolist(), float(times_T[-1] + 1 / trajectory.fps)]
    buffer = bytearray()
    views, accessors, nodes, cameras, samplers, channels = [], [], [], [], [], []

    # A buffer view is a range of bytes, an accessor says how to read it; each array gets one of both.
    def add(array: np.ndarray) -> int:
        """Appends float32 values to the buffer; returns the accessor's number."""
        array = np.ascontiguousarray(array, np.float32).reshape(len(array), -1)
        # glTF demands min and max of the times of an animation: they tell a viewer how long it lasts.
        accessors.append({
            "bufferView": len(views), "componentType": FLOAT, "count": len(array), "type": TYPES[array.shape[1]],
            "min": array.min(0).tolist(), "max": array.max(0).tolist(),
        })  # fmt: skip
        views.append({"buffer": 0, "byteOffset": len(buffer), "byteLength": array.nbytes})
        buffer.extend(array.astype("<f4").tobytes())
        return len(accessors) - 1

    for k, (start, end) in enumerate(trajectory.spans):
        rotation_T4 = common.quaternions(pose_T34[start:end])[:, [1, 2, 3, 0]]
        translation_T3 = pose_T34[start:end, :, 3]
        cameras.append({"name": common.shot_name(k), "type": "perspective", "perspective": _lens(trajectory, start)})
        nodes.append({
            "name": common.shot_name(k), "camera": k,
            "translation": translation_T3[0].tolist(), "rotation": rotation_T4[0].tolist(),
            "extras": {
                "caption": trajectory.captions[k], "first_frame": start, "end_frame": end,
                "start_seconds": edges[start], "end_seconds": edges[end], **_extras(trajectory, start, end),
            },
        })  # fmt: skip
        clock = add(times_T[start:end])
        for name, values in (("translation", translation_T3), ("rotation", rotation_T4)):
            channels.append({"sampler": len(samplers), "target": {"node": k, "path": name}})
            samplers.append({"input": clock, "output": add(values), "interpolation": "LINEAR"})
        yfov_T = 2 * np.arctan(trajectory.height / 2 / trajectory.intrinsics_T4[start:end, 1])
        if np.ptp(yfov_T):
            pointer = {"KHR_animation_pointer": {"pointer": f"/cameras/{k}/perspective/yfov"}}
            channels.append({"sampler": len(samplers), "target": {"path": "pointer", "extensions": pointer}})
            samplers.append({"input": clock, "output": add(yfov_T), "interpolation": "LINEAR"})
    kept = {"fps": float(trajectory.fps), "width": trajectory.width, "height": trajectory.height}
    if trajectory.stage_34 is not None:
        kept["stage"] = trajectory.stage_34.tolist()
    doc = {
        "asset": {"version": "2.0", "generator": "shotverse_jax"},
        "scene": 0,
        "scenes": [{"nodes": list(range(len(nodes)))}],
        "nodes": nodes,
        "cameras": cameras,
        "animations": [{"name": "film", "samplers": samplers, "channels": channels}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(buffer)}],
        "extras": kept | {"caption": trajectory.global_caption},
    }
    if any(channel["target"]["path"] == "pointer" for channel in channels):
        doc["extensionsUsed"] = ["KHR_animation_pointer"]
    path.write_bytes(_container(doc, bytes(buffer)))


def _lens(trajectory: Trajectory, frame: int) -> dict:
    fx, fy = trajectory.intrinsics_T4[frame, :2]
    yfov = 2 * np.arctan(trajectory.height / 2 / fy)
    # This is the ratio of the fields of view, which is that of the sides only when pixels are square.
    aspect = (trajectory.width / fx) / (trajectory.height / fy)
    return {"yfov": float(yfov), "aspectRatio": float(aspect), "znear": 0.01}


def _extras(trajectory: Trajectory, start: int, end: int) -> dict:
    """The lens of every frame of a shot, where a field of view does not say it, and its focus."""
    extras = {}
    if trajectory.focus_T2 is not None:
        extras["focus"] = trajectory.focus_T2[start:end].tolist()
    size = [trajectory.width, trajectory.height] * 2
    lens_T4 = trajectory.intrinsics_T4[start:end] / size
    if np.ptp(lens_T4, axis=0).any() or not np.allclose(lens_T4[:, 2:], 0.5, rtol=0, atol=1e-9):
        extras["intrinsics"] = lens_T4.tolist()
    return extras


def _container(doc: dict, binary: bytes) -> bytes:
    """GLB: a 12 byte header, then the JSON chunk (padded with blanks) and the binary chunk (padded with zeros)."""
    text = json.dumps(doc, allow_nan=False, separators=(",", ":")).encode()
    # The lengths of chunks must be multiples of 4; blanks leave the JSON valid.
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    header = struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + len(binary))
    return header + struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary


FORMAT = common.Format(
    name="gltf",
    suffixes=(".glb", ".gltf"),
    description="glTF 2.0, one animated camera per shot (needs pygltflib to read; written as .glb)",
    convention="OpenGL camera axes, y-up world, metres, quaternion real part last",
    keeps=common.EVERYTHING,
    read=gltf_read.read,
    write=write,
)
