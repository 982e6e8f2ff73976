"""The preview film: a planned camera path seen on the stage, with shot numbers, moves and time burned in."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.stage.casting import scene_from_screenplay
from shotverse_jax.stage.preview import preview_frames, stage_clock
from shotverse_jax.stage.scene import Scene
from shotverse_jax.views.video import encoder


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
        scene = scene_from_screenplay(captions, stage_clock(trajectory)[-1] + 1 / trajectory.fps)
    small = round(height / 2 * trajectory.width / trajectory.height), height // 2
    size = 2 * small[0], 2 * small[1]
    burn = _Burn(trajectory, tags, *size)
    frames = preview_frames(trajectory, scene, *small)
    bar = tqdm(frames, "preview", len(trajectory), disable=not progress, leave=False)
    with encoder(path, size, trajectory.fps) as pipe:
        for index, pixels in enumerate(bar):
            pipe.write(burn(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR), index).tobytes())
