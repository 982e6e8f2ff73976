"""Code that readers and writers of trajectory formats share: strict parsing, numbers in text, upright worlds."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from shotverse_jax import limits
from shotverse_jax.camera import se3
from shotverse_jax.camera.formats.record import EVERYTHING as EVERYTHING
from shotverse_jax.camera.formats.record import FILM_BACK_MM as FILM_BACK_MM
from shotverse_jax.camera.formats.record import FPS as FPS
from shotverse_jax.camera.formats.record import Format as Format
from shotverse_jax.camera.formats.record import Reading as Reading
from shotverse_jax.camera.trajectory import Trajectory

FIRST_FRAME = 1
"""Number of the first frame in editing and animation programs (Blender, Nuke, USD)."""

Y_UP = np.diag([1.0, -1.0, -1.0])
"""World axes, y down → y up: (x, y, z) → (x, -y, -z). Determinant +1."""
Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
"""World axes, y down → z up: (x, y, z) → (x, z, -y). Determinant +1."""


def reader(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a reader: every input error becomes a ValueError, one line that starts with the file name."""

    @functools.wraps(function)
    def named(path, **options):
        try:
            return function(Path(path), **options)
        except OSError as error:
            raise ValueError(f"{path}: cannot be read ({error.strerror or error})") from error
        except ValueError as error:
            raise ValueError(f"{path}: {' '.join(str(error).split())}") from error  # it may quote lines of the file

    return named


def read_text(path: Path) -> str:
    """Returns the text of a file.

    Raises:
        ValueError: the file is empty or binary.
    """
    limits.file_size(path, limits.CAMERA_FILE)
    try:
        # Some editors put a byte order mark in front of the text, and this codec drops it.
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError("not a text file (its bytes are not UTF-8)") from error
    # A zero byte is valid UTF-8, so a binary file can get this far.
    if "\0" in text:
        raise ValueError("not a text file (it holds zero bytes)")
    if not text.strip():
        raise ValueError("the file is empty")
    return text


def data_lines(text: str, comments: bool = True) -> list[tuple[str, str]]:
    """Returns ("line 7", stripped line) for every line that is not blank.

    With `comments` (default) lines that start with "#" are dropped.
    """
    lines = ((f"line {number}", line.strip()) for number, line in enumerate(text.split("\n"), 1))
    return [(where, line) for where, line in lines if line and not (comments and line.startswith("#"))]


def number(token: str, where: str, lost: bool = False) -> float:
    """Reads one number; a ValueError about it starts with `where`.

    NaN and infinity are refused, unless `lost` says that they mark a pose that is not known; default False.
    """
    try:
        value = float(token)
    except ValueError:
        value = None
    if value is None or "_" in token:  # Python would read "1_000" as a number
        raise ValueError(f"{where}: '{token[:40]}' is not a number")
    if not (np.isfinite(value) or lost):
        raise ValueError(f"{where}: holds NaN or infinity")
    return value


def load_json(path: Path) -> Any:
    """Returns the parsed JSON of a file.

    Raises:
        ValueError: the text is not JSON; the message has the place of the error.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    # The parser calls itself for each bracket, and Python's stack ends before a file of brackets does.
    except RecursionError as error:
        raise ValueError("not a trajectory: the JSON is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"not valid JSON: {error}") from error


def numbers(value: Any, shape: tuple[int, ...], what: str, lost: bool = False) -> np.ndarray:
    """Returns a JSON value as a float64 array of `shape`; a ValueError about it starts with `what`.

    NaN and infinity are refused, unless `lost` says that they mark a pose that is not known; default False.
    """
    wanted = "x".join(map(str, shape)) + " numbers" if shape else "a number"
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{what} should be {wanted}, got uneven lists") from error
    if array.dtype.kind not in "iuf" or array.shape != shape:
        raise ValueError(f"{what} should be {wanted}, got {json.dumps(value)[:60]}")
    if not (np.isfinite(array).all() or lost):
        raise ValueError(f"{what} holds NaN or infinity")
    return array.astype(np.float64)


def positive(value: Any, what: str) -> float:
    """Returns a JSON value as a positive, finite number; a ValueError about it starts with `what`."""
    result = float(numbers(value, (), what))
    if result <= 0:
        raise ValueError(f"{what} should be positive, got {result}")
    return result


def pixels(value: Any, what: str) -> int:
    """Returns a JSON value as a positive whole number of pixels; 512.0 is accepted, as DataDoP predictions have it.

    A ValueError about it starts with `what`.
    """
    result = positive(value, what)
    if result != round(result) or result > limits.PIXELS:
        raise ValueError(f"{what} should be a whole number of pixels up to {limits.PIXELS}, got {result}")
    return int(result)


def shot_numbers(values_T: np.ndarray, what: str) -> np.ndarray:
    """Returns the shot of every frame as int32; a ValueError about them starts with `what`."""
    if (values_T != np.round(values_T)).any() or np.abs(values_T).max() > len(values_T):
        raise ValueError(f"{what} should hold whole numbers from 0")
    return values_T.astype(np.int32)


def times(trajectory: Trajectory) -> np.ndarray:
    """Returns the seconds [T] recorded by the source, else frame / fps."""
    return np.arange(len(trajectory)) / trajectory.fps if trajectory.time_T is None else trajectory.time_T


def digits(value: float) -> str:
    """Returns a number for a text file, with 12 significant digits and without negative zero."""
    return f"{value + 0.0:.12g}"


def join(values) -> str:
    """Returns numbers on one line, separated by blanks."""
    return " ".join(digits(value) for value in values)


def upright(trajectory: Trajectory, axes_33: np.ndarray) -> np.ndarray:
    """Returns camera-to-world poses [T, 3, 4] for programs with a floor: OpenGL camera axes, world y up or z up.

    The world is the stage (origin on the floor below the subject) when the trajectory knows it, else the trajectory's
    own world, assumed to be y down. `axes_33` is `Y_UP` or `Z_UP`.
    """
    pose_T34 = trajectory.pose_T34
    if trajectory.stage_34 is not None:
        pose_T34 = se3.compose(se3.inverse(trajectory.stage_34), pose_T34)
    # The world's axes change from the left and the camera's from the right, so the order of the two does not matter.
    return se3.flip_yz(axes_33 @ pose_T34)


def quaternions(pose_T34: np.ndarray) -> np.ndarray:
    """Returns unit quaternions [T, 4], real part first, without sign changes between neighbours.

    q and -q are the same rotation, but programs that interpolate between them would turn the long way around.
    """
    q_T4 = se3.rotation_to_quaternion(pose_T34[:, :, :3])
    # A change of sign concerns all frames after it too, so the signs are multiplied up.
    jump = (q_T4[1:] * q_T4[:-1]).sum(-1) < 0
    return q_T4 * np.cumprod(np.concatenate([[1.0], np.where(jump, -1.0, 1.0)]))[:, None]


def shot_name(index: int) -> str:
    """Returns the name of shot `index` (from 0) in files: shot_01, shot_02, …"""
    return f"shot_{index + 1:02d}"
