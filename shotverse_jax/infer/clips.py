"""The shots of a film, a preview or a plan as clips that captioners read."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from shotverse_jax.camera.formats import read_trajectory
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.stage.preview import described_scene, preview_frames
from shotverse_jax.views.video import SUFFIXES, cut_spans, probe_video, read_video

FRAMES = 64
"""Frames of a shot at most; of a longer one so many are taken, evenly spaced."""
HEIGHT = 480
"""Height that frames of a video are reduced to, if they are higher."""
STAGE_HEIGHT = 48
"""Height of previews of the stage, which are what `captioner_small` was trained on."""


class ShotClip(NamedTuple):
    """One shot.

    Attributes:
        shot: its number, from 1.
        start, end: its frames in the film, `end` exclusive.
        frames_THWC: uint8.
        fps: frames of the clip per second.
    """

    shot: int
    start: int
    end: int
    frames_THWC: np.ndarray
    fps: float


def shot_clips(source: str | Path, cuts: Sequence[int] | None = None) -> list[ShotClip]:
    """Returns the shots of a video, of a folder of results, or of a trajectory filmed on the stage.

    Args:
        source: a video; a folder with film.mp4, or else with trajectory.json; or a trajectory of any format. Previews
            are filmed anew, as those in folders have words burned in.
        cuts: first frames of the shots after the first one. None takes them from cameras.json or trajectory.json beside
            a video, whichever has as many frames; without either it is one shot.

    Raises:
        ValueError: there is nothing of this at `source`, it cannot be read, or cuts that are not rising frame numbers
            of it.
    """
    path = Path(source)
    if path.is_dir():
        found = [path / name for name in ("film.mp4", "trajectory.json") if (path / name).is_file()]
        if not found:
            raise ValueError(f"{path} has no film.mp4 and no trajectory.json; give a video or the folder of a result")
        path = found[0]
    if path.suffix.lower() in SUFFIXES:
        return _of_video(path, cuts)
    if cuts is not None:
        raise ValueError(f"{path} is a trajectory and knows its own cuts; give cuts with a video")
    return _of_stage(read_trajectory(path).evenly())


def _of_video(path: Path, cuts: Sequence[int] | None) -> list[ShotClip]:
    info = probe_video(path)
    spans = cut_spans(path, info.frames, _cuts_beside(path, info.frames) if cuts is None else cuts)
    height = min(info.height, HEIGHT)
    size = max(1, round(info.width * height / info.height)), height
    taken = [_taken(start, end) for start, end in spans]
    frames_THWC = read_video(path, np.concatenate(taken), *size)
    parts = np.split(frames_THWC, np.cumsum([len(part) for part in taken])[:-1])
    return [
        _clip(number, span, part, info.fps) for number, (span, part) in enumerate(zip(spans, parts, strict=True), 1)
    ]


def _of_stage(trajectory: Trajectory) -> list[ShotClip]:
    scene = described_scene(trajectory)
    width = max(1, round(STAGE_HEIGHT * trajectory.width / trajectory.height))
    frames_THWC = np.stack(list(preview_frames(trajectory, scene, width, STAGE_HEIGHT)))
    return [
        _clip(number, span, frames_THWC[_taken(*span)], trajectory.fps)
        for number, span in enumerate(trajectory.spans, 1)
    ]


def _taken(start: int, end: int) -> np.ndarray:
    return np.linspace(start, end - 1, min(end - start, FRAMES)).round().astype(int)


def _clip(number: int, span: tuple[int, int], frames_THWC: np.ndarray, fps: float) -> ShotClip:
    start, end = span
    # The clip lasts as long as the shot, with fewer frames.
    rate = fps * (len(frames_THWC) - 1) / (end - start - 1) if end - start > 1 else fps
    return ShotClip(number, start, end, frames_THWC, rate)


def _cuts_beside(path: Path, frames: int) -> list[int]:
    for name in ("cameras.json", "trajectory.json"):
        if (path.parent / name).is_file():
            trajectory = read_trajectory(path.parent / name)
            if len(trajectory) == frames:
                return [start for start, _ in trajectory.spans[1:]]
    return []
