"""Clips of the stage: short films with their camera path, screenplay and scene. They teach small VAEs and controllers.

Props, floor and sky are those that `stage/casting.py` derives from the words of the captions. A network that reads the
captions can therefore know them, and a generated film can be compared with the stage filmed from the same screenplay.
"""

import dataclasses
from typing import Literal

import numpy as np

from shotverse_jax import limits
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
        trajectory: one pose per frame, metres, world = first camera. `intrinsics_T4` fit the video's size,
            `stage_time_T` holds the seconds on the stage, `stage_34` is known.
        screenplay: the example's captions with the durations, fps and size of this film.
        scene: the scene that was rendered.
        subject_THW: [T, H, W] bool, True where a pixel shows a subject.
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
    """Renders clip number `seed` of a split: the example of `sample_example`, squeezed into `frames` frames.

    The clip is a pure function of the arguments. Every shot keeps its share of the film and its whole camera path, so
    the clip shows in `frames` / `fps` seconds what takes the example longer.

    Args:
        seed: number of the clip.
        split: "train" (default) or "test", whose combinations and sentences training never shows.
        frames: frames of the clip, 4t+1; default 33.
        height, width: size in pixels; default 64 x 96.
        fps: frames per second; default 8.
        num_shots: number of shots; None (default) draws it.

    Raises:
        ValueError: fewer than 4K+1 frames for K shots, or a size or fps that no screenplay may have.
    """
    example = sample_example(seed, split, num_shots)
    layout = example.screenplay.layout().scaled(frames)
    trajectory = example.trajectory.retimed(layout.spans, fps).resized(width, height)
    pose_T34 = stage_poses(trajectory)
    captions = [trajectory.global_caption, *trajectory.captions]
    # The words decide about the set, but the subjects stay those at which the cameras were aimed.
    scene = dataclasses.replace(scene_from_screenplay(captions), subjects=example.scene.subjects)
    scene = scene.clear_views(pose_T34[:, :, 3])
    # The seconds are those of the longer example: a subject walks its whole way in the short clip, beside its camera.
    prims = primitives(scene, trajectory.stage_time_T)
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
    """Clips 0, 1, … of a split as the records that `launch/encode.py` writes: `source[seed]` is a record.

    Attributes:
        clips: number of clips.
        split, frames, height, width, fps: arguments of `film_clip`.

    Raises:
        ValueError: no clip can have these settings.
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
        limits.whole(self.clips, "the clips", 1, limits.COUNT)
        limits.film(self.frames, self.height, self.width, self.fps)

    def __len__(self) -> int:
        return self.clips

    def __getitem__(self, seed: int) -> dict[str, np.ndarray | str]:
        """Renders clip number `seed`.

        Returns:
            video: [F, H, W, 3] uint8.
            pose_T34: [T, 3, 4] float32, camera-to-world in the stage's frame, metres, of the latent frames 0, 4, 8, ….
            shot_T: [T] int32, the shot of every latent frame.
            subject_THW: [T, H, W] uint8, 1 where a latent frame shows a subject.
            intrinsics: [4] float32 fx, fy, cx, cy, pixels.
            prompt: HoloCine's prompt.
            seed: number of the clip, as a text.
        """
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
