"""The cameras of a glTF 2.0 file (.glb or .gltf) and their animation, as `gltf` or any 3-D program writes them.

pygltflib reads the container. What animates a camera, and all nodes above it, is evaluated here: translation, rotation
and scale by steps, linearly or by cubic splines, and the field of view by KHR_animation_pointer.
"""

import re
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from shotverse_jax import limits
from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.formats import tracks

DTYPES = {5120: np.int8, 5121: np.uint8, 5122: np.int16, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
SPLINE_FPS = 24.0
"""Rate at which curves between sparse keys are sampled."""
_POINTER = "KHR_animation_pointer"


@common.reader
def read(path: Path, *, camera: str | None = None) -> common.Reading:
    """Reads the cameras; `camera` names one of them, or is "all" for a shot of each."""
    try:
        import pygltflib
    except ImportError as error:
        raise ValueError("reading glTF needs pygltflib; install it with: pip install 'shotverse_jax[dcc]'") from error
    _check_container(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about extensions that have nothing to do with cameras
            scene = _Scene(pygltflib.GLTF2().load(str(path)), path.parent)
        found, notes = scene.cameras(), scene.notes
    except (LookupError, TypeError, AttributeError, RecursionError, NotImplementedError, ArithmeticError) as error:
        raise ValueError(f"not a whole glTF 2.0 file ({type(error).__name__}: {str(error)[:80]})") from error
    reading = tracks.film(found, camera, notes)
    said = scene.doc.extras if isinstance(scene.doc.extras, dict) else {}
    width, height = said.get("width"), said.get("height")
    if width is not None and height is not None:
        reading.size_T2 = np.tile([common.pixels(width, "width"), common.pixels(height, "height")], (len(reading), 1))
    else:
        reading.usual_size = tracks.shape_size(reading.lens_T4[0])
    tracks.set_rate(reading, None if said.get("fps") is None else common.positive(said["fps"], "fps"))
    reading.global_caption = str(said.get("caption") or "")
    tracks.place(reading, said.get("stage"), "y")
    return reading


def _check_container(path: Path) -> None:
    """Refuses a binary file whose header and chunks are not those of glTF 2.0, on which pygltflib stumbles."""
    limits.file_size(path, limits.CAMERA_FILE)
    data = path.read_bytes()
    if path.suffix.lower() == ".gltf" or data[:1] == b"{":
        common.load_json(path)
        return
    if data[:4] != b"glTF" or len(data) < 20 or struct.unpack_from("<II", data, 4) != (2, len(data)):
        raise ValueError("not a whole glTF 2.0 file: its header is another one's, or it is cut off")
    place, kinds = 12, []
    while place < len(data):
        if place + 8 > len(data):
            raise ValueError("not a whole glTF 2.0 file: a chunk is cut off")
        size, kind = struct.unpack_from("<I4s", data, place)
        kinds.append(kind)
        place += 8 + size
    if place != len(data) or kinds[:1] != [b"JSON"] or kinds[1:] not in ([], [b"BIN\0"]):
        raise ValueError("not a whole glTF 2.0 file: its chunks are not a text and its numbers")


class _Scene:
    """A glTF document whose nodes can be placed at any time."""

    def __init__(self, doc: Any, folder: Path):
        if doc is None:
            raise ValueError("not a glTF 2.0 file")
        self.doc, self.notes, self._folder, self._buffers = doc, [], folder, {}
        self._parent = {child: k for k, node in enumerate(doc.nodes) for child in node.children or []}
        self._curves = self._animations()

    def cameras(self) -> list[tracks.Track]:
        """The perspective cameras of all nodes."""
        found = []
        for k, node in enumerate(self.doc.nodes):
            if node.camera is None:
                continue
            camera = self.doc.cameras[node.camera]
            if camera.type != "perspective":
                self.notes.append(f"the camera '{node.name or k}' is {camera.type} and was left out")
                continue
            found.append(self._track(k, node, camera))
        return found

    def _track(self, k: int, node: Any, camera: Any) -> tracks.Track:
        chain = self._chain(k)
        keys = [self._curves[place] for place in self._curves if place[0] in chain or place == (None, node.camera)]
        second_T = self._seconds(keys)
        matrix = np.tile(np.eye(4), (len(second_T), 1, 1))
        for number in chain[::-1]:
            matrix = matrix @ self._local(number, second_T)
        extras = node.extras if isinstance(node.extras, dict) else {}
        lens_T4 = self._lens(camera, node.camera, second_T)
        kept = extras.get("intrinsics")  # what core glTF does not hold of the lens, as fractions of the image
        if isinstance(kept, list) and len(kept) == len(second_T):
            lens_T4 = common.numbers(kept, (len(second_T), 4), "intrinsics")
        focus = extras.get("focus")
        focused = isinstance(focus, list) and len(focus) == len(second_T)
        focus_T2 = common.numbers(focus, (len(second_T), 2), "focus") if focused else None
        name = str(node.name or camera.name or f"camera_{k}")
        caption, pose_T34 = str(extras.get("caption") or ""), se3.flip_yz(matrix[:, :3])
        return tracks.Track(name, second_T, pose_T34, lens_T4, caption, tracks.shown_of(extras), focus_T2)

    def _chain(self, k: int) -> list[int]:
        """A node and those above it."""
        chain = [k]
        while (k := self._parent.get(k)) is not None:
            if k in chain:
                raise ValueError(f"node {k} is below itself")
            chain.append(k)
        return chain

    def _seconds(self, curves: list["_Curve"]) -> np.ndarray:
        """The times of all keys, or an even clock where curves run between them."""
        if not curves:
            return np.zeros(1)
        times = np.unique(np.concatenate([curve.time_T for curve in curves]))
        if any(curve.mode == "CUBICSPLINE" for curve in curves):
            count = (times[-1] - times[0]) * SPLINE_FPS
            # Every camera is sampled so, and a small file can name many.
            if not count * len(self.doc.nodes) < limits.POSES:
                raise ValueError(f"an animation of {times[-1] - times[0]:.3g} s is too long")
            note = f"splines between keys were sampled at {SPLINE_FPS:g} frames per second"
            self.notes += [note] if note not in self.notes else []
            times = times[0] + np.arange(int(count + 1.5)) / SPLINE_FPS
        return times

    def _local(self, k: int, second_T: np.ndarray) -> np.ndarray:
        """The matrix [T, 4, 4] of a node in the one above it."""
        node = self.doc.nodes[k]
        if node.matrix is not None:
            columns = common.numbers(node.matrix, (16,), f"the matrix of node {k}").reshape(4, 4)
            return np.tile(columns.T, (len(second_T), 1, 1))
        parts = {}
        for path, still in (("translation", (0, 0, 0)), ("rotation", (0, 0, 0, 1)), ("scale", (1, 1, 1))):
            curve = self._curves.get((k, path))
            value = common.numbers(list(getattr(node, path) or still), (len(still),), f"the {path} of node {k}")
            parts[path] = np.tile(value, (len(second_T), 1)) if curve is None else curve.at(second_T)
        norm = np.linalg.norm(parts["rotation"], axis=1, keepdims=True)
        if not (norm > 0.1).all():
            raise ValueError(f"node {k} has a rotation of length 0")
        rotation = se3.quaternion_to_rotation((parts["rotation"] / norm)[:, [3, 0, 1, 2]])
        return se3.to_44(se3.make(rotation * parts["scale"][:, None, :], parts["translation"]))

    def _lens(self, camera: Any, number: int, second_T: np.ndarray) -> np.ndarray:
        lens = camera.perspective
        curve = self._curves.get((None, number))
        still_T = np.full(len(second_T), common.positive(lens.yfov, "yfov"))
        yfov_T = still_T if curve is None else curve.at(second_T)[:, 0]
        if not ((yfov_T > 0) & (yfov_T < np.pi)).all():
            raise ValueError(f"yfov should be between 0 and pi, got {yfov_T.min():.3g}")
        fy = 0.5 / np.tan(yfov_T / 2)
        aspect = 832 / 480 if lens.aspectRatio is None else common.positive(lens.aspectRatio, "aspectRatio")
        return np.stack([fy / aspect, fy, np.full_like(fy, 0.5), np.full_like(fy, 0.5)], axis=1)

    def _animations(self) -> dict[tuple, "_Curve"]:
        """{(node, path) or (None, camera): curve}; of several animations of the same the first one."""
        curves = {}
        for animation in self.doc.animations or []:
            for channel in animation.channels:
                if (place := _place(channel.target)) is None or place in curves:
                    continue
                sampler = animation.samplers[channel.sampler]
                width = {"rotation": 4, "translation": 3, "scale": 3}.get(place[1], 1)
                curves[place] = _Curve(
                    self._array(sampler.input)[:, 0], self._array(sampler.output), sampler.interpolation or "LINEAR",
                    width, place[1] == "rotation",
                )  # fmt: skip
        return curves

    def _array(self, number: int) -> np.ndarray:
        """The values [N, width] of an accessor."""
        accessor = self.doc.accessors[number]
        if accessor.sparse is not None or accessor.bufferView is None:
            raise ValueError(f"accessor {number} is sparse or has no data, which is not read")
        view = self.doc.bufferViews[accessor.bufferView]
        dtype, width = np.dtype(DTYPES[accessor.componentType]).newbyteorder("<"), WIDTHS[accessor.type]
        data = self._buffer(view.buffer)
        start, size = (view.byteOffset or 0) + (accessor.byteOffset or 0), dtype.itemsize * width
        step = view.byteStride or size
        if min(start, accessor.count - 1) < 0 or step < size or start + (accessor.count - 1) * step + size > len(data):
            raise ValueError(f"accessor {number} reaches beyond its buffer")
        rows = np.ndarray((accessor.count, width), dtype, data, start, (step, dtype.itemsize)).astype(np.float64)
        if accessor.normalized:
            rows = np.maximum(rows / np.iinfo(dtype).max, -1.0)
        if not np.isfinite(rows).all():
            raise ValueError(f"accessor {number} holds NaN or infinity")
        return rows

    def _buffer(self, number: int) -> bytes:
        if number not in self._buffers:
            uri = self.doc.buffers[number].uri
            if uri is None:
                data = self.doc.binary_blob()
            elif uri.startswith("data:"):
                data = self.doc.get_data_from_buffer_uri(uri)
            else:
                place = (self._folder / uri).resolve()
                if not place.is_relative_to(self._folder.resolve()):
                    raise ValueError(f"the buffer {uri[:80]} lies outside of the file's folder")
                limits.file_size(place, limits.CAMERA_FILE)
                data = place.read_bytes()
            self._buffers[number] = data or b""
        return self._buffers[number]


def _place(target: Any) -> tuple | None:
    """What a channel animates: (node, path), or (None, camera) for its field of view; None for what is not read."""
    if target.path in ("translation", "rotation", "scale"):
        return None if target.node is None else (target.node, target.path)
    pointer = ((target.extensions or {}).get(_POINTER) or {}).get("pointer", "") if target.path == "pointer" else ""
    match = re.fullmatch(r"/cameras/(\d+)/perspective/yfov", pointer)
    return (None, int(match[1])) if match else None


class _Curve:
    """Keys over time, and the values between them."""

    def __init__(self, time_T: np.ndarray, value: np.ndarray, mode: str, width: int, turns: bool):
        triple = 3 if mode == "CUBICSPLINE" else 1
        if mode not in ("STEP", "LINEAR", "CUBICSPLINE"):
            raise ValueError(f"animation is {mode}, expected STEP, LINEAR or CUBICSPLINE")
        if len(value) != triple * len(time_T) or value.shape[1] != width or (np.diff(time_T) <= 0).any():
            raise ValueError("an animation has other numbers of times and values, or its times do not rise")
        self.time_T, self.mode, self._turns = time_T, mode, turns
        self._value = value.reshape(len(time_T), triple, width)

    def at(self, second_T: np.ndarray) -> np.ndarray:
        """The values [T, width] at any times; before the first key and after the last they stand."""
        place_T = np.interp(second_T, self.time_T, np.arange(len(self.time_T)))
        if self.mode == "STEP" or len(self.time_T) == 1:
            return self._value[np.floor(place_T + 1e-9).astype(int), 0]
        if self.mode == "CUBICSPLINE":
            return self._spline(place_T)
        if self._turns:
            return _slerp(self._value[:, 0], place_T)
        return np.stack([np.interp(place_T, np.arange(len(self.time_T)), c) for c in self._value[:, 0].T], axis=1)

    def _spline(self, place_T: np.ndarray) -> np.ndarray:
        low = np.minimum(np.floor(place_T).astype(int), len(self.time_T) - 2)
        t, step = (place_T - low)[:, None], (self.time_T[low + 1] - self.time_T[low])[:, None]
        (_, start, leave), (arrive, end, _) = (self._value[low + i].swapaxes(0, 1) for i in (0, 1))
        return (
            (2 * t**3 - 3 * t**2 + 1) * start + step * (t**3 - 2 * t**2 + t) * leave
            + (3 * t**2 - 2 * t**3) * end + step * (t**3 - t**2) * arrive
        )  # fmt: skip


def _slerp(q_N4: np.ndarray, place_T: np.ndarray) -> np.ndarray:
    """Quaternions between keys, the short way round."""
    low = np.minimum(np.floor(place_T).astype(int), len(q_N4) - 2)
    one, other, t = q_N4[low], q_N4[low + 1], (place_T - low)[:, None]
    dot = (one * other).sum(1, keepdims=True)
    other, dot = np.where(dot < 0, -other, other), np.clip(np.abs(dot), 0, 1)
    angle = np.arccos(dot)
    with np.errstate(divide="ignore", invalid="ignore"):
        curved = (np.sin((1 - t) * angle) * one + np.sin(t * angle) * other) / np.sin(angle)
    return np.where(angle < 1e-6, (1 - t) * one + t * other, curved)
