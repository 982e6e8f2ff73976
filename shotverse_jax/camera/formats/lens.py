"""The lens of a camera file: what is in a camera model, what is left out of it, and images of several sizes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from shotverse_jax.camera.formats._common import numbers, positive
from shotverse_jax.camera.formats.options import ReadOptions
from shotverse_jax.camera.formats.record import FILM_BACK_MM, Reading

USUAL_MM = 35.0

MODELS: dict[str, tuple[tuple[str, ...], str]] = {
    "SIMPLE_PINHOLE": (("f", "cx", "cy"), "pinhole"),
    "PINHOLE": (("fl_x", "fl_y", "cx", "cy"), "pinhole"),
    "SIMPLE_RADIAL": (("f", "cx", "cy", "k1"), "pinhole"),
    "RADIAL": (("f", "cx", "cy", "k1", "k2"), "pinhole"),
    "OPENCV": (("fl_x", "fl_y", "cx", "cy", "k1", "k2", "p1", "p2"), "pinhole"),
    "FULL_OPENCV": (("fl_x", "fl_y", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"), "pinhole"),
    "SIMPLE_DIVISION": (("f", "cx", "cy", "k1"), "pinhole"),
    "DIVISION": (("fl_x", "fl_y", "cx", "cy", "k1"), "pinhole"),
    "FOV": (("fl_x", "fl_y", "cx", "cy", "k1"), "fisheye"),
    "SIMPLE_FISHEYE": (("f", "cx", "cy"), "fisheye"),
    "FISHEYE": (("fl_x", "fl_y", "cx", "cy"), "fisheye"),
    "SIMPLE_RADIAL_FISHEYE": (("f", "cx", "cy", "k1"), "fisheye"),
    "RADIAL_FISHEYE": (("f", "cx", "cy", "k1", "k2"), "fisheye"),
    "OPENCV_FISHEYE": (("fl_x", "fl_y", "cx", "cy", "k1", "k2", "k3", "k4"), "fisheye"),
    "THIN_PRISM_FISHEYE": (
        ("fl_x", "fl_y", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
        "fisheye",
    ),
    "RAD_TAN_THIN_PRISM_FISHEYE": (
        ("fl_x", "fl_y", "cx", "cy", *(f"k{i}" for i in range(1, 7)), *(f"p{i}" for i in range(1, 7))),
        "fisheye",
    ),
}
"""COLMAP's camera models: names of their parameters in order, and the kind of lens."""
OTHER_KINDS = {
    "PERSPECTIVE": "pinhole",
    "EQUIRECTANGULAR": "equirectangular",
    "OMNIDIRECTIONALSTEREO_L": "equirectangular",
    "OMNIDIRECTIONALSTEREO_R": "equirectangular",
    "VR180_L": "equirectangular",
    "VR180_R": "equirectangular",
    "ORTHOPHOTO": "orthographic",
    "FISHEYE624": "fisheye",
}
"""Further values of `camera_model` in transforms.json, as nerfstudio knows them."""
DISTORTION = tuple(f"{letter}{i}" for letter, last in (("k", 6), ("p", 6)) for i in range(1, last + 1))
KEYS = ("fl_x", "fl_y", "cx", "cy")
PIXELS = {"f", "fl_x", "fl_y"}
FOCAL = PIXELS | {"camera_angle_x", "camera_angle_y"}
"""Names under which a file gives focal lengths."""


def kind_of(values: Mapping[str, Any]) -> str:
    """Returns the kind of lens that `camera_model` and `is_fisheye` of a JSON file tell, as `Reading.lens_kind`."""
    name = str(values.get("camera_model") or "PERSPECTIVE").upper()
    kind = MODELS[name][1] if name in MODELS else OTHER_KINDS.get(name, "unknown")
    if kind != "pinhole":
        return f"{kind} ({name[:40]})"
    return "fisheye (is_fisheye)" if values.get("is_fisheye") is True else "pinhole"


def read_lens(values: Mapping[str, Any], size: tuple[int, int] | None, where: str) -> tuple[list[float], bool]:
    """Returns ([fx, fy, cx, cy], whether the lens is distorted) of a camera that is given by names.

    Focal lengths are fl_x, fl_y or f in pixels, else camera_angle_x and camera_angle_y, the whole fields of view in
    radians. What is not there is NaN.

    Args:
        values: the camera's numbers by name.
        size: (width, height) in pixels; None for a lens that is relative (`Reading`).
        where: the camera, for error messages: "frame 3".

    Raises:
        ValueError: a value is no number, a focal length or an angle is not positive, or an angle is pi or more.
    """
    given = {key: value for key, value in values.items() if value is not None}
    focal = []
    for side, axis in zip(size or (1, 1), "xy", strict=True):
        key = next((key for key in (f"fl_{axis}", "f", f"camera_angle_{axis}") if key in given), None)
        value = np.nan if key is None else positive(given[key], f"{where}: '{key}'")
        if key == f"camera_angle_{axis}":
            if value >= np.pi:
                raise ValueError(f"{where}: '{key}' should be below pi radians, got {value}")
            # The angle is the whole field of view; each half spans half of the image.
            value = side / 2 / np.tan(value / 2)
        focal.append(value)
    center = [float(numbers(given[key], (), f"{where}: '{key}'")) if key in given else np.nan for key in ("cx", "cy")]
    distorted = any(numbers(given[key], (), f"{where}: '{key}'") for key in DISTORTION if key in given)
    return [*focal, *center], distorted


def fitted(reading: Reading, options: ReadOptions, notes: list[str], assumed: list[str]) -> tuple[np.ndarray, int, int]:
    """Returns (intrinsics [T, 4] in pixels, width, height) with everything filled in that the file does not say.

    `notes` gets a sentence about everything that was changed, `assumed` a phrase about what the file does not say.

    Raises:
        ValueError: the lens is no pinhole, and the options do not ask for its pinhole part.
    """
    _check_kind(reading, options, notes)
    lens_T4, size_T2 = reading.lens_T4, reading.size_T2
    if size_T2 is not None:
        lens_T4 = lens_T4 * np.tile(size_T2, 2) if reading.relative else lens_T4
        width, height = (int(side) for side in size_T2[0])
        if (size_T2 != size_T2[0]).any():
            sizes = ", ".join(f"{w:g}x{h:g}" for w, h in dict.fromkeys(map(tuple, size_T2.tolist())))
            notes.append(f"images of several sizes ({sizes}) were brought to {width}x{height}")
            lens_T4 = _resized(lens_T4, size_T2, width, height)
        wanted = _wanted(options, width, height)
        if wanted != (width, height):
            notes.append(f"images of {width}x{height} were brought to {wanted[0]}x{wanted[1]}")
            lens_T4 = _resized(lens_T4, np.tile([width, height], (len(lens_T4), 1)), *wanted)
        width, height = wanted
    else:
        width, height = int(options.width or reading.usual_size[0]), int(options.height or reading.usual_size[1])
        if options.width is None or options.height is None:
            assumed.append(f"{width}x{height} pixels (options width, height)")
        lens_T4 = lens_T4 * [width, height, width, height] if reading.relative else lens_T4
    if options.focal is not None or options.fov is not None:
        focal = options.focal or width / 2 / np.tan(np.radians(options.fov) / 2)
        lens_T4 = np.concatenate([np.full((len(lens_T4), 2), focal), lens_T4[:, 2:]], axis=1)
    fx, fy = lens_T4[:, :2].T
    known = np.where(np.isnan(fx), fy, fx)
    if np.isnan(known).any():
        assumed.append(f"a {USUAL_MM:g} mm lens on a {FILM_BACK_MM:g} mm film back (options focal, fov)")
        known = np.where(np.isnan(known), USUAL_MM / FILM_BACK_MM * width, known)
    default_T4 = np.stack([known, known, np.full_like(fx, width / 2), np.full_like(fx, height / 2)], axis=1)
    return np.where(np.isnan(lens_T4), default_T4, lens_T4), width, height


def _check_kind(reading: Reading, options: ReadOptions, notes: list[str]) -> None:
    """Refuses a lens that is no pinhole, or notes that only its pinhole part is read."""
    if reading.distorted:
        notes.append("the distortion of the lens was left out")
    if reading.lens_kind == "pinhole":
        return
    if options.lens != "pinhole":
        raise ValueError(
            f"the lens is {reading.lens_kind}, and a trajectory holds pinholes; the option lens=pinhole reads the "
            "poses, with the focal lengths and principal point that the file has"
        )
    notes.append(f"the lens is {reading.lens_kind}; its focal lengths and principal point were read as a pinhole's")


def _wanted(options: ReadOptions, width: int, height: int) -> tuple[int, int]:
    """The size that the options ask for; a side that they leave out keeps the shape of the image."""
    if options.width and not options.height:
        return int(options.width), max(round(height * options.width / width), 1)
    if options.height and not options.width:
        return max(round(width * options.height / height), 1), int(options.height)
    return int(options.width or width), int(options.height or height)


def _resized(lens_T4: np.ndarray, size_T2: np.ndarray, width: int, height: int) -> np.ndarray:
    """Returns the lens of images [T, 2] that are scaled to one size.

    Images of the same shape are scaled whole. Of another shape, the horizontal field of view stays and the new image
    shows more or less above and below, as `Trajectory.resized`.
    """
    across, down = width / size_T2[:, 0], height / size_T2[:, 1]
    # A pixel of rounding is no other shape: 1920x1080 goes to 854x480.
    same = np.abs(size_T2[:, 1] * across - height) <= 1
    lens = np.stack([across, np.where(same, down, across), across, down], axis=1)
    return lens_T4 * lens
