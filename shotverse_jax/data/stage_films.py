"""Clips of the stage: short films with the camera path, the screenplay and the scene they were shot from.

They teach a small video VAE and a small controller. Everything but the subjects is what the captions' words give
(`stage/casting.py`), as it is when a screenplay is filmed for comparison; so a network that read the words can know
the props, the floor and the sky.
"""

import dataclasses
from typing import Literal

import numpy as np

from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.screenplay import LATENT_STRIDE, Screenplay, Shot, snap, to_text
from shotverse_jax.stage.casting import scene_from_screenplay
from shotverse_jax.stage.preview import stage_poses
from shotverse_jax.stage.raycast import SUBJECT, primitives, render
from shotverse_jax.stage.scene import Scene


@dataclasses.dataclass(frozen=True, eq=False)
class FilmClip:
    """One film of the stage.

    Attributes:
        video_THWC: [T, H, W, 3] uint8.
        trajectory: one pose per frame, metres, world = first camera; its intrinsics are of the video's size, its
            `time_T` the seconds on the stage, `stage_34` the stage.
        screenplay: the grammar's, with durations, fps and size of this film: its layout is the video's.
        scene: what was rendered.
        subject_THW: bool [T, H, W], where one of its subjects shows.
    """

    video_THWC: np.ndarray
    trajectory: Trajectory
    screenplay: Screenplay
    scene: Scene
    subject_THW: np.ndarray


def film_clip(
    seed: int,
    split: Literal["train", "test"] = "train",
    frames: int = 33,
    height: int = 64,
    width: int = 96,
    fps: float = 8.0,
    num_shots: int | None = None,
) -> FilmClip:
    """Clip number `seed` of a split, a pure function of the arguments: `sample_example` in `frames` frames.

    The example's shots keep their shares of the film and its camera its whole paths, so a clip shows in
    `frames` / `fps` seconds what the example does in its own time.

    Raises:
        ValueError: fewer than 4K+1 frames for the example's K shots, or a size or fps that no screenplay has.
    """
    example = sample_example(seed, split, num_shots)
    layout = example.screenplay.layout().scaled(frames)
    trajectory = example.trajectory.retimed(layout.spans, fps).resized(width, height)
    pose_T34 = stage_poses(trajectory)
    captions = [trajectory.global_caption, *trajectory.captions]
    scene = dataclasses.replace(scene_from_screenplay(captions), subjects=example.scene.subjects)
    scene = scene.clear_views(pose_T34[:, :, 3])
    prims = primitives(scene, trajectory.time_T)
    frames = render(prims, pose_T34, trajectory.intrinsics_T4, width, height)
    shots = [
        Shot(text, (end - start) / fps) for text, (start, end) in zip(trajectory.captions, layout.spans, strict=True)
    ]
    screenplay = Screenplay(trajectory.global_caption, tuple(shots), fps=fps, width=width, height=height)
    seen_THW = np.asarray(frames.instance_THW) - SUBJECT
    subject_THW = (seen_THW >= 0) & (seen_THW < len(scene.subjects))
    return FilmClip(np.asarray(frames.color_THW3), trajectory, screenplay, scene, subject_THW)


@dataclasses.dataclass(frozen=True)
class StageFilms:
    """`clips` clips of a split, by seed from 0, as the records that `launch/encode.py` writes.

    Raises:
        ValueError: settings that no clip can have.
    """

    clips: int
    split: Literal["train", "test"] = "train"
    frames: int = 33
    height: int = 64
    width: int = 96
    fps: float = 8.0

    def __post_init__(self):
        if self.frames != snap(self.frames) or self.frames < 5:
            raise ValueError(f"a clip has 4t+1 frames, at least 5, so that every shot has latents; got {self.frames}")
        if self.split not in ("train", "test"):
            raise ValueError(f'the splits are "train" and "test", got "{self.split}"')
        if self.clips < 1:
            raise ValueError(f"a data set has at least one clip, got {self.clips}")

    def __len__(self) -> int:
        return self.clips

    def __getitem__(self, seed: int) -> dict[str, np.ndarray | str]:
        """video [T, H, W, 3] uint8; of the latent frames, frames 0, 4, 8, …: pose_T34 float32 in the stage's frame,
        metres, shot_T int32 and subject_THW uint8, 1 where a subject shows; intrinsics [4] float32 fx, fy, cx, cy,
        pixels; texts: prompt (HoloCine's) and seed."""
        clip = film_clip(seed, self.split, self.frames, self.height, self.width, self.fps)
        return {
            "video": clip.video_THWC,
            "pose_T34": stage_poses(clip.trajectory)[::LATENT_STRIDE].astype(np.float32),
            "shot_T": clip.trajectory.shot_T[::LATENT_STRIDE],
            "subject_THW": clip.subject_THW[::LATENT_STRIDE].astype(np.uint8),
            "intrinsics": clip.trajectory.intrinsics_T4[0].astype(np.float32),
            "prompt": to_text(clip.screenplay, "holocine"),
            "seed": str(seed),
        }
