"""COLMAP text models: a folder with cameras.txt, images.txt and points3D.txt.

Axes: images.txt holds world-to-camera as a quaternion (real part first) and a translation, OpenCV camera axes (x right,
y down, z forward). Unit: arbitrary. Pixels: the image's corner is (0, 0), a centred camera has cx = W / 2. Conversion:
inverse of the pose. Images are taken in the order of their names; names "shot_01/…" (as written here) give the shots.
Time is not stored; lens distortion is dropped on reading. points3D.txt is written empty and not read.
Source: colmap.github.io/format.html.
"""

import re
from pathlib import Path

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.trajectory import Trajectory

# Model → where fx, fy, cx, cy are among its parameters, and how many parameters it has.
MODELS = {
    "SIMPLE_PINHOLE": ((0, 0, 1, 2), 3),
    "PINHOLE": ((0, 1, 2, 3), 4),
    "SIMPLE_RADIAL": ((0, 0, 1, 2), 4),
    "RADIAL": ((0, 0, 1, 2), 5),
    "OPENCV": ((0, 1, 2, 3), 8),
    "FULL_OPENCV": ((0, 1, 2, 3), 12),
}
SHOT = re.compile(r"shot_(\d+)/")


@common.reader
def read(path: Path, *, fps: float = common.FPS) -> Trajectory:
    """Reads a folder (or the images.txt in it)."""
    folder = path.parent if path.name == "images.txt" else path
    if not (folder / "images.txt").exists() and (folder / "images.bin").exists():
        raise ValueError("a binary model; convert it: colmap model_converter --output_type TXT")
    cameras = _in("cameras.txt", _cameras, common.read_text(folder / "cameras.txt"))
    images = _in("images.txt", _images, common.read_text(folder / "images.txt"))
    # COLMAP lists images in no order of time; only their names have one.
    images.sort(key=lambda image: image[0])
    missing = {camera for _, camera, _ in images} - set(cameras)
    if missing:
        raise ValueError(f"images.txt names camera {min(missing)}, which cameras.txt does not hold")
    used = [cameras[camera] for _, camera, _ in images]
    sizes = {size for size, _ in used}
    if len(sizes) > 1:
        raise ValueError(f"images of several sizes {sorted(sizes)}; a trajectory has one")
    ((width, height),) = sizes
    values = np.stack([row for _, _, row in images])
    w2c_T34 = se3.make(common.rotations_from_quaternions(values[:, :4], "image"), values[:, 4:])
    # Images are sorted by name, so the frames of one folder are neighbours and a new number is a cut.
    shots = [SHOT.match(name) for name, _, _ in images]
    labels = np.array([int(shot[1]) for shot in shots] if all(shots) else [0] * len(shots))
    return Trajectory(
        pose_T34=se3.inverse(common.clean_poses(w2c_T34)),
        intrinsics_T4=np.stack([k for _, k in used]),
        width=width,
        height=height,
        shot_T=np.cumsum(np.diff(labels, prepend=labels[0]) != 0),
        fps=fps,
    )


def _in(name: str, parse, text: str):
    """Runs a parser; its errors name the file inside the folder."""
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _cameras(text: str) -> dict[int, tuple[tuple[int, int], np.ndarray]]:
    """CAMERA_ID → ((width, height), [fx, fy, cx, cy])."""
    cameras = {}
    for line, content in common.data_lines(text):
        tokens = content.split()
        if len(tokens) < 5 or tokens[1] not in MODELS:
            raise ValueError(f"{line}: expected 'ID MODEL WIDTH HEIGHT params' with MODEL in {', '.join(MODELS)}")
        where, count = MODELS[tokens[1]]
        values = [common.number(token, line) for token in tokens[4:]]
        if len(values) != count:
            raise ValueError(f"{line}: {tokens[1]} has {count} parameters, got {len(values)}")
        size = tuple(common.pixels(common.number(token, line), f"{line}: image size") for token in tokens[2:4])
        cameras[_id(tokens[0], line)] = size, np.array([values[i] for i in where])
    return cameras


def _images(text: str) -> list[tuple[str, int, np.ndarray]]:
    """(name, camera id, [qw qx qy qz tx ty tz]) per image; a line of points (maybe empty) follows each."""
    images = []
    lines = ((f"line {number}", content) for number, content in enumerate(text.split("\n"), 1))
    for line, content in lines:
        if not content.strip() or content.lstrip().startswith("#"):
            continue
        # The name comes last and may hold blanks.
        tokens = content.split(maxsplit=9)
        if len(tokens) != 10:
            raise ValueError(f"{line}: expected 'ID QW QX QY QZ TX TY TZ CAMERA_ID NAME', got {len(tokens)} words")
        row = np.array([common.number(token, line) for token in tokens[1:8]])
        images.append((tokens[9].strip(), _id(tokens[8], line), row))
        line, points = next(lines, (line, ""))
        points = points.split()
        if len(points) % 3:
            raise ValueError(f"{line}: expected the points of the image (X Y POINT3D_ID …) or an empty line")
        for token in points:
            common.number(token, line)
    if not images:
        raise ValueError("no images")
    return images


def _id(token: str, line: str) -> int:
    value = common.number(token, line)
    if value != round(value):
        raise ValueError(f"{line}: '{token}' is not a whole number")
    return int(value)


def write(trajectory: Trajectory, path: Path) -> None:
    """Writes the folder; one PINHOLE camera per distinct lens, images named shot_01/frame_00001.png."""
    k_N4, index_T = np.unique(trajectory.intrinsics_T4, axis=0, return_inverse=True)
    size = f"{trajectory.width} {trajectory.height}"
    cameras = [f"{i + 1} PINHOLE {size} {common.join(row)}" for i, row in enumerate(k_N4)]
    w2c_T34 = se3.inverse(trajectory.pose_T34)
    values = np.concatenate([se3.rotation_to_quaternion(w2c_T34[:, :, :3]), w2c_T34[:, :, 3]], axis=1)
    images = []
    for t, row in enumerate(values):
        name = f"{common.shot_name(int(trajectory.shot_T[t]))}/frame_{t + 1:05d}.png"
        # An empty line follows each image: it is the list of its points. The inverse of `unique` is flattened because
        # its shape depends on the version of NumPy.
        images += [f"{t + 1} {common.join(row)} {int(index_T.reshape(-1)[t]) + 1} {name}", ""]
    path.mkdir()
    files = {
        "cameras.txt": ["# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]", *cameras],
        "points3D.txt": ["# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[] as (IMAGE_ID, POINT2D_IDX)"],
        "images.txt": ["# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME; then POINTS2D[]", *images],
    }
    for name, lines in files.items():
        (path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


FORMAT = common.Format(
    name="colmap",
    suffixes=(),
    description="COLMAP text model: a folder with cameras.txt and images.txt",
    convention="world-to-camera quaternion (real part first) and translation, OpenCV camera axes; shots by folder name",
    read=read,
    write=write,
    folder=True,
)
