"""Preview clips of candidates: what judges look at. The renderer is an interface with two makers: the stage, a folder.

A clip is uint8 RGB [T, H, W, 3], one for each shot, T frames spread evenly over the shot.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.files import reading
from shotverse_jax.screenplay import Screenplay
from shotverse_jax.stage.casting import scene_from_screenplay
from shotverse_jax.stage.preview import BATCH, stage_poses
from shotverse_jax.stage.raycast import CAPACITY, primitives, render
from shotverse_jax.stage.scene import Scene
from shotverse_jax.views.video import probe_video, read_video

Clips = list[list[np.ndarray]]
"""clips[j][k] is the clip of shot k of candidate j."""


class Renderer(Protocol):
    """Films candidates.

    Attributes:
        settings: what decides the clips beside the candidates, JSON values.
    """

    settings: dict

    def clips(self, name: str, screenplay: Screenplay, candidates: Sequence[Trajectory]) -> Clips:
        """Returns the clips of a screenplay's candidates; `name` is that of its entry in the list.

        Raises:
            ValueError: a clip cannot be made.
        """


def scene_of(screenplay: Screenplay) -> Scene:
    """Returns the stage that a screenplay's captions describe, the same for all of its candidates."""
    captions = [screenplay.caption, *(shot.caption for shot in screenplay.shots)]
    return scene_from_screenplay(captions, screenplay.layout().num_frames / screenplay.fps)


@dataclasses.dataclass(frozen=True)
class StageRenderer:
    """Films candidates on the stage, all of a screenplay in one batch.

    Attributes:
        frames: of a clip.
        height, width: in pixels.
    """

    frames: int = 16
    height: int = 48
    width: int = 80

    @property
    def settings(self) -> dict:
        """As `Renderer.settings`."""
        return {"renderer": "stage", **dataclasses.asdict(self)}

    def clips(self, name: str, screenplay: Screenplay, candidates: Sequence[Trajectory]) -> Clips:
        """As `Renderer.clips`; candidates of one screenplay see one scene, without the props that hide the subject."""
        poses_J = [stage_poses(path) for path in candidates]
        scene = scene_of(screenplay).clear_views(np.concatenate(poses_J)[:, :, 3])
        index_KT = [frames_of_shot(start, end, self.frames) for start, end in candidates[0].spans]
        index_T = np.concatenate(index_KT)
        prims = primitives(scene, candidates[0].stage_seconds_T[index_T])
        zoom_4 = np.tile([self.width / candidates[0].width, self.height / candidates[0].height], 2)
        pose_N34 = np.concatenate([pose_T34[index_T] for pose_T34 in poses_J])
        lens_N4 = np.concatenate([path.intrinsics_T4[index_T] * zoom_4 for path in candidates])
        which_N = np.tile(np.arange(len(index_T)), len(candidates))
        frames_NHW3 = self._render(prims, pose_N34, lens_N4, which_N)
        return [
            list(frames_HW3.reshape(len(index_KT), self.frames, *frames_HW3.shape[1:]))
            for frames_HW3 in np.split(frames_NHW3, len(candidates))
        ]

    def _render(self, prims: dict, pose_N34: np.ndarray, lens_N4: np.ndarray, which_N: np.ndarray) -> np.ndarray:
        """Frames [N, H, W, 3]; frame n shows the scene at time which_N[n]."""
        parts, count = [], len(which_N)
        # Any number of candidates and shots uses one program: the last block is filled up with its last frame.
        for start in range(0, count, BATCH):
            index_B = np.minimum(np.arange(start, start + BATCH), count - 1)
            moved = {name: prims[name][which_N[index_B]] for name in CAPACITY}
            found = render(prims | moved, pose_N34[index_B], lens_N4[index_B], self.width, self.height)
            parts.append(found.color_THW3)
        return np.concatenate([np.asarray(part) for part in parts])[:count]


@dataclasses.dataclass(frozen=True)
class FolderRenderer:
    """Takes clips that another program rendered, such as Unreal or Blender.

    Candidate j of an entry is the video `<folder>/<name>/sample_<j>.mp4`, which has the frames of its trajectory, or
    the pictures `<folder>/<name>/sample_<j>/*.png` in the order of their names. `shotverse batch --task plan
    --candidates 1 --samples N` writes the cameras to be rendered, `<name>/sample_<j>/trajectory.json`.

    Attributes:
        folder: the folder.
        frames: of a clip.
        height, width: in pixels, to which frames are resized.
    """

    folder: str
    frames: int = 16
    height: int = 48
    width: int = 80

    @property
    def settings(self) -> dict:
        """As `Renderer.settings`."""
        return {"renderer": "folder", "frames": self.frames, "height": self.height, "width": self.width}

    def clips(self, name: str, screenplay: Screenplay, candidates: Sequence[Trajectory]) -> Clips:
        """As `Renderer.clips`."""
        return [
            self._clips(Path(self.folder) / name / f"sample_{j}", candidate) for j, candidate in enumerate(candidates)
        ]

    def _clips(self, stem: Path, candidate: Trajectory) -> list[np.ndarray]:
        video = stem.with_name(f"{stem.name}.mp4")
        pictures = stem.is_dir() and any(stem.glob("*.png"))
        if not pictures and not video.is_file():
            raise ValueError(f"there is no preview {video}, and there are no pictures {stem}/*.png")
        return clips_of(stem if pictures else video, candidate, self.frames, self.height, self.width)


def clips_of(path: Path, trajectory: Trajectory, frames: int, height: int, width: int) -> list[np.ndarray]:
    """Returns the clips of all shots of a video, or of a folder of pictures, that has the frames of a trajectory.

    frames, height, width: of a clip.

    Raises:
        ValueError: it cannot be read, or has another number of frames.
    """
    index_KT = [frames_of_shot(start, end, frames) for start, end in trajectory.spans]
    files = sorted(path.glob("*.png")) if path.is_dir() else []
    count = len(files) or probe_video(path).frames
    if count != len(trajectory):
        raise ValueError(f"the preview {path} has {count} frames, and its plan {len(trajectory)}")
    if files:
        return [np.stack([_picture(files[i], (width, height)) for i in index_T]) for index_T in index_KT]
    return np.split(read_video(path, np.concatenate(index_KT), width, height), len(index_KT))


def _picture(path: Path, size: tuple[int, int]) -> np.ndarray:
    with reading(path, "a picture"), Image.open(path) as picture:
        return np.asarray(picture.convert("RGB").resize(size, Image.Resampling.BICUBIC))


def frames_of_shot(start: int, end: int, count: int) -> np.ndarray:
    """Returns `count` frames of a shot [start, end), spread evenly from its first to its last; short shots repeat."""
    return np.round(np.linspace(start, end - 1, count)).astype(int)
