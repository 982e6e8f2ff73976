"""Masks of text that was put over the pictures: subtitles, titles, names of stations. It needs RapidOCR.

Text on things in the place moves in the picture as the camera does. What is kept is text that stays where it is.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

EVERY = 4
"""Frames between two in which text is looked for."""
SAME = 0.8
"""Text stands still whose boxes in two such frames have this intersection over union."""
SIDE = 640
"""Pixels of the longer side at which text is looked for."""


class Text:
    """The masker "text".

    Text is masked where it stays from one of the frames that are looked at to the next, and up to these frames; in a
    shot of which only one frame is looked at, all text is.

    Raises:
        ValueError: RapidOCR or onnxruntime is not installed.
    """

    def __init__(self):
        try:
            import onnxruntime  # noqa: F401
            from rapidocr import RapidOCR
        except ImportError as error:
            raise ValueError(
                "masks of text need RapidOCR and onnxruntime; run: pip install 'shotverse_jax[masks,calibration]'"
            ) from error
        size = {"Det.limit_type": "max", "Det.limit_side_len": SIDE}
        self._reader = RapidOCR(params={"Global.log_level": "critical", **size})

    def __call__(self, frames_THWC: np.ndarray, number_T: Sequence[int]) -> np.ndarray:
        """Returns the masks of frames; see `masks.Masker`."""
        places = sorted({*range(0, len(frames_THWC), EVERY), len(frames_THWC) - 1})
        found = [self._boxes(frames_THWC[place]) for place in places]
        mask_THW = np.zeros(frames_THWC.shape[:3], bool)
        if len(places) == 1:
            mask_THW[:] = _drawn(found[0], mask_THW.shape[1:])
        for first, last, ours, next_ones in zip(places, places[1:], found, found[1:], strict=False):
            still = [box for box in ours if any(_overlap(box, other) >= SAME for other in next_ones)]
            mask_THW[first : last + 1] |= _drawn(still, mask_THW.shape[1:])
        return mask_THW

    def _boxes(self, frame_HWC: np.ndarray) -> list[tuple[float, float, float, float]]:
        """Left, top, right, bottom of every line of text, in pixels."""
        output = self._reader(np.ascontiguousarray(frame_HWC[..., ::-1]), use_det=True, use_cls=False, use_rec=False)
        corners = [] if output.boxes is None else output.boxes
        return [(*corner_42.min(0).tolist(), *corner_42.max(0).tolist()) for corner_42 in corners]


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Intersection over union of two boxes."""
    sides = [min(one[k + 2], other[k + 2]) - max(one[k], other[k]) for k in (0, 1)]
    inside = max(sides[0], 0) * max(sides[1], 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return inside / max(sum(areas) - inside, 1e-9)


def _drawn(boxes: Sequence[tuple[float, ...]], size: tuple[int, int]) -> np.ndarray:
    image = Image.new("L", size[::-1])
    for box in boxes:
        ImageDraw.Draw(image).rectangle(box, fill=255)
    return np.asarray(image) > 0
