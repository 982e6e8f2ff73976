"""Transitions without a network: changes between neighbouring frames, and blends of what is before and after.

Cuts are those of `evaluation.metrics.cuts`. Gradual transitions are sought with the definition of a dissolve: each of
its frames is a blend of the frames at its two ends, in proportion to the time, and these two show different pictures.
A blend has fainter edges than the two pictures, while a camera that moves keeps them. A fade is a dissolve from or to
one colour.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from shotverse_jax.calibration.shots import Transition
from shotverse_jax.evaluation.metrics import cuts
from shotverse_jax.limits import finite

ROWS = 64
"""Rows of the frames that are compared; the weights of `metrics.cuts` were fitted to such frames."""
CHUNK = 64
"""Frames that are reduced at once."""
SPANS = (6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64)
"""Lengths of gradual transitions in frames."""
FLAT = 6.0
"""Deviation, in levels of 255, below which a picture is of one colour."""
ALIKE = 0.7
"""Correlation of two pictures above which they are the same, in another light or moved a little."""
CHANGE = 12.0
"""Mean difference of pixels, in levels of 255, of two pictures that are of different shots."""
FAINT = 0.75
"""Energy of the edges in the middle of a blend, by the mean of its two ends: a half where these are equally sharp."""
INNER = (0.25, 0.5, 0.75)
"""Parts of the time of a transition at which its frames are compared with blends."""


class Difference:
    """The detector "difference".

    threshold: log-odds above which a change is a cut; default 0. More finds fewer cuts.
    blend: the largest distance of a frame of a dissolve from the blend, as a share of the distance of its two ends;
        default 0.25. 0 seeks no gradual transitions.
    """

    scaling = "area"

    def __init__(self, threshold: float = 0.0, blend: float = 0.25):
        self._threshold = finite(threshold, "the threshold of a cut (log-odds)", -100, 100)
        self._blend = finite(blend, "the distance from a blend", 0, 1)

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Returns a size of 64 rows; see `shots.Detector`."""
        return max(ROWS // 4, round(ROWS * width / height)), ROWS

    def __call__(self, frames: Iterable[np.ndarray]) -> list[Transition]:
        """Returns the transitions; see `shots.Detector`."""
        changes, small, edges = [], [], []
        for chunk_THWC in _chunks(frames):
            changes.append(cuts.changes(chunk_THWC))
            # The last frame comes again as the first one of the next chunk.
            new_THWC = chunk_THWC[1 if small else 0 :]
            small.append(_thumbnails(new_THWC))
            edges.append(_edges(new_THWC))
        if not small:
            return []
        small_TN = np.concatenate(small)
        gradual = find_blends(small_TN, np.concatenate(edges), self._blend) if self._blend else []
        if len(small_TN) < 2 * cuts.LEAST_FRAMES:
            return gradual
        odds_C = cuts.cut_odds(*(np.concatenate(measure) for measure in zip(*changes, strict=True)))
        found = cuts.cuts_of_odds(odds_C - self._threshold)
        hard = [Transition(frame, frame, "cut", float(1 / (1 + np.exp(-odds_C[frame - 1])))) for frame in found]
        return merged(hard, gradual)


def merged(hard: list[Transition], gradual: list[Transition]) -> list[Transition]:
    """Returns cuts and gradual transitions in order, without the cuts within or at the ends of gradual ones."""
    kept = [cut for cut in hard if not any(g.start - 1 <= cut.start <= g.end + 1 for g in gradual)]
    return sorted([*kept, *gradual])


def _chunks(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Stacks of frames, of which each begins with the last frame of the one before."""
    held: list[np.ndarray] = []
    new = False
    for frame in frames:
        held.append(frame)
        new = True
        if len(held) == CHUNK:
            yield np.stack(held)
            held, new = held[-1:], False
    if new:
        yield np.stack(held)


def _thumbnails(video_THWC: np.ndarray) -> np.ndarray:
    """Frames of 12 rows, [T, N] uint8: about a kilobyte a frame, so that those of a long film fit the memory."""
    small = cuts.pooled(video_THWC.astype(np.float32), 12)
    return small.round().astype(np.uint8).reshape(len(small), -1)


def _edges(video_THWC: np.ndarray) -> np.ndarray:
    """The energy of the edges of frames, [T]: the mean square of the differences between neighbouring pixels."""
    luma_THW = video_THWC.astype(np.float32).mean(-1)
    return np.square(np.diff(luma_THW, axis=1)).mean((1, 2)) + np.square(np.diff(luma_THW, axis=2)).mean((1, 2))


def find_blends(small_TN: np.ndarray, edges_T: np.ndarray, most: float) -> list[Transition]:
    """Returns the gradual transitions of a film.

    Args:
        small_TN: [T, N] uint8, the values of reduced frames.
        edges_T: [T] the energy of their edges.
        most: the largest distance from a blend, as a share of the distance of the two ends.
    """
    found = []
    for span in SPANS:
        for start in range(0, len(small_TN) - span, CHUNK * 8):
            # [S] starts of a transition of this length.
            starts_S = np.arange(start, min(start + CHUNK * 8, len(small_TN) - span))
            score_S, flat_S = _blend_scores(small_TN, starts_S, span, most)
            faint_S = edges_T[starts_S + span // 2] < FAINT / 2 * (edges_T[starts_S] + edges_T[starts_S + span])
            score_S = np.where(faint_S, score_S, 0)
            found += [(score_S[i], int(starts_S[i]), span, bool(flat_S[i])) for i in np.flatnonzero(score_S > 0)]
    chosen: list[Transition] = []
    # The best first. A longer span shows more of a change, so its score is larger as long as it is a blend.
    for score, start, span, flat in sorted(found, reverse=True):
        if all(start >= t.end or start + span <= t.start for t in chosen):
            # The first frame of the blend is still wholly of the old shot; a film that begins with a fade has none.
            kind = "fade" if flat else "dissolve"
            chosen.append(Transition(start + (start > 0), start + span, kind, min(1.0, float(score))))
    return _through_black(sorted(chosen), small_TN)


def _blend_scores(small_TN, starts_S, span, most):
    """How much the frames from each start to `span` frames later are a blend (above 0), and whether an end is flat."""
    first_SN, last_SN = small_TN[starts_S].astype(np.float32), small_TN[starts_S + span].astype(np.float32)
    change_S = np.abs(last_SN - first_SN).mean(1)
    off_S = np.zeros(len(starts_S), np.float32)
    for part in INNER:
        step = round(part * span)
        blend_SN = first_SN + (last_SN - first_SN) * (step / span)
        off_S = np.maximum(off_S, np.abs(small_TN[starts_S + step] - blend_SN).mean(1))
    contrast_2S = np.stack([first_SN.std(1), last_SN.std(1)])
    flat_S = contrast_2S.min(0) < FLAT
    # A change of light or a slow move keeps the picture: its two ends are alike once brightness and contrast are even.
    alike_S = ((first_SN - first_SN.mean(1, keepdims=True)) * (last_SN - last_SN.mean(1, keepdims=True))).mean(1)
    alike_S = alike_S / np.maximum(contrast_2S.prod(0), 1e-6)
    another_S = (flat_S & (contrast_2S.max(0) > 2 * FLAT)) | (~flat_S & (alike_S < ALIKE))
    good_S = another_S & (change_S > CHANGE) & (off_S < most * change_S)
    return np.where(good_S, (1 - off_S / np.maximum(change_S, 1e-6)) * change_S / 255, 0), flat_S


def _through_black(gradual: list[Transition], small_TN: np.ndarray) -> list[Transition]:
    """The transitions with a fade out and the fade in after it as one, where all between them is of one colour."""
    joined: list[Transition] = []
    for one in gradual:
        last = joined[-1] if joined else None
        between = last and small_TN[last.end : one.start].astype(np.float32)
        if last and last.kind == one.kind == "fade" and between.std(1).max(initial=0) < FLAT:
            joined[-1] = Transition(last.start, one.end, "fade", max(last.score, one.score))
        else:
            joined.append(one)
    return joined
