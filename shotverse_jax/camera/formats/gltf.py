"""glTF 2.0 binary, .glb, for three.js, model viewers, Blender and game engines (written only).

One node with a perspective camera per shot, moved by one animation whose time is the film's (seconds from 0, recorded
ones as they are); shots are separate nodes, so nothing interpolates across a cut. A node's `extras` hold its caption
and its span in frames and seconds. Axes: OpenGL camera axes (x right, y up, looking along -z), right-handed y-up world,
translation vec3 and rotation quaternion x y z w (real part last), float32. Unit: metres. Conversion: the world is the
stage (floor under the subject) when known, else the trajectory's own, turned from y down to y up.
The lens is `yfov` in radians and the aspect ratio of the shot's first frame: core glTF neither animates a lens nor
shifts the principal point.
Source: Khronos glTF 2.0 specification.
"""

import json
import struct
from pathlib import Path

import numpy as np

from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.trajectory import Trajectory

FLOAT = 5126
TYPES = {1: "SCALAR", 3: "VEC3", 4: "VEC4"}


def write(trajectory: Trajectory, path: Path) -> None:
    """Writes one .glb file."""
    pose_T34 = common.upright(trajectory, common.Y_UP)
    times_T = trajectory.seconds_T
    # The last pose is shown for a frame of the film's rate.
    edges = [*times_T, times_T[-1] + 1 / trajectory.fps]
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
                "start_seconds": float(edges[start]), "end_seconds": float(edges[end]),
            },
        })  # fmt: skip
        clock = add(times_T[start:end])
        for name, values in (("translation", translation_T3), ("rotation", rotation_T4)):
            channels.append({"sampler": len(samplers), "target": {"node": k, "path": name}})
            samplers.append({"input": clock, "output": add(values), "interpolation": "LINEAR"})
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
        "extras": {"fps": float(trajectory.fps), "caption": trajectory.global_caption},
    }
    path.write_bytes(_container(doc, bytes(buffer)))


def _lens(trajectory: Trajectory, frame: int) -> dict:
    fx, fy = trajectory.intrinsics_T4[frame, :2]
    yfov = 2 * np.arctan(trajectory.height / 2 / fy)
    # This is the ratio of the fields of view, which is that of the sides only when pixels are square.
    aspect = (trajectory.width / fx) / (trajectory.height / fy)
    return {"yfov": float(yfov), "aspectRatio": float(aspect), "znear": 0.01}


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
    suffixes=(".glb",),
    description="glTF 2.0 binary, one animated camera per shot (write)",
    convention="OpenGL camera axes, y-up world, metres, quaternion real part last; lens fixed within a shot",
    keeps=frozenset({"poses", "cuts", "captions", "lens", "pixel aspect", "rate", "times"}),
    write=write,
)
