"""Boxes around what moves by itself, for the masks of SAM 2: from a file, or found by words.

Boxes [B, 4] are left, top, right, bottom as shares of the picture, from 0 to 1.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from shotverse_jax.calibration.masks import same_proportions
from shotverse_jax.calibration.torch_models import folder_of, normalized, opened
from shotverse_jax.files import read_json, reading
from shotverse_jax.limits import shown

WORDS = "person, animal, vehicle"
"""What is looked for where nothing else is said."""
EVERY = 8
"""Frames between two in which words are looked for: what comes into the picture later is found so late at most."""
THRESHOLD = 0.3
"""How sure the detector must be of a box, from 0 to 1; its own default."""
SHORT, LONG = 800, 1333
"""Pixels of the shorter side that the detector sees, and of the longer side at most."""


class Prompts(Protocol):
    """Says where what moves is in some frames of a shot."""

    def __call__(self, frames_THWC: np.ndarray, number_T: Sequence[int]) -> dict[int, np.ndarray]:
        """Returns boxes [B, 4] by the place of their frame among those of one shot, [T, H, W, 3] uint8 in order.

        number_T: the number of each frame in the film.
        """


def read_prompts(text: str) -> Prompts:
    """Returns the boxes of a file that ends in .json, or who looks for words such as "a dog, red car".

    Raises:
        ValueError: the file is no file of boxes; or the detector is not installed or not there.
    """
    return Boxes(text) if text.lower().endswith(".json") else Words(text or WORDS)


class Boxes:
    """Boxes of a file: {"size": [width, height], "boxes": [{"frame": 0, "box": [left, top, right, bottom]}, …]}.

    Frames are counted from 0 in the film; boxes are in pixels of pictures of that size. What is in a box is followed
    before and after its frame, as far as the shot goes.

    path: the file.

    Raises:
        ValueError: the file is not there, or is no such file.
    """

    def __init__(self, path: str | Path):
        with reading(path, "a file of boxes"):
            value = read_json(path)
            width, height = self._size = tuple(int(side) for side in value["size"])
            self._rows = [(int(row["frame"]), [float(x) for x in row["box"]]) for row in value["boxes"]]
        self._path = path
        for frame, box in self._rows:
            inside = len(box) == 4 and 0 <= box[0] < box[2] <= width and 0 <= box[1] < box[3] <= height
            if frame < 0 or not inside:
                raise ValueError(f"{path}: {shown(box)} of frame {frame} is no box in a picture of {width}x{height}")

    def __call__(self, frames_THWC: np.ndarray, number_T: Sequence[int]) -> dict[int, np.ndarray]:
        """Returns the boxes of frames; see `Prompts`. A box of a frame that is left out is that of the next one.

        Raises:
            ValueError: the frames have other proportions than the file says.
        """
        height, width = frames_THWC.shape[1:3]
        if not same_proportions(self._size, (width, height)):
            raise ValueError(f"{self._path} is of pictures of {self._size[0]}x{self._size[1]}, the frames are not")
        found: dict[int, list[list[float]]] = {}
        for frame, box in self._rows:
            if number_T[0] <= frame <= number_T[-1]:
                found.setdefault(int(np.searchsorted(number_T, frame)), []).append(box)
        return {place: np.array(boxes) / np.tile(self._size, 2) for place, boxes in found.items()}


class Words:
    """Boxes of what words name, by Grounding DINO of transformers, in every 8th frame of a shot and in its last one.

    words: names with commas, for example "person, dog".
    model: its folder, or the name of what `shotverse get` fetched; default "grounding-dino".
    threshold: how sure it must be of a box; default 0.3.

    Raises:
        ValueError: PyTorch or transformers is not installed, or the network is not there or damaged.
    """

    def __init__(self, words: str = WORDS, model: str | Path = "grounding-dino", threshold: float = THRESHOLD):
        from tokenizers import Tokenizer

        folder = folder_of(model, "grounding-dino", "masks by words")
        self._torch, self._model = opened(folder, "GroundingDinoForObjectDetection")
        self._threshold = threshold
        with reading(folder / "tokenizer.json", "a tokenizer"):
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        # The network was trained on names that end in full stops.
        names = [name for part in words.lower().split(",") if (name := part.strip(" ."))]
        if not names:
            raise ValueError("masks by words need words, for example sam2:person, dog")
        self._ids = tokenizer.encode("".join(f"{name}. " for name in names).strip()).ids

    def __call__(self, frames_THWC: np.ndarray, number_T: Sequence[int]) -> dict[int, np.ndarray]:
        """Returns the boxes that are found; see `Prompts`."""
        places = sorted({*range(0, len(frames_THWC), EVERY), len(frames_THWC) - 1})
        found = {place: self._boxes(frames_THWC[place]) for place in places}
        return {place: boxes for place, boxes in found.items() if len(boxes)}

    def _boxes(self, frame_HWC: np.ndarray) -> np.ndarray:
        torch, (height, width) = self._torch, frame_HWC.shape[:2]
        scale = min(SHORT / min(height, width), LONG / max(height, width))
        size = max(32, round(width * scale)), max(32, round(height * scale))
        picture = Image.fromarray(frame_HWC).resize(size, Image.Resampling.BILINEAR)
        device = self._model.device
        ids = torch.tensor([self._ids], device=device)
        with torch.inference_mode():
            output = self._model(
                pixel_values=torch.from_numpy(normalized(np.asarray(picture))[None]).to(device),
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                token_type_ids=torch.zeros_like(ids),
            )
        score = output.logits[0].sigmoid().amax(-1).float().cpu().numpy()
        x, y, w, h = output.pred_boxes[0].float().cpu().numpy()[score > self._threshold].T
        return np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=1).clip(0, 1)
