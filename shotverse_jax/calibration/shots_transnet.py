"""The detector "transnetv2": TransNetV2 (arXiv 2008.04838) with its published weights."""

import functools
from collections.abc import Iterable, Iterator

import jax
import numpy as np

from shotverse_jax import weights
from shotverse_jax.calibration.shots import Transition
from shotverse_jax.limits import finite
from shotverse_jax.models.transnetv2 import COLUMNS, ROWS

NAME = "transnetv2"
WINDOW, STRIDE = 100, 50
"""Frames that the network sees at once, and those in the middle whose answers count."""
SPREAD = 3
"""Frames of a transition, by the network's second answer, from which it is gradual: at a cut it names two or three."""


class TransNet:
    """The detector.

    threshold: probability of a cut above which there is one; default 0.5. Renders of the stage, and films that were
        generated, need about 0.3.
    model: name or folder of the network.

    Raises:
        ValueError: the weights were not fetched.
    """

    scaling = "bicubic"

    def __init__(self, threshold: float = 0.5, model: str = NAME):
        self._threshold = finite(threshold, "the threshold of a cut (a probability)", 0, 1)
        loaded = weights.load("transnetv2", model)
        module, _ = weights.KINDS["transnetv2"].build(loaded.config)
        self._network = jax.jit(functools.partial(module.apply, {"params": loaded.params}))

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Returns 48x27, whatever the shape of the picture; see `shots.Detector`."""
        return COLUMNS, ROWS

    def __call__(self, frames: Iterable[np.ndarray]) -> list[Transition]:
        """Returns the transitions; see `shots.Detector`."""
        cut_T, change_T = self.probabilities(frames)
        return transitions(cut_T, change_T, self._threshold)

    def probabilities(self, frames: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Returns the probabilities [T] that a cut follows a frame, and that a frame is in a transition."""
        parts, count = [], 0
        for window_THWC, new in windows(frames):
            logits = self._network(window_THWC[None])
            middle = slice((WINDOW - STRIDE) // 2, (WINDOW + STRIDE) // 2)
            parts.append([1 / (1 + np.exp(-np.asarray(logit_BT)[0, middle])) for logit_BT in logits])
            count += new
        if not parts:
            return np.zeros(0), np.zeros(0)
        cut_T, change_T = np.concatenate(parts, axis=1)
        return cut_T[:count], change_T[:count]


def windows(frames: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, int]]:
    """Yields windows [100, H, W, 3] that follow each other by 50 frames, and how many frames are new in their middle.

    The first and the last frame are repeated before and after the film.
    """
    edge = (WINDOW - STRIDE) // 2
    held: list[np.ndarray] = []
    left = 0  # frames of the film that no window had in its middle yet
    for frame in frames:
        held += [frame] * (1 if held else edge + 1)
        left += 1
        if len(held) == WINDOW:
            yield np.stack(held), STRIDE
            held, left = held[STRIDE:], left - STRIDE
    while left > 0:
        yield np.stack(held + held[-1:] * (WINDOW - len(held))), min(left, STRIDE)
        held, left = held[STRIDE:] or held[-1:], left - STRIDE


def transitions(cut_T: np.ndarray, change_T: np.ndarray, threshold: float) -> list[Transition]:
    """Returns the transitions that the two answers of the network name.

    Each run of frames above the threshold is one; its best frame is the last of the old shot. Where the second answer
    is above the threshold in more than `SPREAD` frames around it, the transition is gradual and takes these.
    """
    found = []
    for first, end in _runs(cut_T > threshold):
        best = first + int(np.argmax(cut_T[first:end]))
        score = float(cut_T[best])
        around = [run for run in _runs(change_T > threshold) if run[0] <= best < run[1]]
        start, stop = around[0] if around else (best, best + 1)
        if best + 1 >= len(cut_T):
            continue  # nothing follows the last frame
        if stop - start > SPREAD:
            found.append(Transition(start, min(stop, len(cut_T)), "dissolve", score))
        else:
            found.append(Transition(best + 1, best + 1, "cut", score))
    return [one for i, one in enumerate(found) if i == 0 or one.start >= found[i - 1].end and one != found[i - 1]]


def _runs(true_T: np.ndarray) -> list[tuple[int, int]]:
    """[start, end) of the runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], true_T.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
