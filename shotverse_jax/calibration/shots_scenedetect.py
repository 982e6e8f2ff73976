"""The detector "scenedetect": the content detector of PySceneDetect, where the package is installed."""

from collections.abc import Iterable

import numpy as np

from shotverse_jax.calibration.shots import Transition
from shotverse_jax.limits import finite

HEIGHT = 144
"""Rows of the frames that it sees; its own program reduces frames in the same way."""


class Content:
    """The detector.

    threshold: mean change of hue, saturation and brightness, 0 to 255, of a cut; default 27, PySceneDetect's own.

    Raises:
        ValueError: PySceneDetect is not installed.
    """

    scaling = "area"

    def __init__(self, threshold: float = 27.0):
        self._threshold = finite(threshold, "the threshold of a cut (change of 255)", 0, 255)
        try:
            import scenedetect
        except ImportError as error:
            raise ValueError(
                "the detector scenedetect needs PySceneDetect: install scenedetect-headless, or "
                "shotverse_jax[calibration]"
            ) from error
        self._package = scenedetect

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Returns a size of 144 rows; see `shots.Detector`."""
        return max(HEIGHT // 4, round(HEIGHT * width / height)), HEIGHT

    def __call__(self, frames: Iterable[np.ndarray]) -> list[Transition]:
        """Returns the transitions, all of them cuts; see `shots.Detector`."""
        detector = self._package.ContentDetector(threshold=self._threshold, min_scene_len=1)
        found, time = [], None
        for number, frame_HWC in enumerate(frames):
            # Its time is frames here, at any rate; it takes pictures in the order blue, green, red.
            time = self._package.FrameTimecode(number, fps=25.0)
            found += detector.process_frame(time, np.ascontiguousarray(frame_HWC[..., ::-1]))
        if time is not None:
            found += detector.post_process(time)
        numbers = sorted({one.frame_num for one in found} - {0})
        return [Transition(number, number, "cut", 1.0) for number in numbers]
