"""COLMAP models: a folder with cameras.txt, images.txt and points3D.txt, or with the same as binary files (.bin).

Axes: images.txt holds world-to-camera as a quaternion (real part first) and a translation, OpenCV camera axes (x right,
y down, z forward). Unit: arbitrary. Pixels: the image's corner is (0, 0), a centred camera has cx = W / 2. Conversion:
inverse of the pose. Images are taken in the order of their names, by numbers ("frame_2" before "frame_10"); each folder
of names is a shot. Time is not stored. points3D.txt is written empty and not read.
Source: colmap.github.io/format.html.
"""

import dataclasses
from pathlib import Path

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.formats import colmap_binary, colmap_folders, lens, timing
from shotverse_jax.camera.trajectory import Trajectory

POINTS_TRIPLE = 3
"""Words of one point in a line of points: X, Y, POINT3D_ID."""


@common.reader
def read(path: Path, *, model: str | None = None) -> common.Reading:
    """Reads a model, text or binary: its folder or project, or the images file in it.

    Args:
        path: the folder; `colmap_folders.find` says where a model may be in it.
        model: which of several models, the name of its folder, or "all", which are the shots of one scene and share a
            world; default that with the most images.
    """
    folders, notes = colmap_folders.find(path, model)
    cameras, images = {}, []
    for name, folder in folders.items():
        own_cameras, own_images = _model(folder)
        before = f"{name}/" if len(folders) > 1 else ""
        cameras |= {(name, key): camera for key, camera in own_cameras.items()}
        images += [(before + image, (name, key), row) for image, key, row in own_images]
        if colmap_binary.has_rigs(folder):
            notes.append("the model's rigs were left out: every image has its own pose")
    # COLMAP lists images in no order of time; only their names have one.
    images.sort(key=lambda image: timing.natural(image[0]))
    used = [cameras[camera] for _, camera, _ in images]
    values = np.stack([row for _, _, row in images])
    names = [name for name, _, _ in images]
    return common.Reading(
        quaternion_T4=values[:, :4],
        quaternion_order="wxyz",
        position_T3=values[:, 4:],
        world_to_camera=True,
        lens_T4=np.array([camera.lens for camera in used]),
        lens_kind=next((camera.kind for camera in used if camera.kind != "pinhole"), "pinhole"),
        distorted=any(camera.distorted for camera in used),
        size_T2=np.array([camera.size for camera in used]),
        number_T=timing.frame_numbers(names),
        shot_T=_folders(names),
        notes=notes,
    )


def _model(folder: Path) -> tuple[dict[int, "Camera"], list[tuple[str, int, np.ndarray]]]:
    """The cameras and the images of one model."""
    (cameras_file, cameras_text), (images_file, images_text) = (
        colmap_binary.text(folder, name) for name in ("cameras", "images")
    )
    cameras, images = _in(cameras_file, _cameras, cameras_text), _in(images_file, _images, images_text)
    missing = {camera for _, camera, _ in images} - set(cameras)
    if missing:
        raise ValueError(f"{images_file} names camera {min(missing)}, which {cameras_file} does not hold")
    return cameras, images


def _folders(names: list[str]) -> np.ndarray:
    """Shot of every image: names are sorted, so the images of one folder are neighbours and a new folder is a cut."""
    folders = [name.rpartition("/")[0] for name in names]
    return np.cumsum([0, *(a != b for a, b in zip(folders, folders[1:], strict=False))]).astype(np.int32)


def _in(name: str, parse, text: str):
    """Runs a parser; its errors name the file inside the folder."""
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


@dataclasses.dataclass(frozen=True)
class Camera:
    """A camera of a model: (width, height), [fx, fy, cx, cy], and the kind and distortion of its lens (`Reading`)."""

    size: tuple[int, int]
    lens: list[float]
    kind: str
    distorted: bool


def _cameras(text: str) -> dict[int, Camera]:
    """The cameras of cameras.txt by their CAMERA_ID."""
    cameras = {}
    for line, content in common.data_lines(text):
        tokens = content.split()
        if len(tokens) < 5:
            raise ValueError(f"{line}: expected 'ID MODEL WIDTH HEIGHT params', got {len(tokens)} words")
        size = tuple(common.pixels(common.number(token, line), f"{line}: image size") for token in tokens[2:4])
        values = [common.number(token, line) for token in tokens[4:]]
        cameras[_id(tokens[0], line)] = camera_of(tokens[1], size, values, line)
    return cameras


def camera_of(model: str, size: tuple[int, int], values: list[float], where: str) -> Camera:
    """Returns the camera of a COLMAP model's name and parameters.

    Raises:
        ValueError: the model is unknown or has another number of parameters.
    """
    if model not in lens.MODELS:
        raise ValueError(f"{where}: unknown camera model '{model[:40]}'; known: {', '.join(lens.MODELS)}")
    names, kind = lens.MODELS[model]
    if len(values) != len(names):
        raise ValueError(f"{where}: {model} has {len(names)} parameters ({', '.join(names)}), got {len(values)}")
    k_4, distorted = lens.read_lens(dict(zip(names, values, strict=True)), size, where)
    return Camera(size, k_4, kind if kind == "pinhole" else f"{kind} ({model})", distorted)


def _images(text: str) -> list[tuple[str, int, np.ndarray]]:
    """(name, camera id, [qw qx qy qz tx ty tz]) per image; a line of points (maybe empty) may follow each."""
    images, points_may_follow = [], False
    for number, content in enumerate(text.split("\n"), 1):
        line, content = f"line {number}", content.strip()
        if content.startswith("#"):
            continue
        # The name comes last and may hold blanks.
        tokens = content.split(maxsplit=9)
        if points_may_follow and _are_points(content, line):
            points_may_follow = False
            continue
        if not content:
            continue
        if len(tokens) != 10:
            raise ValueError(
                f"{line}: expected 'ID QW QX QY QZ TX TY TZ CAMERA_ID NAME', or after such a line the points of the "
                f"image (X Y POINT3D_ID …), got {len(tokens)} words"
            )
        row = np.array([common.number(token, line) for token in tokens[1:8]])
        images.append((tokens[9].strip(), _id(tokens[8], line), row))
        points_may_follow = True
    if not images:
        raise ValueError("no images")
    return images


def _are_points(content: str, line: str) -> bool:
    """Whether the line after an image holds its points. An editor may have taken empty ones away.

    A line of points holds triples of numbers. An image has ten words, which are no triples, or more if its name has
    blanks; then the name is no number.
    """
    words = content.split()
    if len(words) % POINTS_TRIPLE:
        return False
    try:
        for word in words:
            common.number(word, line)
    except ValueError:
        return False
    return True


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
    description="COLMAP model: a folder with cameras and images, text (or binary, read only)",
    convention="world-to-camera quaternion (real part first) and translation, OpenCV camera axes; shots by folder name",
    keeps=frozenset({"poses", "cuts", "size", "lens", "zoom", "principal point", "pixel aspect"}),
    read=read,
    write=write,
    folder=True,
)
