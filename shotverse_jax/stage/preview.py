"""The preview film: a planned camera path seen on the stage, with shot numbers, moves and time burned in."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from shotverse_jax.camera import se3
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.stage.casting import scene_from_screenplay
from shotverse_jax.stage.raycast import primitives, render
from shotverse_jax.stage.scene import Scene
from shotverse_jax.video import encoder

__all__ = ["implied_stage", "preview_frames", "render_preview", "scene_from_screenplay", "stage_poses"]

_BATCH = 16  # frames per call of the compiled program; any film length uses the same program
_EYE_HEIGHT = 1.6
_USUAL_DISTANCE = 3.0


def implied_stage(trajectory: Trajectory) -> np.ndarray:
    """A stage [3, 4] in the world of a trajectory that does not say where its floor and subject are.

    Gravity is the direction most square to all cameras' right axes (cameras rarely roll), of the sign of their mean
    down axis, which decides alone where the right axes leave it open. The subject stands at the point nearest to all
    optical axes, drawn weakly to 3 m in front of each camera, so that parallel axes have an answer; if it falls behind
    the cameras it is 3 m in front of the first. The floor is 1.6 m below the first camera, or 0.2 m below the lowest
    camera if that is lower. The subject faces the first camera. Lengths are taken as metres.
    """
    eye_T3 = trajectory.pose_T34[:, :, 3]
    right_T3, down_T3, forward_T3 = (trajectory.pose_T34[:, :, i] for i in range(3))
    spread = right_T3.T @ right_T3 - 0.01 * down_T3.T @ down_T3
    gravity = np.linalg.eigh(spread)[1][:, 0]
    gravity = gravity if gravity @ down_T3.sum(0) >= 0 else -gravity

    across_T33 = np.eye(3) - forward_T3[:, :, None] * forward_T3[:, None]
    weak = 0.02
    ahead_T3 = eye_T3 + _USUAL_DISTANCE * forward_T3
    target = np.linalg.solve(
        across_T33.sum(0) + weak * len(eye_T3) * np.eye(3),
        (across_T33 @ eye_T3[..., None]).sum(0)[:, 0] + weak * ahead_T3.sum(0),
    )
    if np.median(((target - eye_T3) * forward_T3).sum(-1)) < 0.3:
        target = ahead_T3[0]

    floor = max(eye_T3[0] @ gravity + _EYE_HEIGHT, (eye_T3 @ gravity).max() + 0.2)
    origin = target + (floor - target @ gravity) * gravity
    facing = eye_T3[0] - origin
    facing = facing - (facing @ gravity) * gravity
    if np.linalg.norm(facing) < 1e-3:  # the first camera is straight above: its image's lower edge is the front
        facing = down_T3[0] - (down_T3[0] @ gravity) * gravity + 1e-6 * right_T3[0]
    facing = facing / np.linalg.norm(facing)
    return se3.make(np.stack([np.cross(gravity, facing), gravity, facing], axis=1), origin)


def stage_poses(trajectory: Trajectory) -> np.ndarray:
    """[T, 3, 4] poses in the frame of the stage, metres; without `stage_34` that of `implied_stage`."""
    stage_34 = implied_stage(trajectory) if trajectory.stage_34 is None else trajectory.stage_34
    return se3.compose(se3.inverse(stage_34), trajectory.pose_T34)


def preview_frames(trajectory: Trajectory, scene: Scene, width: int, height: int) -> Iterator[np.ndarray]:
    """Each frame [height, width, 3] uint8 of the stage through the trajectory's cameras, without burn-in.

    Props that a camera stands in or looks through on its way to the subject are taken away. The stage's clock is
    `trajectory.time_T` from its first frame on, without it the film's own.
    """
    pose_T34 = stage_poses(trajectory)
    scene = scene.clear_views(pose_T34[:, :, 3])
    zoom = np.array([width / trajectory.width, height / trajectory.height])
    lens_T4 = trajectory.intrinsics_T4 * np.tile(zoom, 2)
    time_T = _stage_clock(trajectory)

    pending = None
    for start in range(0, len(trajectory), _BATCH):
        index = np.minimum(np.arange(start, start + _BATCH), len(trajectory) - 1)
        frames = render(primitives(scene, time_T[index]), pose_T34[index], lens_T4[index], width, height)
        if pending is not None:  # the next frames are computed while these are used
            yield from np.asarray(pending)
        pending = frames.color_THW3
    yield from np.asarray(pending)[: len(trajectory) - start]


def _stage_clock(trajectory: Trajectory) -> np.ndarray:
    """[T] seconds since the first frame, as they pass on the stage."""
    if trajectory.time_T is None:
        return np.arange(len(trajectory)) / trajectory.fps
    return trajectory.time_T - trajectory.time_T[0]


class _Burn:
    """Writes what a director asks of every frame: shot, move, time, frame, lens."""

    def __init__(self, trajectory: Trajectory, tags: Sequence[str] | None, width: int, height: int):
        self.trajectory, self.tags = trajectory, tags
        self.size = max(11, round(height / 19))
        self.font = ImageFont.load_default(self.size)
        self.bar = round(1.5 * self.size)
        self.width, self.height = width, height

    def fitted(self, text: str, room: float) -> str:
        """`text`, shortened with an ellipsis to `room` pixels."""
        if self.font.getlength(text) <= room:
            return text
        while text and self.font.getlength(text + "…") > room:
            text = text[:-1]
        return text.rstrip(" ,") + "…"

    def __call__(self, image: Image.Image, frame: int) -> np.ndarray:
        pixels = np.array(image)
        for rows in (slice(0, self.bar), slice(-self.bar, None)):
            pixels[rows] = pixels[rows] * 0.35
        draw = ImageDraw.Draw(image := Image.fromarray(pixels))
        shot, pad = int(self.trajectory.shot_T[frame]), self.size // 2
        top, bottom = self.bar // 2, self.height - self.bar // 2

        title = f"SHOT {shot + 1}/{self.trajectory.num_shots}"
        draw.text((pad, top), title, font=self.font, fill=(255, 255, 255), anchor="lm")
        if self.tags:
            left = pad + self.font.getlength(title) + self.size
            text = self.fitted(self.tags[shot], self.width - left - pad)
            draw.text((left, top), text, font=self.font, fill=(255, 214, 92), anchor="lm")
        focal = 36 * self.trajectory.intrinsics_T4[frame, 0] / self.trajectory.width
        time = frame / self.trajectory.fps
        draw.text((pad, bottom), f"{time:05.2f} s", font=self.font, fill=(255, 255, 255), anchor="lm")
        lens = f"{focal:.0f} mm"
        draw.text((self.width / 2, bottom), lens, font=self.font, fill=(200, 200, 200), anchor="mm")
        count = f"frame {frame} of {len(self.trajectory)}"
        draw.text((self.width - pad, bottom), count, font=self.font, fill=(255, 255, 255), anchor="rm")
        return np.asarray(image)


def render_preview(
    trajectory: Trajectory,
    scene: Scene | None,
    path: str | Path,
    *,
    tags: Sequence[str] | None = None,
    height: int = 288,
    progress: bool = False,
) -> None:
    """Films a trajectory on the stage as an H.264 mp4 at its own frame rate, written whole or not at all.

    The stage is cast at half the size and enlarged; the burned-in text is drawn at full size.

    Args:
        trajectory: one frame of film per pose; without `stage_34` the stage is `implied_stage`.
        scene: what stands there; None reads it from the captions (`scene_from_screenplay`).
        path: the mp4 file; missing folders above it are made.
        tags: one line per shot that names its moves.
        height: of the film in pixels, made even; the width follows the trajectory's aspect.
        progress: show a bar.

    Raises:
        ValueError: a path that does not end in .mp4 or cannot be written, tags that do not fit the shots, or a height
            under 64.
    """
    if tags is not None and len(tags) != trajectory.num_shots:
        raise ValueError(f"{trajectory.num_shots} shots but {len(tags)} lines of tags")
    if height < 64:
        raise ValueError(f"a preview needs a height of at least 64 pixels, got {height}")
    if scene is None:
        captions = [trajectory.global_caption, *trajectory.captions]
        scene = scene_from_screenplay(captions, _stage_clock(trajectory)[-1] + 1 / trajectory.fps)
    small = round(height / 2 * trajectory.width / trajectory.height), height // 2
    size = 2 * small[0], 2 * small[1]
    burn = _Burn(trajectory, tags, *size)
    frames = preview_frames(trajectory, scene, *small)
    bar = tqdm(frames, "preview", len(trajectory), disable=not progress, leave=False)
    with encoder(path, size, trajectory.fps) as pipe:
        for index, pixels in enumerate(bar):
            pipe.write(burn(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR), index).tobytes())
