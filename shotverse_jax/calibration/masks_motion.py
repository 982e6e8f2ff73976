"""Masks of what moves against the camera's own motion, by the geometry of two views. It needs OpenCV.

The flow from a frame to a later one has to follow one fundamental matrix, or one homography where the camera only
turns. Pixels that do not are masked. Something that moves along its own epipolar lines, such as a car before a camera
that travels with it, is not seen.
"""

from collections.abc import Sequence

import numpy as np

WIDTH = 320
"""Pixels of the width at which flow is computed."""
GAPS = (1, 2, 4, 8)
"""Frames between two views; the first gap with enough flow is taken."""
ENOUGH = 2.0
"""Median flow, in pixels at that width, of a gap that is long enough."""
TOLERANCE = 1.0
"""Distance from the geometry, in pixels at that width, that flow has by itself."""
TEXTURE = 3.0
"""Deviation, in levels of 255, of 9x9 pixels in which flow means something."""
ASTRAY = 0.3
"""Share of its length by which the flow back may miss where the flow began."""
GRID = 6
"""Every 6th pixel of a row and a column is used to estimate the geometry."""
TURNING = 0.7
"""Share of pixels that fit a homography from which the camera is said to turn only, or to see a plane."""


class Motion:
    """The masker "motion".

    tolerance: distance from the geometry in pixels, at a width of 320, above which a pixel moves; default 1.

    Raises:
        ValueError: OpenCV is not installed.
    """

    def __init__(self, tolerance: float = TOLERANCE):
        try:
            import cv2
        except ImportError as error:
            raise ValueError(
                "masks by motion need OpenCV; install opencv-python-headless, or shotverse_jax[calibration]"
            ) from error
        self._cv2, self._tolerance = cv2, tolerance

    def __call__(self, frames_THWC: np.ndarray, number_T: Sequence[int]) -> np.ndarray:
        """Returns the masks of frames; see `masks.Masker`. A shot of one frame has none."""
        count, height, width = frames_THWC.shape[:3]
        size = min(width, WIDTH), max(1, round(height * min(width, WIDTH) / width))
        gray = [self._cv2.cvtColor(self._small(frame, size), self._cv2.COLOR_RGB2GRAY) for frame in frames_THWC]
        masks = [self._mask(gray, t) for t in range(count)]
        resized = (self._cv2.resize(mask, (width, height), interpolation=self._cv2.INTER_NEAREST) for mask in masks)
        return np.stack(list(resized)) > 0

    def _small(self, frame_HWC, size):
        return self._cv2.resize(frame_HWC, size, interpolation=self._cv2.INTER_AREA)

    def _mask(self, gray: list[np.ndarray], t: int) -> np.ndarray:
        """The mask of a frame, uint8, from the flow to a frame after it, or before it at the end of the shot."""
        others = [t + gap if t + gap < len(gray) else t - gap for gap in GAPS]
        others = [other for other in others if other >= 0]
        if not others:
            return np.zeros(gray[t].shape, np.uint8)
        for other in others:
            flow_HW2 = self._flow(gray[t], gray[other])
            if np.median(np.linalg.norm(flow_HW2, axis=-1)) >= ENOUGH:
                break
        off_HW = self._distance(flow_HW2)
        sure_HW = self._consistent(flow_HW2, self._flow(gray[other], gray[t])) & self._textured(gray[t])
        mask = ((off_HW > self._tolerance) & sure_HW).astype(np.uint8)
        # Single pixels are errors of the flow; holes within a thing belong to it.
        opened = self._cv2.morphologyEx(mask, self._cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        return self._cv2.morphologyEx(opened, self._cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))

    def _flow(self, one_HW: np.ndarray, other_HW: np.ndarray) -> np.ndarray:
        flow = self._cv2.DISOpticalFlow_create(self._cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        return flow.calc(one_HW, other_HW, None)

    def _consistent(self, flow_HW2: np.ndarray, back_HW2: np.ndarray) -> np.ndarray:
        """Where the flow back leads to where the flow began; not so where something is hidden or left the frame."""
        rows, columns = np.mgrid[: flow_HW2.shape[0], : flow_HW2.shape[1]].astype(np.float32)
        x_HW, y_HW = columns + flow_HW2[..., 0], rows + flow_HW2[..., 1]
        there_HW2 = self._cv2.remap(back_HW2, x_HW, y_HW, self._cv2.INTER_LINEAR, borderValue=(1e3, 1e3))
        length_HW = np.linalg.norm(flow_HW2, axis=-1)
        return np.linalg.norm(flow_HW2 + there_HW2, axis=-1) < 2 * self._tolerance + ASTRAY * length_HW

    def _textured(self, gray_HW: np.ndarray) -> np.ndarray:
        """Where there is something to follow: an even sky has any flow."""
        x_HW = gray_HW.astype(np.float32)
        mean_HW = self._cv2.blur(x_HW, (9, 9))
        return self._cv2.blur(x_HW * x_HW, (9, 9)) - mean_HW * mean_HW > TEXTURE**2

    def _distance(self, flow_HW2: np.ndarray) -> np.ndarray:
        """How far, in pixels, the flow of every pixel is from the geometry that most of them follow."""
        rows, columns = np.mgrid[: flow_HW2.shape[0], : flow_HW2.shape[1]].astype(np.float64)
        from_N2 = np.stack([columns.ravel(), rows.ravel()], axis=1)
        to_N2 = from_N2 + flow_HW2.reshape(-1, 2)
        grid = np.zeros(flow_HW2.shape[:2], bool)
        grid[GRID // 2 :: GRID, GRID // 2 :: GRID] = True
        some = grid.ravel()
        self._cv2.setRNGSeed(0)
        plane, inside = self._cv2.findHomography(from_N2[some], to_N2[some], self._cv2.USAC_MAGSAC, self._tolerance)
        if plane is not None and inside.mean() >= TURNING:
            return np.linalg.norm(_moved(plane, from_N2) - to_N2, axis=1).reshape(flow_HW2.shape[:2])
        matrix, _ = self._cv2.findFundamentalMat(from_N2[some], to_N2[some], self._cv2.USAC_MAGSAC, self._tolerance)
        if matrix is None or matrix.shape != (3, 3):
            return np.zeros(flow_HW2.shape[:2])
        return _sampson(matrix, from_N2, to_N2).reshape(flow_HW2.shape[:2])


def _moved(plane_33: np.ndarray, point_N2: np.ndarray) -> np.ndarray:
    moved_N3 = point_N2 @ plane_33[:, :2].T + plane_33[:, 2]
    return moved_N3[:, :2] / moved_N3[:, 2:]


def _sampson(matrix_33: np.ndarray, from_N2: np.ndarray, to_N2: np.ndarray) -> np.ndarray:
    """Sampson's distance from the epipolar geometry, in pixels."""
    ones = np.ones((len(from_N2), 1))
    from_N3, to_N3 = np.hstack([from_N2, ones]), np.hstack([to_N2, ones])
    line_N3, back_N3 = from_N3 @ matrix_33.T, to_N3 @ matrix_33
    slope_N = np.square(line_N3[:, :2]).sum(1) + np.square(back_N3[:, :2]).sum(1)
    return np.abs((to_N3 * line_N3).sum(1)) / np.sqrt(np.maximum(slope_N, 1e-12))
