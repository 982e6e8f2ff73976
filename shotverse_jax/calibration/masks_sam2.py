"""Masks by SAM 2 (arXiv 2408.00714), the video network of transformers: what is in a box is followed through its shot.

Boxes come from a file, or from words by a detector (`prompts.py`). It needs PyTorch and transformers (the optional
extra `masks`) and the weights that `shotverse get sam2` and `shotverse get grounding-dino` fetch.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from shotverse_jax.calibration.prompts import read_prompts
from shotverse_jax.calibration.torch_models import folder_of, normalized, opened


class Sam2:
    """The masker "sam2".

    prompts: a file of boxes that ends in .json, or words with commas; "" (default) looks for people, animals and
        vehicles.
    model: the network's folder, or the name of what `shotverse get` fetched; default "sam2".

    Raises:
        ValueError: PyTorch or transformers is not installed, or a network or the file is not there or damaged.
    """

    def __init__(self, prompts: str = "", model: str | Path = "sam2"):
        folder = folder_of(model, "sam2", "masks by sam2")
        self._torch, self._model = opened(folder, "Sam2VideoModel")
        self._prompts = read_prompts(prompts)

    def __call__(self, frames_THWC: np.ndarray, number_T: Sequence[int]) -> np.ndarray:
        """Returns the masks of frames; see `masks.Masker`.

        What a box holds is followed to the next frames with boxes on both sides, which have boxes of their own.
        """
        mask_THW = np.zeros(frames_THWC.shape[:3], bool)
        boxes = self._prompts(frames_THWC, number_T)
        places = sorted(boxes)
        for place, before, after in zip(places, [0, *places], [*places[1:], len(frames_THWC) - 1], strict=False):
            for frame, found_HW in self._followed(frames_THWC[before : after + 1], place - before, boxes[place]):
                mask_THW[before + frame] |= found_HW
        return mask_THW

    def _followed(self, frames_THWC: np.ndarray, at: int, box_B4: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yields frames and the masks [H, W] of what is in the boxes of frame `at`, forwards and then backwards."""
        from transformers import Sam2VideoInferenceSession

        torch, model = self._torch, self._model
        size = model.config.image_size
        size = (size, size) if isinstance(size, int) else tuple(size)
        height, width = frames_THWC.shape[1:3]
        small = [Image.fromarray(frame).resize(size[::-1], Image.Resampling.BILINEAR) for frame in frames_THWC]
        session = Sam2VideoInferenceSession(
            video=torch.from_numpy(normalized(np.stack([np.asarray(picture) for picture in small]))),
            video_height=height,
            video_width=width,
            inference_device=model.device,
            dtype=model.dtype,
        )
        for number, box_4 in enumerate(box_B4 * np.tile(size[::-1], 2)):
            corners = torch.tensor(box_4, dtype=torch.float32).reshape(1, 1, 2, 2)
            # SAM 2 takes a box as two points, of the labels 2 and 3.
            labels = torch.tensor([[[2, 3]]], dtype=torch.int32)
            index = session.obj_id_to_idx(number)
            session.add_point_inputs(index, at, {"point_coords": corners, "point_labels": labels})
        session.obj_with_new_inputs = list(range(len(box_B4)))
        with torch.inference_mode():
            for reverse in (False, True):
                for output in model.propagate_in_video_iterator(session, start_frame_idx=at, reverse=reverse):
                    logits = torch.nn.functional.interpolate(
                        output.pred_masks.float(), (height, width), mode="bilinear", align_corners=False
                    )
                    yield output.frame_idx, (logits > 0).flatten(0, 1).any(0).cpu().numpy()
