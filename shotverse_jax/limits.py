"""The largest numbers that are taken from outside, and their check before anything is computed or allocated."""

import math
import operator
from typing import Any

SEEDS = 2**32
"""Seeds are whole numbers below this one; JAX's random keys have no more."""

SIDE = 16384
"""Pixels of a side of a picture or film; H.264 and Pillow go no further."""

FRAMES = 100_000
"""Frames of a film: more than an hour at 24 fps."""

STEPS = 10_000
"""Denoising steps of a film."""

SAMPLES = 10_000
"""Plans or films of one screenplay."""

GUIDANCE = 1000.0
"""Strength of guidance; above a hundred films are noise."""


def whole(value: Any, what: str, least: int, most: int) -> int:
    """The value as a Python int. Raises ValueError, with `what` in it, unless it is a whole number in the range."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or not least <= number <= most:
        raise ValueError(f"{what} must be a whole number from {least} to {most}, got {value!r}")
    return number


def finite(value: Any, what: str, least: float, most: float) -> float:
    """The value as a Python float. Raises ValueError, with `what` in it, unless it is a number in the range."""
    try:
        number = math.nan if isinstance(value, bool | str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not least <= number <= most:
        raise ValueError(f"{what} must be a number from {least:g} to {most:g}, got {value!r}")
    return number
