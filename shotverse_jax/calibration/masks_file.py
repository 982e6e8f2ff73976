"""Masks from a folder of pictures: `--masks file:DIR`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from shotverse_jax.calibration.masks import same_proportions
from shotverse_jax.files import reading
from shotverse_jax.limits import SIDE, whole

SUFFIXES = (".png", ".bmp", ".tif", ".tiff")
"""Pictures without loss; JPEG would make grey edges."""


class Files:
    """The masker "file": a picture for every frame of the film, in the order of their names; not black is masked.

    folder: the folder. Colours do not count, so that pictures of instance ids are read too; neither does transparency.

    Raises:
        ValueError: there is no such folder, or it has no pictures.
    """

    def __init__(self, folder: str | Path):
        self._folder = Path(folder)
        if not self._folder.is_dir():
            raise ValueError(f"{folder} is no folder of masks")
        found = [path for path in self._folder.iterdir() if path.suffix.lower() in SUFFIXES]
        # 2.png comes before 10.png.
        self._files = sorted(found, key=lambda path: (len(path.name), path.name))
        if not found:
            raise ValueError(f"{folder} has no masks; they are pictures that end in {', '.join(SUFFIXES)}")

    def __call__(self, frames_THWC: np.ndarray, number_T: Sequence[int]) -> np.ndarray:
        """Returns the masks of frames; see `masks.Masker`.

        Raises:
            ValueError: there are fewer pictures than frames, or one is damaged or of other proportions.
        """
        if max(number_T, default=0) >= len(self._files):
            raise ValueError(f"{self._folder} has {len(self._files)} masks and none for frame {max(number_T)}")
        return np.stack([self._read(self._files[number], frames_THWC.shape[1:3]) for number in number_T])

    def _read(self, path: Path, size: tuple[int, int]) -> np.ndarray:
        height, width = size
        with reading(path, "a picture"), Image.open(path) as picture:
            for side in picture.size:
                whole(side, "a side", 1, SIDE)
            if not same_proportions(picture.size, (width, height)):
                raise ValueError(
                    f"{path} is {picture.width}x{picture.height}; the frames have the proportions of {width}x{height}"
                )
            colors = picture.convert("RGB") if picture.mode in ("P", "RGBA", "LA", "PA") else picture
            mask = np.asarray(colors)
        mask_HW = (mask != 0).any(-1) if mask.ndim == 3 else mask != 0
        # A frame that is smaller keeps what is masked in any of its pixels.
        small = Image.fromarray(mask_HW.astype(np.uint8) * 255).resize((width, height), Image.Resampling.BOX)
        return np.asarray(small) > 0
