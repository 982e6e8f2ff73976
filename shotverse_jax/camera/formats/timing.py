"""The clock of a camera file: units of time stamps, the rate behind them, and numbers of frames."""

import re
from collections.abc import Sequence

import numpy as np

from shotverse_jax.camera.formats.record import FPS
from shotverse_jax.camera.trajectory import EVEN, KEY_FRAME_FPS, LEAST_FPS
from shotverse_jax.limits import RATES

UNITS = {"seconds": 1.0, "milliseconds": 1e-3, "microseconds": 1e-6, "nanoseconds": 1e-9}
ROUNDING = 1.001
"""Time stamps may be rounded by so much."""
SPARSEST = 100
"""Numbers count frames when at least one frame of so many is there; else they are dates or anything else."""


def stamps(time_T: np.ndarray, unit: str = "seconds") -> tuple[np.ndarray | None, list[str]]:
    """Returns (seconds [T], notes) of time stamps [T] that a format writes in `unit`.

    Stamps of another unit are recognised by the time between two poses, and by dates since 1970, which have ten digits
    in seconds. The seconds are None where all stamps are equal, because such stamps are placeholders.

    Raises:
        ValueError: time runs backwards, or no unit makes sense of the stamps.
    """
    step_T = np.diff(time_T)
    if (step_T < 0).any():
        raise ValueError(f"time runs backwards at pose {int(np.argmax(step_T < 0)) + 1}")
    if len(time_T) == 1:
        return time_T * UNITS[unit], []
    if time_T[-1] == time_T[0]:
        return None, ["all time stamps are equal and were left out"]
    step = float(np.median(step_T[step_T > 0]))
    if _believable(step * UNITS[unit], time_T[0] * UNITS[unit]):
        return time_T * UNITS[unit], []
    for other, seconds in UNITS.items():
        if _believable(step * seconds, time_T[0] * seconds):
            return time_T * seconds, [f"the time stamps were read as {other}: as {unit} they would make no film"]
    raise ValueError(
        f"{len(time_T)} poses in {(time_T[-1] - time_T[0]) * UNITS[unit]:.3g} s: the time stamps are not in {unit}; "
        "give the rate with the option fps"
    )


def _believable(step: float, start: float) -> bool:
    """Whether poses `step` seconds apart have a rate of `limits.RATES`, from a start that is no date after 5000."""
    slowest, fastest = RATES
    return 1 / fastest / ROUNDING <= step < ROUNDING / slowest and start < 1e11


def rate_of(second_T: np.ndarray) -> tuple[float, np.ndarray | None]:
    """Returns (frames per second, recorded times) of poses at seconds [T].

    The recorded times are None where frame / fps gives the same. Else the rate is that at which the path would be
    resampled: a whole one, or one of television, that fits all times, else the nearest whole one to the usual step.
    """
    step_T = np.diff(second_T)
    if len(second_T) == 1:
        return FPS, second_T if second_T[0] else None
    # Six decimals remove the rounding of the stamps: a film of 16 frames per second does not become one of 15.9999997.
    mean = float(np.round(len(step_T) / (second_T[-1] - second_T[0]), 6))
    frame_T = np.arange(len(second_T))
    if mean > 0 and np.abs(second_T - frame_T / mean).max() < 1e-5:
        return mean, None
    known = [rate for rate in (round(mean), round(mean) * 1000 / 1001) if rate > 0]
    errors = [np.abs((second_T - second_T[0]) * rate - frame_T).max() for rate in known]
    if errors and min(errors) < EVEN:
        return float(known[int(np.argmin(errors))]), second_T
    usual = 1 / float(np.median(step_T[step_T > 0]))
    return (float(round(usual)) if usual >= LEAST_FPS else KEY_FRAME_FPS), second_T


def natural(name: str) -> list:
    """Returns a key that sorts names as people count: frame_2 before frame_10."""
    parts = re.split(r"(\d+)", name)
    return [part if k % 2 == 0 else (int(part) if len(part) < 1000 else 0, part) for k, part in enumerate(parts)]


def frame_numbers(names: Sequence[str]) -> np.ndarray | None:
    """Returns the numbers [T] that end the names of frames, counted from 0 at the first; None if names have none.

    Names are in `natural` order; "shot_01/frame_0012.png" counts in its folder and by what stands before the number.
    Where another series of names begins, the count goes on by one step.
    """
    found = [re.fullmatch(r"(.*?)(\d{1,15})(?:\.[A-Za-z]\w*)?", name) for name in names]
    # The number of "12.5.png" is a part of a time, not a frame.
    if not all(match and not re.search(r"\d\.$", match[1]) for match in found):
        return None
    step_T = [int(b[2]) - int(a[2]) if a[1] == b[1] else 0 for a, b in zip(found, found[1:], strict=False)]
    unit = int(np.gcd.reduce([step for step in step_T if step] or [1]))
    return np.concatenate([[0], np.cumsum([step or unit for step in step_T])]).astype(np.int64)


def places(number_T: np.ndarray, notes: list[str]) -> np.ndarray | None:
    """Returns the places [T] of frames in their video, from 0, by their numbers; None where no frame is left out.

    Numbers that are so far apart that they count something else give only the order, and `notes` gets a sentence.
    """
    step_T = np.diff(number_T)
    if not len(step_T) or (step_T < 1).any():
        return None
    place_T = number_T - number_T[0]
    if place_T[-1] > SPARSEST * len(place_T):
        notes.append("the numbers of the frames are too far apart to count frames; they give only the order")
        return None
    return place_T if (np.diff(place_T) > 1).any() else None
