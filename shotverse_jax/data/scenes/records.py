"""Records of scenes: what a video, its screenplay and its camera path become.

The frames of the video at another rate and size, cut to the length asked for, with cuts at frames 4t+1 (timeline.py);
and the camera's pose at every latent frame (0, 4, 8, …).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from shotverse_jax import limits
from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import read_trajectory
from shotverse_jax.camera.motion_words import LEAST_ZOOM
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.data.scenes.datadop import datadop_screenplay
from shotverse_jax.data.scenes.files import SceneFiles
from shotverse_jax.data.scenes.timeline import (
    Places,
    Timeline,
    cut_to_length,
    film_poses,
    pose_edges,
    pose_places,
    spread_whole,
)
from shotverse_jax.screenplay import LATENT_STRIDE, Screenplay, Shot, parse_text, read_screenplay, snap, to_text
from shotverse_jax.screenplay.play import MANY_SHOTS_FRAMES, ONE_SHOT_FRAMES
from shotverse_jax.views.video import VideoInfo, probe_video, read_video

STAGE, FIRST_CAMERA = "stage", "first camera"
"""The two worlds in which a record may have its poses."""


@dataclasses.dataclass(frozen=True)
class SceneRecords:
    """Random access to scenes as records: `source[i]` is the record of scene i.

    A scene that cannot be used raises ValueError when it is read, with its name and the reason.

    Attributes:
        scenes: the scenes, in order.
        frames: frames of every film, 4t+1. None (default), allowed only without videos, means 249, or 81 for a single
            shot, as screenplays have.
        height, width: size of every film in pixels.
        fps: frames per second of every film.
        videos: True (default) for records with `video`. False for a planner: every path is then spread over its film
            whole, whatever its pace.

    Raises:
        ValueError: `frames` is not 4t+1 and at least 5, or is missing with videos.
    """

    scenes: Sequence[SceneFiles]
    frames: int | None = None
    height: int = 480
    width: int = 832
    fps: float = 16.0
    videos: bool = True

    def __post_init__(self):
        if self.frames is None and self.videos:
            raise ValueError("say how many frames the films shall have, 4t+1")
        if self.frames is not None and (self.frames < 5 or self.frames != snap(self.frames)):
            raise ValueError(f"a film has 4t+1 frames, at least 5; got {self.frames}")
        limits.film(self.frames, self.height, self.width, self.fps)

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> dict[str, np.ndarray | str]:
        """Reads one scene.

        Returns:
            video: [F, H, W, 3] uint8, only with `videos`.
            path_F34: [F, 3, 4] float32, the pose at every frame, only without `videos`.
            pose_T34: [T, 3, 4] float32, camera-to-world, OpenCV axes, of the latent frames 0, 4, 8, ….
            shot_T: [T] int32, the shot of every latent frame.
            intrinsics: [4] float32 fx, fy, cx, cy of the first frame, in pixels of the film.
            prompt: HoloCine's prompt.
            name: name of the scene.
            changes: what was changed in the video, and the notes of the screenplay, "" for nothing.
            world: "stage" where the path knows its stage, else "first camera".
        """
        scene = self.scenes[index]
        try:
            return self._read(scene)
        except (ValueError, OSError) as error:
            raise ValueError(f"{scene.name}: {error}") from error

    def _read(self, scene: SceneFiles) -> dict[str, np.ndarray | str]:
        if not scene.trajectory or not scene.screenplay:
            raise ValueError(f"no {'camera path' if scene.screenplay else 'screenplay'} beside it")
        play, trajectory = scene_screenplay(scene), read_trajectory(scene.trajectory)
        if scene.video is None and self.videos:
            raise ValueError("no video; without one a scene can only teach a planner (--no_video)")
        if scene.video is not None and (self.videos or scene.cuts):
            info = probe_video(scene.video)
        else:  # cuts are then counted in poses, so the path stands for the video
            info = VideoInfo(len(trajectory), trajectory.fps, trajectory.width, trajectory.height)
        places = pose_places(trajectory, info, whole=scene.caption is not None)
        cut_F = self._source_cuts(scene, play, trajectory, info, places)
        timeline = self._timeline(info, cut_F, len(play.shots))
        # A video shows whole frames, and the pose must be that of the frame that is shown. A path alone can be read
        # between poses.
        source_F = np.round(timeline.source_F).astype(int) if self.videos else timeline.source_F
        place_F = film_poses(timeline, source_F, places, pose_edges(trajectory, places, cut_F))
        record = _camera(trajectory, place_F, info, (self.width, self.height))
        if self.videos:
            del record["path_F34"]
            record["video"] = read_video(scene.video, source_F, self.width, self.height)
        notes = [note.replace("; ", ", ") for note in play.notes]
        if trajectory.zoom > LEAST_ZOOM:
            timeline.changes.append(f"lens of the first frame for all: a zoom of {trajectory.zoom:.3g} was left out")
        if trajectory.focus_T2 is not None:
            timeline.changes.append("lens without its focus")
        # The durations were those of the source; how long the shots are now is in the layout.
        play = Screenplay(play.caption, [Shot(shot.caption) for shot in play.shots[: len(timeline.layout.spans)]])
        return record | {
            "shot_T": timeline.layout.latent_index_T,
            "prompt": to_text(play, "holocine"),
            "name": scene.name,
            "changes": "; ".join([*timeline.changes, *(f"screenplay notes: {note}" for note in notes)]),
        }

    def _source_cuts(
        self, scene: SceneFiles, play: Screenplay, trajectory: Trajectory, info: VideoInfo, places: Places
    ) -> list[int]:
        """First frame, in the video, of every shot but the first.

        The scene's own cuts count first, then the shots of the path, then the durations of the screenplay.
        """
        count, cuts = len(play.shots), scene.cuts
        if trajectory.num_shots not in (1, count):
            raise ValueError(f"the screenplay has {count} shots and the camera path {trajectory.num_shots}")
        if cuts is None and trajectory.num_shots > 1:
            at_F = places(np.arange(info.frames))
            # 1e-6: a frame that is at the first pose of a shot but for rounding belongs to that shot.
            cuts = [int(np.searchsorted(at_F, start - 1e-6)) for start, _ in trajectory.spans[1:]]
        if cuts is None and any(shot.duration for shot in play.shots):
            layout = play.layout()
            seconds, length = layout.num_frames / play.fps, info.frames / info.fps
            if self.videos and abs(seconds - length) > 0.5:
                raise ValueError(f"the durations add up to {seconds:.2f} s, and the video has {length:.2f} s")
            cuts = [round(cut / layout.num_frames * info.frames) for cut in layout.cuts]
        cuts = list(cuts or ())
        if len(cuts) != count - 1:
            raise ValueError(
                f"the screenplay has {count} shots, and {len(cuts) or 'no'} cuts are known; give cuts, durations or a "
                "path with shots"
            )
        edges = [0, *cuts, info.frames]
        if any(end <= start for start, end in zip(edges, edges[1:], strict=False)):
            raise ValueError(f"the cuts {cuts} do not rise from 1 to {info.frames - 1}")
        return cuts

    def _timeline(self, info: VideoInfo, cut_F: list[int], shots: int) -> Timeline:
        if not self.videos:
            if info.frames < 2:
                raise ValueError("a camera path of a single pose")
            frames = self.frames or (MANY_SHOTS_FRAMES if shots > 1 else ONE_SHOT_FRAMES)
            return spread_whole(frames, info.frames, cut_F)
        rate = info.fps / self.fps
        if round((self.frames - 1) * rate) > info.frames - 1:
            seconds, needed = info.frames / info.fps, self.frames / self.fps
            raise ValueError(f"the video is too short: {seconds:.2f} s, and the films have {needed:.2f} s")
        changes = []
        if (info.width, info.height) != (self.width, self.height):
            cropped = info.width * self.height != info.height * self.width
            size = f"{info.width}x{info.height} to {self.width}x{self.height}"
            changes.append(f"{'resized and cropped' if cropped else 'resized'} from {size}")
        if abs(rate - 1) > 1e-3:
            changes.append(f"resampled from {info.fps:g} to {self.fps:g} fps")
        if (lost := info.frames - 1 - round((self.frames - 1) * rate)) > max(rate, 1):
            changes.append(f"cut short by {lost / info.fps:.2f} s")
        timeline = cut_to_length(self.frames, rate, info.frames, cut_F)
        return dataclasses.replace(timeline, changes=changes + timeline.changes)


def scene_screenplay(scene: SceneFiles) -> Screenplay:
    """Reads the screenplay of a scene. Raises ValueError for a file that cannot be read."""
    if scene.caption is not None:
        return datadop_screenplay(scene.screenplay, scene.caption)
    prompt = "shot caption]" in scene.screenplay.lower()
    return parse_text(scene.screenplay, "holocine") if prompt else read_screenplay(scene.screenplay)


def _camera(
    trajectory: Trajectory, place_F: np.ndarray, info: VideoInfo, size: tuple[int, int]
) -> dict[str, np.ndarray | str]:
    """Poses at `place_F` (indices into the path), the lens after resizing and cropping, and the world's name.

    size: (width, height) of the film in pixels.
    """
    world = FIRST_CAMERA if trajectory.stage_34 is None else STAGE
    origin_34 = trajectory.pose_T34[0] if trajectory.stage_34 is None else trajectory.stage_34
    # Poses are rounded to float32 only after they have become relative to the origin.
    pose_F34 = se3.compose(se3.inverse(origin_34), se3.resample(trajectory.pose_T34, place_F)).astype(np.float32)
    fx, fy, cx, cy = trajectory.resized(info.width, info.height).intrinsics_T4[0]
    # The picture is enlarged until it covers the film's size, then cropped about its centre.
    larger = max(size[0] / info.width, size[1] / info.height)
    centre = [larger * c - (larger * whole - part) / 2 for c, whole, part in zip((cx, cy), info[2:], size, strict=True)]
    return {
        "pose_T34": pose_F34[::LATENT_STRIDE],
        "path_F34": pose_F34,
        "intrinsics": np.array([larger * fx, larger * fy, *centre], np.float32),
        "world": world,
    }
