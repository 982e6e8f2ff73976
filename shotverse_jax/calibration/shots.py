"""The shots of an edited film: where one picture takes the place of another, at once or gradually.

A detector reads the frames of a film one by one and returns its transitions. `detectors.py` is the table of them. All
of them see the picture without its black bars (`shots_bars.py`).
"""

import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np

from shotverse_jax.calibration.detectors import DETECTORS
from shotverse_jax.calibration.shots_bars import Box, find_picture
from shotverse_jax.views.video import VideoInfo, cut_spans, frame_times, probe_video, stream_video

Progress = Callable[[str, int, int], None]


class Transition(NamedTuple):
    """A change from one shot to the next.

    Attributes:
        start: the first frame that is no longer wholly of the old shot.
        end: the first frame that is wholly of the new shot. A cut has end = start.
        kind: "cut"; "fade", where the picture comes from or goes to one colour; or "dissolve".
        score: how sure the detector is, 0 to 1.
    """

    start: int
    end: int
    kind: Literal["cut", "fade", "dissolve"]
    score: float

    @property
    def middle(self) -> int:
        """The frame that stands for the transition where one is wanted: that of a cut, or the middle of the change."""
        return (self.start + self.end) // 2


class Detector(Protocol):
    """Finds the transitions of a film.

    Attributes:
        scaling: FFmpeg's flags of the filter `scale`, by which frames get the size that it wants.
    """

    scaling: str

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Returns the (width, height) of the frames that it wants of a picture of this size."""

    def __call__(self, frames: Iterable[np.ndarray]) -> list[Transition]:
        """Returns the transitions, ascending, from frames [H, W, 3] uint8 that are given one by one."""


class Shots(NamedTuple):
    """The shots of a film.

    Attributes:
        info: the header of the file; `frames` is the number of frames that it has.
        picture: the part of the frame without bars.
        transitions: ascending.
        seconds_T: when each frame is shown.
    """

    info: VideoInfo
    picture: Box
    transitions: tuple[Transition, ...]
    seconds_T: np.ndarray

    @property
    def cuts(self) -> list[int]:
        """The first frames of the second and later shots, with one frame for every transition between two shots."""
        return [t.middle for t in self.transitions if t.start > 0 and t.end < self.info.frames]

    @property
    def spans(self) -> list[tuple[int, int]]:
        """[start, end) of every shot, without the frames of gradual transitions."""
        edges = [0, *(edge for t in self.transitions for edge in (t.start, t.end)), self.info.frames]
        pairs = zip(edges[::2], edges[1::2], strict=True)
        return [(start, end) for start, end in pairs if end > start]

    def second(self, frame: int) -> float:
        """The time at which a frame is shown; for the number of frames, the end of the film."""
        if frame < len(self.seconds_T):
            return float(self.seconds_T[frame])
        return float(self.seconds_T[-1]) + 1 / self.info.fps


def find_shots(
    path: str | Path, detector: str = "difference", progress: Progress | None = None, **options: float
) -> Shots:
    """Finds the shots of a video file. Its length costs little memory: frames are read one by one and reduced.

    Args:
        path: the file, in any format that FFmpeg reads.
        detector: a name of `DETECTORS`; default "difference", which needs no weights.
        progress: called with ("reading", frames read, frames in all).
        **options: of the detector, such as `threshold`.

    Raises:
        ValueError: the file has no video, or cannot be decoded; an unknown detector or option; or what the
            detector needs is not installed or not fetched.
    """
    finder = load_detector(detector, **options)
    info = probe_video(path)
    picture = find_picture(path, info)
    size = finder.size(picture.width, picture.height)
    filters = f"{picture.filter},scale={size[0]}:{size[1]}:flags={finder.scaling}"
    frames = stream_video(path, *size, info.frames, filters)
    transitions = finder(_counted(frames, info.frames, progress))
    return Shots(info, picture, tuple(transitions), _seconds(path, info))


def load_detector(name: str, **options: float) -> Detector:
    """Returns a detector of `DETECTORS`.

    Raises:
        ValueError: an unknown name or option; or what it needs is not installed or not fetched.
    """
    if name not in DETECTORS:
        raise ValueError(f"there is no detector {name!r}; known: {', '.join(DETECTORS)}")
    file, _, cls = DETECTORS[name].partition(".")
    found = getattr(importlib.import_module(f"shotverse_jax.calibration.{file}"), cls)
    try:
        return found(**options)
    except TypeError as error:
        raise ValueError(f"the detector {name} has no option {', '.join(options)}") from error


def known_shots(path: str | Path, cuts: Sequence[int]) -> Shots:
    """Returns the shots of a video whose cuts are known: first frames of the second and later shots.

    Raises:
        ValueError: the file has no video, or the cuts are not rising frame numbers of it.
    """
    info = probe_video(path)
    starts = [start for start, _ in cut_spans(path, info.frames, cuts)[1:]]
    transitions = tuple(Transition(cut, cut, "cut", 1.0) for cut in starts)
    return Shots(info, find_picture(path, info), transitions, _seconds(path, info))


def _counted(frames: Iterator[np.ndarray], total: int, progress: Progress | None) -> Iterator[np.ndarray]:
    for number, frame in enumerate(frames, 1):
        yield frame
        # A call for every frame would cost more than the frame.
        if progress is not None and (number % 32 == 0 or number == total):
            progress("reading", number, total)


def _seconds(path: str | Path, info: VideoInfo) -> np.ndarray:
    seconds_T = frame_times(path)
    # A file may say less about its packets than about its frames.
    return seconds_T if len(seconds_T) == info.frames else np.arange(info.frames) / info.fps
