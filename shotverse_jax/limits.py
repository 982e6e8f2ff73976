"""The largest numbers that are taken from outside, and their check before anything is computed or allocated."""

import contextlib
import math
import operator
import os
from pathlib import Path
from typing import Any

SEEDS = 2**32
"""Seeds are whole numbers below this one; JAX's random keys have no more."""

SIDE = 16384
"""Pixels of a side of a picture or film; H.264 and Pillow go no further."""

FRAMES = 100_000
"""Frames of a film: more than an hour at 24 fps."""

POSES = 1_000_000
"""Poses of a camera path; numbers of frames that are further apart count something else."""

FILE = 256 << 20
"""Bytes of a file that is read whole, such as JSON, a table or a list."""

CAMERA_FILE = 1 << 30
"""Bytes of a file of cameras; COLMAP's text has the points of every image too."""

COLMAP_FILE = 64 << 30
"""Bytes of a binary file of COLMAP, which is mapped."""

STEPS = 10_000
"""Denoising steps of a film."""

SAMPLES = 10_000
"""Plans or films of one screenplay."""

COUNT = 1_000_000_000
"""Items, scenes, tokens and other things that are only counted."""

STRENGTH = 1000.0
"""Weight of an adapter."""

GUIDANCE = 1000.0
"""Strength of guidance; above a hundred films are noise."""

RATES = (0.1, 1000.0)
"""Frames per second: from a pose every ten seconds to the fastest trackers."""

PIXELS = 1_000_000
"""Pixels of a side of the image that a camera path belongs to; no picture is made of it."""

LENS = (1e-6, 1e6)
"""Focal length and place of the principal point by the side of the image, of camera paths that are read."""

WRITTEN_LENS, WRITTEN_ASPECT = (2e-4, 5e3), (1e-2, 1e2)
"""The same of camera paths that are written, and width by height. Formats without the size or one of the focal lengths
are read with others, so these are narrower: their products are in the range of `LENS`."""

FOCUS = (1e-6, 1e9)
"""Distance of what is sharp, world units."""

F_NUMBERS = (0.01, 1e4)
"""Focal length over the diameter of the aperture."""

DISTANCE = 1e9
"""World units from the origin; the precision of float32 leaves a camera no place far below it."""

SCALE = (1e-9, 1e9)
"""World units per normalised unit."""


def shown(value: Any) -> str:
    """A value from outside for a message: its beginning."""
    # Python refuses to write out a number of more than 4300 digits.
    big = isinstance(value, int) and abs(value) >= 10**60
    text = f"a number of {value.bit_length()} bits" if big else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def whole(value: Any, what: str, least: int, most: int) -> int:
    """The value as a Python int. Raises ValueError, with `what` in it, unless it is a whole number in the range."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or not least <= number <= most:
        raise ValueError(f"{what} must be a whole number from {least} to {most}, got {shown(value)}")
    return number


def finite(value: Any, what: str, least: float, most: float, below: bool = False) -> float:
    """The value as a Python float. Raises ValueError, with `what` in it, unless it is a number in the range.

    below: whether `most` itself is outside the range; default False.
    """
    try:
        number = math.nan if isinstance(value, bool | str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not least <= number <= most or (below and number == most):
        to = "to below" if below else "to"
        raise ValueError(f"{what} must be a number from {least:g} {to} {most:g}, got {shown(value)}")
    return number


def within(values: Any, what: str, least: float, most: float) -> None:
    """Raises ValueError, with `what` in it, unless all numbers of an array are in the range."""
    outside = [float(value) for value in values if not least <= value <= most]
    if outside:
        raise ValueError(f"{what} must be from {least:g} to {most:g}, got {outside[0]:g}")


def film(frames: int | None, height: int, width: int, fps: float) -> None:
    """Raises ValueError for a film with frames, sides or a rate out of range; frames may be None."""
    if frames is not None:
        whole(frames, "the frames of a film", 1, FRAMES)
    for side in (height, width):
        whole(side, "height and width", 1, SIDE)
    finite(fps, "the rate (fps)", *RATES)
    memory(3 * (frames or 1) * height * width, f"a film of {frames or 1} frames of {height}x{width}")


def file_size(path: str | Path, most: int) -> int:
    """The bytes of a file that is about to be read. Raises ValueError for more than `most`, or what is no file."""
    path = Path(path)
    size = path.stat().st_size
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no file")  # a pipe, which may never end, or a device
    if size > most:
        raise ValueError(f"{path} has {size:,} bytes; at most {most:,} are read")
    return size


def memory(needed: int, what: str) -> None:
    """Raises ValueError where an array would not fit the memory of this machine.

    needed: bytes.
    what: begins the sentence, "a film of 33 frames of 480x832".
    """
    have = host_memory()
    if have is not None and needed > have:
        raise ValueError(f"{what} needs {needed / 2**30:,.1f} GiB of memory, and this machine has {have / 2**30:,.1f}")


def host_memory() -> int | None:
    """Bytes of memory that this process may have; None where the system does not say."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows
        return None
    with contextlib.suppress(OSError, ValueError):  # no control group, or one without a limit
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return memory
