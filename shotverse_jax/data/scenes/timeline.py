"""Which frame of a video, and which pose of a camera path, every frame of a film shows."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.screenplay import LATENT_STRIDE, Layout, layout_from_cuts, snap
from shotverse_jax.views.video import VideoInfo

CHANGES = (
    "resized and cropped",
    "resized",
    "resampled",
    "cut short",
    "cuts moved",
    "shots left out",
    "lens",
    "screenplay notes",
)
"""First words of the notices about changes to a video, and about what its screenplay was read as."""
_TOLERANCE = 0.1  # seconds by which a path may be longer or shorter than its video

Places = Callable[[np.ndarray], np.ndarray]
"""Frame numbers of a video → indices (with fractions) into the poses of its camera path."""


@dataclasses.dataclass(frozen=True, eq=False)
class Timeline:
    """How a film is taken from a video.

    Attributes:
        layout: shots of the film.
        source_F: [F] frame of the video, with a fraction, that each frame of the film shows.
        changes: notices, for the user, of what was changed; each begins with one of `CHANGES`.
    """

    layout: Layout
    source_F: np.ndarray
    changes: list[str]


def cut_to_length(frames: int, rate: float, total: int, cut_F: list[int]) -> Timeline:
    """The first `frames` frames of a film that shows every `rate`-th frame of a video.

    Cuts move to frames 4t+1 of the film, because a latent frame must not see two shots: at most two frames next to a
    cut are shown twice or left out. Shots that begin too late to own a latent frame are left out.

    Args:
        frames: frames of the film, 4t+1.
        rate: frames of the video from one frame of the film to the next, with a fraction.
        total: frames of the video.
        cut_F: first frames of the video's shots 1..K-1.
    """
    changes = []
    wanted = [cut / rate for cut in cut_F]
    # 1e-6: a cut that falls on a frame but for rounding must not move to the next one.
    kept = [cut for cut in wanted if snap(math.ceil(cut - 1e-6)) + LATENT_STRIDE <= frames]
    if len(kept) < len(wanted):
        changes.append(f"shots left out that begin after its end: {len(wanted) - len(kept)}")
    # A cut between two frames is rounded up: the frame before it still shows the earlier shot.
    layout = layout_from_cuts(frames, [math.ceil(cut - 1e-6) for cut in kept])
    moved = [abs(cut - at) for cut, at in zip(kept, layout.cuts, strict=True)]
    if moved and max(moved) >= 1:
        changes.append(f"cuts moved to frames {', '.join(map(str, layout.cuts))}")
    edges = [0, *cut_F[: len(kept)], cut_F[len(kept)] if len(kept) < len(cut_F) else total]
    source_F = np.minimum(np.arange(frames) * rate, total - 1)
    # A moved cut leaves frames that would show the neighbouring shot: they repeat the nearest frame of their own.
    for (start, end), first, last in zip(layout.spans, edges[:-1], edges[1:], strict=True):
        source_F[start:end] = np.clip(source_F[start:end], first, last - 1)
    return Timeline(layout, source_F, changes)


def spread_whole(frames: int, total: int, cut_F: list[int]) -> Timeline:
    """A film of `frames` frames (4t+1) with the whole of a source of `total` frames, at whatever pace.

    Every shot keeps its share of the film and runs from its first to its last frame. Used for planners, which learn
    paths and not their speed.
    """
    edges = [0, *cut_F, total]
    spans = tuple(zip(edges, edges[1:], strict=False))
    # `scaled` reads the spans only; the source is not of length 4t+1 and has no latent frames.
    scaled = Layout(total, tuple(cut_F), spans, 0, np.zeros(0, np.int32)).scaled(frames)
    lengths = np.diff(scaled.spans)[:, 0]
    parts = [np.linspace(start, end - 1, length) for (start, end), length in zip(spans, lengths, strict=True)]
    return Timeline(scaled, np.concatenate(parts), [])


def pose_places(trajectory: Trajectory, info: VideoInfo, whole: bool) -> Places:
    """Returns a function from frames of a video to poses of its camera path.

    A path has one pose for every frame of its video, or it has its own rate and lasts as long as the video.

    Args:
        trajectory: the path.
        info: the video.
        whole: spread the poses evenly over the video, whatever their rate (for DataDoP's 120 poses a shot).

    Raises:
        ValueError: path and video do not last equally long (0.1 s or one and a half poses of difference are allowed).
    """
    count = len(trajectory)
    # With one pose per frame no clock is needed, so a wrong rate in the path's file does no harm.
    if count == info.frames:
        return lambda frame_F: np.array(frame_F, np.float64)
    if whole:
        # DataDoP's poses were resampled to 120, so their number says nothing about time.
        return lambda frame_F: np.asarray(frame_F) * (count - 1) / max(info.frames - 1, 1)
    seconds_T = trajectory.seconds_T
    step, frame = 1 / trajectory.fps, 1 / info.fps
    if abs(seconds_T[-1] + step - info.frames * frame) > max(_TOLERANCE, 1.5 * step):
        raise ValueError(
            f"the lengths do not match: {count} poses in {seconds_T[-1] + step:.2f} s for {info.frames} frames in "
            f"{info.frames * frame:.2f} s; give one pose per frame, or the path's fps or times"
        )
    return lambda frame_F: np.interp(np.asarray(frame_F) * frame, seconds_T, np.arange(count))


def film_poses(timeline: Timeline, source_F: np.ndarray, places: Places, edges: list[int]) -> np.ndarray:
    """[F] index (with a fraction) into the path for every frame of a film, kept inside the poses of its own shot.

    Without the limits of `edges` a pose next to a cut would be interpolated between two shots.
    """
    place_F = places(source_F)
    for (start, end), first, last in zip(timeline.layout.spans, edges[:-1], edges[1:], strict=False):
        place_F[start:end] = np.clip(place_F[start:end], first, last - 1)
    return place_F


def pose_edges(trajectory: Trajectory, places: Places, cut_F: list[int]) -> list[int]:
    """Index of the first pose of every shot, then the number of poses.

    Raises:
        ValueError: a shot has no pose of its own.
    """
    if trajectory.num_shots > 1:
        edges = [start for start, _ in trajectory.spans] + [len(trajectory)]
    else:
        edges = [0, *(math.ceil(places(cut) - 1e-6) for cut in cut_F), len(trajectory)]
    if min(np.diff(edges)) < 1:
        raise ValueError(f"{len(trajectory)} poses are too few: a shot has none of its own")
    return edges
