"""COLMAP's binary models: cameras.bin and images.bin, as the text that cameras.txt and images.txt would hold.

Their layout is little-endian: a count, then for each camera its id (u32), model (i32), width and height (u64) and
parameters (f64), or for each image its id (u32), quaternion w x y z and translation (f64), camera id (u32), name (ends
with a zero byte), a count (u64) and the points (two f64 and a u64). They are read here and not by pycolmap, which takes
gigabytes of memory where a count is damaged; tests compare both.
Source: colmap.github.io/format.html.
"""

import mmap
import struct
from pathlib import Path

from shotverse_jax import limits
from shotverse_jax.camera.formats import _common as common

MODELS = {
    0: ("SIMPLE_PINHOLE", 3),
    1: ("PINHOLE", 4),
    2: ("SIMPLE_RADIAL", 4),
    3: ("RADIAL", 5),
    4: ("OPENCV", 8),
    5: ("OPENCV_FISHEYE", 8),
    6: ("FULL_OPENCV", 12),
    7: ("FOV", 5),
    8: ("SIMPLE_RADIAL_FISHEYE", 4),
    9: ("RADIAL_FISHEYE", 5),
    10: ("THIN_PRISM_FISHEYE", 12),
    11: ("RAD_TAN_THIN_PRISM_FISHEYE", 16),
    12: ("SIMPLE_DIVISION", 4),
    13: ("DIVISION", 5),
    14: ("SIMPLE_FISHEYE", 3),
    15: ("FISHEYE", 4),
    16: ("EUCM", 6),
    17: ("EQUIRECTANGULAR", 2),
}
"""Number of a camera model → its name, and how many parameters it has."""
LONE_RIG = 16
"""Bytes of a rig with one camera."""
POINT = 24
"""Bytes of a point of an image."""


def text(folder: Path, name: str) -> tuple[str, str]:
    """Returns (file name, text) of a model's "cameras" or "images", from the .txt file, else the .bin file.

    Raises:
        ValueError: the .bin file is cut short, or holds what cannot be; the message starts with its name.
        OSError: neither file can be read.
    """
    binary = folder / f"{name}.bin"
    if (folder / f"{name}.txt").exists() or not binary.exists():
        return f"{name}.txt", common.read_text(folder / f"{name}.txt")
    try:
        if not limits.file_size(binary, limits.COLMAP_FILE):
            raise ValueError("the file is empty")
        # Mapped and not read: most of it are points, which are passed over.
        with binary.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            lines = (_cameras if name == "cameras" else _images)(_Bytes(data))
    except ValueError as error:
        raise ValueError(f"{binary.name}: {error}") from error
    return binary.name, "\n".join(lines) + "\n"


def count(folder: Path) -> int:
    """Returns the number of images of a model, without reading them all; 0 where the file does not say."""
    binary = folder / "images.bin"
    if (folder / "images.txt").exists():
        lines = (folder / "images.txt").read_text(encoding="utf-8", errors="replace").split("\n")
        return sum(len(line.split()) >= 10 and not line.startswith("#") and not _numbers(line) for line in lines)
    with binary.open("rb") as file:
        head = file.read(8)
    return struct.unpack("<Q", head)[0] if len(head) == 8 else 0


def has_rigs(folder: Path) -> bool:
    """Returns whether cameras of a model are mounted on a rig together. COLMAP 4 writes a rig for every camera."""
    text, binary = folder / "rigs.txt", folder / "rigs.bin"
    if text.exists():
        lines = (line.split() for line in text.read_text(encoding="utf-8", errors="replace").split("\n"))
        return any(len(words) > 1 and words[0] != "#" and words[1] not in ("0", "1") for words in lines)
    if not binary.exists():
        return False
    size = binary.stat().st_size
    with binary.open("rb") as file:
        head = file.read(8)
    return len(head) == 8 and size > 8 + LONE_RIG * struct.unpack("<Q", head)[0]


def _numbers(line: str) -> bool:
    """Whether a line of images.txt is one of points, which ends in a number."""
    return line.split()[-1].lstrip("-").isdigit()


class _Bytes:
    """The bytes of a file, taken one value after the other."""

    def __init__(self, data: mmap.mmap):
        self._data, self._at = data, 0

    def take(self, layout: str) -> tuple:
        size = struct.calcsize("<" + layout)
        self.skip(size)
        return struct.unpack_from("<" + layout, self._data, self._at - size)

    def skip(self, size: int) -> None:
        if size > len(self._data) - self._at:
            raise ValueError(f"the file ends after {len(self._data)} bytes, in the middle of a value")
        self._at += size

    def name(self) -> str:
        end = self._data.find(b"\0", self._at)
        if end < 0:
            raise ValueError(f"the name at byte {self._at} has no end")
        raw, self._at = self._data[self._at : end], end + 1
        # Line breaks would end a line of the text.
        return " ".join(raw.decode("utf-8", errors="replace").split()) or "?"


def _cameras(data: _Bytes) -> list[str]:
    lines = []
    for _ in range(data.take("Q")[0]):
        camera, model, width, height = data.take("IiQQ")
        if model not in MODELS:
            raise ValueError(
                f"camera {camera} is of the model {model}, which is not known; known are 0 to {max(MODELS)}"
            )
        name, parameters = MODELS[model]
        values = data.take(f"{parameters}d")
        lines.append(f"{camera} {name} {width} {height} {' '.join(map(repr, values))}")
    return lines


def _images(data: _Bytes) -> list[str]:
    lines = []
    for _ in range(data.take("Q")[0]):
        image, *pose = data.take("I7d")
        (camera,) = data.take("I")
        name = data.name()
        data.skip(POINT * data.take("Q")[0])
        # An empty line follows each image: it is the list of its points.
        lines += [f"{image} {' '.join(map(repr, pose))} {camera} {name}", ""]
    return lines
