"""The text burned into the frames of a preview film."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from shotverse_jax.camera.trajectory import Trajectory


class BurnIn:
    """Draws shot, moves, time, lens and frame number into the frames of a film, in a bar above and a bar below.

    Attributes:
        trajectory: cameras of the film.
        tags: one text per shot that names its moves; None for none.
        width, height: size of the frames in pixels.
        size: height of the letters in pixels.
    """

    def __init__(self, trajectory: Trajectory, tags: Sequence[str] | None, width: int, height: int):
        self.trajectory, self.tags = trajectory, tags
        self.size = max(11, round(height / 19))
        self.font = ImageFont.load_default(self.size)
        self.bar = round(1.5 * self.size)
        self.width, self.height = width, height

    def fitted(self, text: str, room: float) -> str:
        """Returns a text, shortened with an ellipsis to `room` pixels if it is longer."""
        if self.font.getlength(text) <= room:
            return text
        while text and self.font.getlength(text + "…") > room:
            text = text[:-1]
        return text.rstrip(" ,") + "…"

    def __call__(self, image: Image.Image, frame: int) -> np.ndarray:
        """Returns frame number `frame` of the film, [H, W, 3] uint8, with the text drawn into it."""
        pixels = np.array(image)
        for rows in (slice(0, self.bar), slice(-self.bar, None)):
            # The bars are darkened and not filled: the words can be read, and the picture under them can be seen.
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
        time = frame / self.trajectory.fps
        draw.text((pad, bottom), f"{time:05.2f} s", font=self.font, fill=(255, 255, 255), anchor="lm")
        # Photographers name lenses by their millimetres on a film 36 mm wide.
        lens = f"{self.trajectory.focal_mm_T[frame]:.0f} mm"
        if self.trajectory.lens_radius_T[frame]:
            distance, f_number = self.trajectory.focus_T2[frame]
            lens += f"  f/{f_number:.2g}  {distance:.2f} m"
        draw.text((self.width / 2, bottom), lens, font=self.font, fill=(200, 200, 200), anchor="mm")
        count = f"frame {frame} of {len(self.trajectory)}"
        draw.text((self.width - pad, bottom), count, font=self.font, fill=(255, 255, 255), anchor="rm")
        return np.asarray(image)
