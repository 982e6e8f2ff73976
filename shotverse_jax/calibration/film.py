"""From the file of an edited film to the cameras of its shots, stage by stage; what is done already is not done again.

stages/shots.npz            where shots begin and end, and the bars around the picture
stages/masks.npz            what moves by itself in the frames that are reconstructed
stages/reconstruction.npz   every shot by itself, and the key frames of all

Each file holds a digest of what it was made of: the video, the settings and the files that these name. With another
video or other settings, the stages that depend on what changed are done again.

Array axes: T frames of the film; N those of them that are reconstructed; K shots.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shotverse_jax import limits
from shotverse_jax.calibration import kept, sources
from shotverse_jax.calibration.calibrate import Calibration, Reconstructed, aligned, reconstructed
from shotverse_jax.calibration.masks import filled, find_masks
from shotverse_jax.calibration.reconstruction import Agreement, Footage, Points, Reconstruction
from shotverse_jax.calibration.shots import Box, Progress, Shots, Transition
from shotverse_jax.config import CalibrationConfig
from shotverse_jax.views.video import VideoInfo, stream_video

STAGES = "stages"


@dataclasses.dataclass(frozen=True, eq=False)
class Calibrated:
    """A film whose cameras were looked for.

    Attributes:
        video: its file.
        made_of: a digest of the video, the settings and the files that they name.
        config: the settings.
        shots: its shots.
        number_N: [N] number in the film of every frame of `footage`.
        footage: the frames that were reconstructed.
        cameras: what was found.
    """

    video: Path
    made_of: str
    config: CalibrationConfig
    shots: Shots
    number_N: np.ndarray
    footage: Footage
    cameras: Calibration

    @property
    def picture(self) -> Box:
        """The part of the frames that was reconstructed."""
        return _picture(self.shots, self.config)


def identity(video: str | Path, config: CalibrationConfig) -> dict[str, str]:
    """Returns what every stage of a calibration is made of, as digests by the stage's name; "all" is of everything.

    Raises:
        ValueError: the video, or a file that the settings name, is not there.
    """
    film = kept.contents(video)
    files = {
        "cuts": kept.contents(config.cuts) if config.cuts.lower().endswith(".json") else "",
        "masks": "".join(kept.contents(file) for file in _mask_files(config)),
        "reconstruct": kept.contents(file) if (file := sources.named_file(config.reconstruct)) else "",
    }
    shots = kept.digest("shots", film, config.cuts, files["cuts"])
    # Which bars are left out depends on whether cameras or masks are of whole frames.
    frames = kept.digest(shots, config.size, config.frames, sources.named_file(config.reconstruct) != "")
    masks = kept.digest("masks", frames, config.masks, files["masks"])
    made = kept.digest("reconstruction 2", masks, config.fill, config.reconstruct, files["reconstruct"], config.lens)
    return {"shots": shots, "masks": masks, "reconstruction": made, "all": kept.digest(made, config.method)}


def calibrate_film(
    video: str | Path,
    folder: str | Path,
    config: CalibrationConfig | None = None,
    progress: Progress = lambda what, done, total: None,
    keys: Mapping[str, str] | None = None,
) -> Calibrated:
    """Returns the cameras of an edited film; `outputs.write` writes them.

    Args:
        video: the film, in any format that FFmpeg reads.
        folder: of the stages' results, which are kept in its folder `stages`.
        config: the settings; None (default) takes all defaults.
        progress: called with (message, 0, 0) and with ("reading", frames read, frames in all).
        keys: `identity` of the video and the settings, where it was asked for already.

    Raises:
        ValueError: the video, or a file that the settings name, cannot be read or does not fit; something that is
            needed is not installed; or the frames do not fit the memory of this machine.
    """
    video, config, places = Path(video), config or CalibrationConfig(), Path(folder) / STAGES
    keys = keys or identity(video, config)
    progress("looking for shots …", 0, 0)
    make = lambda: _of_shots(sources.find(video, config.cuts, progress))  # noqa: E731
    shots = _shots(_stage(places, "shots", keys, make, progress))
    return calibrate_part(video, shots, (0, shots.info.frames), folder, config, keys, progress)


def calibrate_part(
    video: str | Path,
    shots: Shots,
    part: tuple[int, int],
    folder: str | Path,
    config: CalibrationConfig,
    keys: Mapping[str, str],
    progress: Progress = lambda what, done, total: None,
) -> Calibrated:
    """Returns the cameras of a part of an edited film whose shots are known; its shots are counted from 0.

    Args:
        video, config, progress: as `calibrate_film` takes them.
        shots: of the whole film.
        part: first frame, and end frame exclusive.
        folder: of the results of the stages after the first, which are kept in its folder `stages`.
        keys: what they are made of, as `identity` says it.

    Raises:
        ValueError: as `calibrate_film`.
    """
    video, places = Path(video), Path(folder) / STAGES
    stage = lambda name, make: _stage(places, name, keys, make, progress)  # noqa: E731
    spans = [(max(start, part[0]), min(end, part[1])) for start, end in shots.spans]
    inside = [k for k, (start, end) in enumerate(spans) if end > start]
    number_N, shot_N = chosen([spans[k] for k in inside], config.frames)
    lens_K4, picture = sources.lenses(config.lens, shots), _picture(shots, config)
    lens_K4 = None if lens_K4 is None else lens_K4[inside]
    size = reduced(picture, config.size)
    frame_NHWC = _frames(video, shots.info, picture, size, number_N, progress)
    lens_N4 = None if lens_K4 is None else to_picture(lens_K4[shot_N], picture, size)
    masker = sources.masker(config.masks)
    static_NHW = None
    if masker is not None:
        progress("looking for what moves …", 0, 0)
        static_NHW = ~_masks(stage("masks", lambda: _of_masks(masker, frame_NHWC, number_N, shot_N)), frame_NHWC)
        frame_NHWC = filled(frame_NHWC, ~static_NHW, config.fill)
    footage = Footage(frame_NHWC, shot_N, lens_N4, static_NHW)

    def make() -> kept.Arrays:
        with sources.provided(config.reconstruct, footage, number_N) as provider:
            said = lambda words: progress(f"reconstructing {words} …", 0, 0)  # noqa: E731
            return _of_reconstructed(reconstructed(footage, provider, said))

    made = _reconstructed(stage("reconstruction", make))
    return Calibrated(video, keys["all"], config, shots, number_N, footage, aligned(footage, made, config.method))


def _stage(places: Path, name: str, keys: Mapping[str, str], make: Callable[[], kept.Arrays], progress: Progress):
    arrays, there = kept.once(places / f"{name}.npz", keys[name], make)
    if there:
        progress(f"{name}: done before", 0, 0)
    return arrays


def chosen(spans: Sequence[tuple[int, int]], most: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the frames [N] of the film that are reconstructed, and the shot [N] of each.

    spans: [start, end) of every shot, without the frames of gradual transitions.
    most: of shots with more frames together, every second, third, … frame is taken, the first and the last of each.
    """
    every = -(-sum(end - start for start, end in spans) // most)
    numbers = [
        np.unique(np.linspace(start, end - 1, max(2, -(-(end - start) // every))).round().astype(np.int64))
        for start, end in spans
    ]
    return np.concatenate(numbers), np.repeat(np.arange(len(numbers)), [len(part) for part in numbers])


def reduced(picture: Box, side: int) -> tuple[int, int]:
    """Returns the (width, height) of frames whose longer side is at most `side`."""
    scale = min(1.0, side / max(picture.width, picture.height))
    return max(1, round(picture.width * scale)), max(1, round(picture.height * scale))


def to_picture(lens_N4: np.ndarray, picture: Box, size: tuple[int, int]) -> np.ndarray:
    """Returns lenses of whole frames as those of the reduced picture."""
    scale_2 = np.array(size) / [picture.width, picture.height]
    return (lens_N4 - [0, 0, picture.left, picture.top]) * np.tile(scale_2, 2)


def to_film(lens_N4: np.ndarray, picture: Box, size: tuple[int, int]) -> np.ndarray:
    """Returns lenses of the reduced picture as those of whole frames."""
    scale_2 = np.array([picture.width, picture.height]) / size
    return lens_N4 * np.tile(scale_2, 2) + [0, 0, picture.left, picture.top]


def _mask_files(config: CalibrationConfig) -> list[str]:
    return [file for part in sources.mask_parts(config.masks) if (file := sources.named_file(part))]


def _picture(shots: Shots, config: CalibrationConfig) -> Box:
    """The part of the frames that is reconstructed: all of them where cameras or masks of whole frames are given."""
    whole = sources.named_file(config.reconstruct) or _mask_files(config)
    return Box(0, 0, shots.info.width, shots.info.height) if whole else shots.picture


def _frames(video, info, picture: Box, size: tuple[int, int], number_N: np.ndarray, progress: Progress) -> np.ndarray:
    """[N, H, W, 3] uint8: the chosen frames without bars, reduced. The others are decoded and dropped."""
    width, height = size
    # The masks and what the features need take as much again.
    limits.memory(6 * len(number_N) * height * width, f"{video}: {len(number_N)} frames of {height}x{width}")
    frame_NHWC, place = np.empty((len(number_N), height, width, 3), np.uint8), 0
    filters = f"{picture.filter},scale={width}:{height}:flags=area"
    count = int(number_N[-1]) + 1
    with contextlib.closing(stream_video(video, width, height, count, filters)) as frames:
        for number, frame_HWC in enumerate(frames):
            if number == number_N[place]:
                frame_NHWC[place] = frame_HWC
                place += 1
            if number % 32 == 31 or number == count - 1:
                progress("reading", number + 1, count)
    return frame_NHWC


def _of_shots(shots: Shots) -> kept.Arrays:
    rows = [(t.start, t.end, t.score) for t in shots.transitions]
    return {
        "info": np.array(shots.info),
        "picture": np.array(shots.picture),
        "transitions": np.array(rows, np.float64).reshape(-1, 3),
        "kinds": np.array([t.kind for t in shots.transitions], "U8"),
        "seconds": shots.seconds_T,
    }


def _shots(arrays: kept.Arrays) -> Shots:
    frames, fps, width, height = arrays["info"].tolist()
    transitions = tuple(
        Transition(int(start), int(end), str(kind), score)
        for (start, end, score), kind in zip(arrays["transitions"].tolist(), arrays["kinds"], strict=True)
    )
    info = VideoInfo(int(frames), float(fps), int(width), int(height))
    return Shots(info, Box(*arrays["picture"].tolist()), transitions, arrays["seconds"])


def _of_masks(masker, frame_NHWC: np.ndarray, number_N: np.ndarray, shot_N: np.ndarray) -> kept.Arrays:
    shots = [np.flatnonzero(shot_N == k) for k in range(int(shot_N[-1]) + 1)]
    masks = [find_masks(masker, frame_NHWC[frames], number_N[frames]) for frames in shots]
    return {"bits": np.packbits(np.concatenate(masks).reshape(len(frame_NHWC), -1), axis=1)}


def _masks(arrays: kept.Arrays, frame_NHWC: np.ndarray) -> np.ndarray:
    count, height, width = frame_NHWC.shape[:3]
    return np.unpackbits(arrays["bits"], axis=1, count=height * width).astype(bool).reshape(count, height, width)


def _of_reconstructed(made: Reconstructed) -> kept.Arrays:
    parts = {f"shot_{k}": one for k, one in enumerate(made.local)} | {"world": made.world}
    agreements = {f"own_{k}": one for k, one in enumerate(made.own)} | {"across": made.across}
    arrays: dict[str, Any] = {"shots": np.array(len(made.local))}
    for name, part in parts.items():
        for field in ("frame_N", "pose_N34", "lens_N4", "found_N", "joint", "lens_off"):
            arrays[f"{name}.{field}"] = np.asarray(getattr(part, field))
        arrays[f"{name}.notes"] = np.array(part.notes, np.str_)
        for field in dataclasses.fields(Points):
            arrays[f"{name}.points.{field.name}"] = getattr(part.points, field.name)
    for name, agreement in agreements.items():
        arrays |= {f"{name}.{field}": values for field, values in agreement._asdict().items()}
    return arrays


def _reconstructed(arrays: kept.Arrays) -> Reconstructed:
    def part(name: str) -> Reconstruction:
        points = Points(*(arrays[f"{name}.points.{field.name}"] for field in dataclasses.fields(Points)))
        fields = [arrays[f"{name}.{field}"] for field in ("frame_N", "pose_N34", "lens_N4", "found_N")]
        notes = tuple(arrays[f"{name}.notes"].tolist())
        joint, lens_off = bool(arrays[f"{name}.joint"]), float(arrays[f"{name}.lens_off"])
        return Reconstruction(*fields, points, joint=joint, lens_off=lens_off, notes=notes)

    def agreement(name: str) -> Agreement:
        return Agreement(*(arrays[f"{name}.{field}"] for field in Agreement._fields))

    names = range(int(arrays["shots"]))
    local, own = (tuple(make(f"{kind}_{k}") for k in names) for make, kind in ((part, "shot"), (agreement, "own")))
    return Reconstructed(local, part("world"), own, agreement("across"))
