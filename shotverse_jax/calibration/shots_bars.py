"""Letterbox and pillarbox bars: borders of one colour that never change, and the picture between them."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from shotverse_jax.views.video import VideoInfo, stream_video

SAMPLES = 48
"""Frames that are looked at, spread over the film."""
STILL = 20
"""Levels of 255 between the darkest and the brightest value of a pixel of a bar; compression makes noise at edges."""
EDGE = 0.3
"""Share of the first line of the picture that must differ from the bar. The top of a head before a dark wall is less,
so a dark scene is no bar."""
LARGEST = 0.4
"""Share of a side that one bar may have."""


class Box(NamedTuple):
    """A part of a frame in pixels, as crops are written: its left upper corner and its size."""

    left: int
    top: int
    width: int
    height: int

    @property
    def filter(self) -> str:
        """FFmpeg's filter that crops to it."""
        return f"crop={self.width}:{self.height}:{self.left}:{self.top}:exact=1"


def find_picture(path: str | Path, info: VideoInfo) -> Box:
    """Returns the part of a video's frames that shows the picture; the whole frame where there are no bars.

    A bar is at both sides of the picture with one width and colour, or at one side and black. It is seen in frames from
    the whole film, so that a dark scene is no bar.

    Raises:
        ValueError: the video cannot be decoded.
    """
    every = max(1, info.frames // SAMPLES)
    picked = f"select=not(mod(n\\,{every}))" if every > 1 else "null"
    count = -(-info.frames // every)
    return picture_of(stream_video(path, info.width, info.height, count, picked), info.width, info.height)


def picture_of(frames, width: int, height: int) -> Box:
    """Returns the part of frames [height, width, 3] uint8 that shows the picture; see `find_picture`."""
    low = high = None
    for frame_HWC in frames:
        low = frame_HWC.copy() if low is None else np.minimum(low, frame_HWC, out=low)
        high = frame_HWC.copy() if high is None else np.maximum(high, frame_HWC, out=high)
    whole = Box(0, 0, width, height)
    if low is None:
        return whole
    top, bottom = _bars(low, high)
    left, right = _bars(low.swapaxes(0, 1), high.swapaxes(0, 1))
    return Box(left, top, width - left - right, height - top - bottom)


def _bars(low_LXC: np.ndarray, high_LXC: np.ndarray) -> tuple[int, int]:
    """The number of lines of the bars at the beginning and at the end of the first axis."""
    sides = [_bar(low_LXC, high_LXC), _bar(low_LXC[::-1], high_LXC[::-1])]
    (first, one), (last, other) = sides
    alike = first and last and abs(first - last) <= max(4, first // 5) and np.abs(one - other).max() <= STILL / 2
    if alike:
        return first, last
    return tuple(size if size and color.max() <= 2 * STILL else 0 for size, color in sides)


def _bar(low_LXC: np.ndarray, high_LXC: np.ndarray) -> tuple[int, np.ndarray]:
    """The number of lines of a bar at the beginning of the first axis, and its colour."""
    color_C = np.median(low_LXC[0], axis=0)
    most = int(len(low_LXC) * LARGEST)
    lines = slice(0, most + 3)
    off = np.maximum(high_LXC[lines].astype(np.int16) - color_C, color_C - low_LXC[lines].astype(np.int16)).max(-1)
    share_L = (off > STILL).mean(1)
    inside = np.flatnonzero(share_L > 0.02)
    if not len(inside) or not 0 < inside[0] <= most:
        return 0, color_C
    size = int(inside[0])
    # The edge of a bar may run through a line or two, where compression or resizing blurs it.
    return (size if share_L[size : size + 3].max() >= EDGE else 0), color_C
