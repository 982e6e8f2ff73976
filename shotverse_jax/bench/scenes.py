"""A scene: the cameras of a part of a film, its frames, its captions, and the files of its folder.

film.mp4          its frames
trajectory.json   the camera of every frame, with the captions; the world is the first camera
screenplay.yaml   the captions
sheet.png         a contact sheet
result.json       what it was made of, the quality of its shots and the gates that they failed

A scene that is rejected has result.json alone.
"""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from shotverse_jax.bench.windows import Window, timeline_of
from shotverse_jax.calibration import sources
from shotverse_jax.calibration.film import Calibrated, to_film
from shotverse_jax.calibration.outputs import LEAST_WEIGHT, cameras, finite
from shotverse_jax.calibration.shots import Box, Shots, Transition
from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import write_trajectory
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.config import BenchConfig, CalibrationConfig
from shotverse_jax.inputs.items import Entry
from shotverse_jax.screenplay import Screenplay, Shot, write_screenplay
from shotverse_jax.views.contact_sheet import plot_film
from shotverse_jax.views.video import VideoInfo, read_video, write_video

FILM, CAMERAS, PLAY, SHEET = "film.mp4", "trajectory.json", "screenplay.yaml", "sheet.png"
FILES = (FILM, CAMERAS, PLAY, SHEET)
DISCONNECTED = "disconnected"
"""The name, beside those of the gates, of what is wrong with a scene whose shots share no world."""


@dataclasses.dataclass(frozen=True)
class Scene(Entry):
    """A part of a film that is to become a scene.

    Attributes:
        film: name of the film.
        source: what the film is from.
        video: the file of the film.
        info: its header.
        picture: the part of its frames without bars.
        window: the part of the film.
        calibration: how its cameras are found.
    """

    film: str
    source: str
    video: str
    info: VideoInfo
    picture: Box
    window: Window
    calibration: CalibrationConfig

    @property
    def files(self) -> tuple[str, ...]:
        """The film, and the files that the settings name."""
        settings = (*sources.mask_parts(self.calibration.masks), self.calibration.reconstruct)
        return (self.video, *filter(None, map(sources.named_file, settings)))

    @property
    def size(self) -> int:
        """The number of its shots."""
        return len(self.window.cuts) + 1

    @property
    def shots(self) -> Shots:
        """The shots of the film as far as they are known: those of this scene, and what is before and behind them."""
        edges = sorted({self.window.start, *self.window.cuts, self.window.end} - {0, self.info.frames})
        cuts = tuple(Transition(cut, cut, "cut", 1.0) for cut in edges)
        return Shots(self.info, self.picture, cuts, np.arange(self.info.frames) / self.info.fps)


class Filmed(NamedTuple):
    """A scene with its cameras.

    Attributes:
        number_F: [F] the frame of the film that every frame of the scene shows.
        trajectory: the cameras of the scene's frames.
        scale: by which lengths of the reconstruction were multiplied.
    """

    number_F: np.ndarray
    trajectory: Trajectory
    scale: float


def failures(made: Calibrated) -> list[list[str]]:
    """Returns for every shot what is wrong with it: the gates that it failed, and whether it has a world of its own."""
    world_K = made.cameras.world_K
    alone = np.bincount(world_K)[world_K] * 2 <= len(world_K) if len(set(world_K.tolist())) > 1 else world_K < 0
    # Of two halves neither is the scene, so that both count.
    return [
        [*quality.failed, *[DISCONNECTED] * bool(apart)]
        for quality, apart in zip(made.cameras.quality, alone, strict=True)
    ]


def filmed(scene: Scene, made: Calibrated, config: BenchConfig) -> Filmed:
    """Returns the cameras of the frames of an accepted scene."""
    timeline = timeline_of(scene.window, scene.info.fps / config.fps, config.frames)
    number_F = np.round(timeline.source_F).astype(np.int64) + scene.window.start
    parts = [cameras(made, k, number_F[start:end]) for k, (start, end) in enumerate(timeline.layout.spans)]
    pose_F34, lens_F4 = (np.concatenate(part) for part in zip(*parts, strict=True))
    scale = _scale(made, scene, config)
    pose_F34 = se3.relative(pose_F34[0], pose_F34)
    pose_F34[:, :, 3] *= scale
    lens_F4 = _lens(to_film(lens_F4, made.picture, made.footage.size), scene.picture, config)
    shot_F = np.repeat(np.arange(scene.size), np.diff(timeline.layout.spans)[:, 0])
    return Filmed(number_F, Trajectory(pose_F34, lens_F4, config.width, config.height, shot_F, fps=config.fps), scale)


def _scale(made: Calibrated, scene: Scene, config: BenchConfig) -> float:
    points = made.cameras.points
    depth_M = points.depth_M[points.weight_M >= LEAST_WEIGHT]
    # Cameras of a file have the unit that whoever made them gave them.
    if not config.depth or sources.named_file(scene.calibration.reconstruct) or not len(depth_M):
        return 1.0
    return float(config.depth / np.median(depth_M))


def _lens(lens_F4: np.ndarray, picture: Box, config: BenchConfig) -> np.ndarray:
    """Lenses of whole frames of the film as those of the scene, for which the picture is enlarged and cropped."""
    larger = max(config.width / picture.width, config.height / picture.height)
    left = (larger * picture.width - config.width) / 2
    top = (larger * picture.height - config.height) / 2
    return (lens_F4 - [0, 0, picture.left, picture.top]) * larger - [0, 0, left, top]


def frames_of(scene: Scene, shown: Filmed, config: BenchConfig) -> np.ndarray:
    """Reads the frames [F, H, W, 3] of a scene: without bars, enlarged until they cover its size, and cropped to it."""
    return read_video(scene.video, shown.number_F, config.width, config.height, scene.picture.filter)


def write(folder: Path, video_FHWC: np.ndarray, trajectory: Trajectory) -> None:
    """Writes the files of an accepted scene, whose trajectory has its captions."""
    write_video(folder / FILM, video_FHWC, trajectory.fps)
    write_trajectory(trajectory, folder / CAMERAS, "shotverse")
    shots = tuple(
        Shot(caption, (end - start) / trajectory.fps)
        for caption, (start, end) in zip(trajectory.captions, trajectory.spans, strict=True)
    )
    size = {"fps": trajectory.fps, "width": trajectory.width, "height": trajectory.height}
    write_screenplay(Screenplay(trajectory.global_caption, shots, **size), folder / PLAY)
    plot_film(video_FHWC, trajectory, folder / SHEET)


def record_of(scene: Scene, made: Calibrated) -> dict[str, Any]:
    """Returns what the record of a scene says of its reconstruction."""
    failed = failures(made)
    edges = [scene.window.start, *scene.window.cuts, scene.window.end]
    shots = [
        {
            "frames": [start, end],
            "failed": wrong,
            "quality": {name: value for name, value in finite(dataclasses.asdict(quality)).items() if name != "failed"},
        }
        for start, end, wrong, quality in zip(edges, edges[1:], failed, made.cameras.quality, strict=False)
    ]
    return {
        "film": scene.film,
        "source": scene.source,
        "accepted": not any(failed),
        "shots": shots,
        "notes": list(made.cameras.notes),
    }
