"""Motion tags: the camera's motion as one of 27 translations x 7 rotations per frame, and plain words for it.

These are the tags of E.T. and GenDoP (GenDoP `dataset/scripts/processing/segmentation.py`,
`evaluate/eval/.../caption.py`). Velocities in the current camera's OpenGL axes (x right, y up, z back) are compared
with a threshold per axis, then smoothed until a shot has at most four segments.

Two properties of this definition matter to a caller. The translation threshold is absolute (0.02 world units per second
at 30 frames per second), so tags depend on the unit of length. The rotation threshold is per frame, so tags depend on
the number of frames. Compare only shots that are resampled to one number of frames (`tag_shot`) and have one unit.
`motion_words` names slow motions too, with their amounts, for people.
"""

import dataclasses
from collections.abc import Sequence
from itertools import product
from typing import Literal

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.trajectory import Trajectory

FRAMES = 120
"""Frames a shot is resampled to before tagging (DataDoP's shot length)."""
MAX_SEGMENTS = 4
STILL_SPEED = 0.02
"""World units per second below which an axis does not move."""
STILL_ROTATION = 0.005
"""Radians per frame below which the camera does not turn."""
DOMINANCE = 0.4
"""An axis is dropped beside another one when their speeds differ by more than this fraction of the larger."""

_TOGETHER = 256  # shots that are tagged at once
# The order of the signs is GenDoP's: a pattern's index is its class number in data sets and in metrics.
_PATTERNS = tuple(product((0, 1, -1), repeat=3))
_DIRECTIONS = (("right", "left"), ("up", "down"), ("backward", "forward"))  # + and - of x, y, z


def _directions(pattern: tuple[int, int, int]) -> list[str]:
    return [_DIRECTIONS[axis][sign < 0] for axis, sign in enumerate(pattern) if sign]


def join_words(words: Sequence[str]) -> str:
    """Returns words as one phrase: "a", "a and b", "a, b, and c"."""
    return " and ".join(words) if len(words) < 3 else f"{', '.join(words[:-1])}, and {words[-1]}"


TRANSLATION_DIRECTIONS = tuple(join_words(_directions(pattern)) for pattern in _PATTERNS)
"""For every translation class its directions in words ("right and up"); "" for class 0, static."""
TRANSLATION_NAMES = tuple(f"move {words}" if words else "static" for words in TRANSLATION_DIRECTIONS)
# In OpenGL axes a positive turn about x, y and z is a pitch up, a yaw left and a roll left.
ROTATION_NAMES = ("static", "pitch up", "pitch down", "yaw left", "yaw right", "roll left", "roll right")
NUM_LABELS = len(TRANSLATION_NAMES) * len(ROTATION_NAMES)


@dataclasses.dataclass(frozen=True)
class Segment:
    """A run of frames with one motion.

    Attributes:
        start, end: first frame, and end frame exclusive.
        translation: class 0..26, an index of `TRANSLATION_NAMES`.
        rotation: class 0..6, an index of `ROTATION_NAMES`.
    """

    start: int
    end: int
    translation: int
    rotation: int

    @property
    def name(self) -> str:
        """Name of the motion, such as "move right + yaw left"."""
        turn = f" + {ROTATION_NAMES[self.rotation]}" if self.rotation else ""
        return TRANSLATION_NAMES[self.translation] + turn

    @property
    def label(self) -> int:
        """Both classes in one number, 7 * translation + rotation."""
        return self.translation * len(ROTATION_NAMES) + self.rotation

    @property
    def is_static(self) -> bool:
        """True when the camera neither moves nor turns."""
        return self.label == 0

    def __len__(self):
        return self.end - self.start


def tag_labels(pose_T34: np.ndarray, camera: Literal["opencv", "opengl"] = "opencv", fps: float = 30.0) -> np.ndarray:
    """Returns a smoothed label, 7 * translation + rotation in 0..188, for each step between neighbouring frames.

    Source: GenDoP `evaluate/eval/src/metrics/modules/caption.py`.

    Args:
        pose_T34: [T, 3, 4] camera-to-world poses of one shot, in any world, even a left-handed one.
        camera: axes of the camera frame, "opencv" (y down, z forward; default) or "opengl" (y up, z back).
        fps: frames per second, for the translation threshold, which is per second; default 30. Rotations are compared
            per frame.

    Returns:
        [T - 1] int64 labels; empty for a single pose.

    Raises:
        ValueError: the poses are not [T, 3, 4], or `camera` is unknown.
    """
    pose_T34 = np.asarray(pose_T34, np.float64)
    if pose_T34.ndim != 3 or pose_T34.shape[1:] != (3, 4):
        raise ValueError(f"motion tags need poses of shape [T, 3, 4], got {pose_T34.shape}")
    if camera not in ("opencv", "opengl"):
        raise ValueError(f'camera axes must be "opencv" or "opengl", got {camera!r}')
    # The classes are named in OpenGL axes, in which up is +y and forward is -z.
    if camera == "opencv":
        pose_T34 = se3.flip_yz(pose_T34)
    return smooth(_raw_labels(pose_T34[None], fps)[0])


def _raw_labels(pose_NT34: np.ndarray, fps: float) -> np.ndarray:
    """The labels [N, T - 1] of N shots in OpenGL axes before smoothing."""
    # A step seen from its own camera does not depend on the world. ReCamMaster's world is left-handed, but its steps
    # are not.
    step_34 = se3.relative(pose_NT34[:, :-1], pose_NT34[:, 1:]).reshape(-1, 3, 4)
    # Only the translation becomes a velocity: the original compares rotations per frame.
    labels = classify(fps * step_34[..., 3], se3.so3_log(step_34[..., :3]))
    return labels.reshape(len(pose_NT34), -1)


def classify(
    move_T3: np.ndarray, turn_T3: np.ndarray, still_move: float = STILL_SPEED, still_turn: float = STILL_ROTATION
) -> np.ndarray:
    """Returns a label, 7 * translation + rotation in 0..188, for each step, without smoothing.

    Args:
        move_T3: [T, 3] translations along the camera's OpenGL axes (x right, y up, z back), or velocities.
        turn_T3: [T, 3] rotation vectors in the same axes.
        still_move: translation in units of `move_T3` below which an axis does not move.
        still_turn: rotation in units of `turn_T3` below which the camera does not turn.
    """
    return len(ROTATION_NAMES) * _translation_class(move_T3, still_move) + _rotation_class(turn_T3, still_turn)


def segments(labels: np.ndarray) -> list[Segment]:
    """Returns the runs of equal label in order; their `start` and `end` (exclusive) are indices of the labels."""
    values, lengths = _runs(np.asarray(labels))
    ends = np.cumsum(lengths).tolist()
    return [
        Segment(end - length, end, *divmod(value, len(ROTATION_NAMES)))
        for value, length, end in zip(values, lengths, ends, strict=True)
    ]


def shot_labels(pose_T34: np.ndarray, frames: int = FRAMES) -> np.ndarray:
    """Returns the labels [frames - 1] of one shot [T, 3, 4] (OpenCV camera-to-world), resampled to `frames` poses.

    The resampled poses cover the shot's whole length. `frames` defaults to 120.
    """
    return labels_of_shots([pose_T34], frames)[0]


def labels_of_shots(paths: Sequence[np.ndarray], frames: int = FRAMES) -> np.ndarray:
    """Returns the labels [N, frames - 1] of N shots, each as `shot_labels`; together they take a fraction of the time.

    Raises:
        ValueError: a path is not [T, 3, 4], or there are none.
    """
    paths = [np.asarray(pose_T34, np.float64) for pose_T34 in paths]
    if wrong := [path.shape for path in paths if path.ndim != 3 or path.shape[1:] != (3, 4) or not len(path)]:
        raise ValueError(f"motion tags need poses of shape [T, 3, 4], got {wrong[0]}")
    if not paths:
        raise ValueError("no shot to tag")
    # In parts, as the counts of the mode filter are 20 times as large as the poses.
    parts = [paths[i : i + _TOGETHER] for i in range(0, len(paths), _TOGETHER)]
    raw = (_raw_labels(se3.flip_yz(se3.resample_whole(part, frames)), 30.0) for part in parts)
    return np.concatenate([_smooth(labels_NT) for labels_NT in raw])


def tag_shot(pose_T34: np.ndarray, frames: int = FRAMES) -> list[Segment]:
    """Returns the segments of one shot, at most four, which index the labels of `shot_labels`: [0, frames - 1)."""
    return segments(shot_labels(pose_T34, frames))


def tag_trajectory(trajectory: Trajectory, frames: int = FRAMES) -> list[list[Segment]]:
    """Returns the segments of each shot for display, in the shot's own frame numbers.

    The segments of a shot begin at frame 0 and cover all its frames. Each shot is tagged by `tag_shot`; a segment
    shorter than half a frame of the shot is left out.
    """
    result = []
    for start, end in trajectory.spans:
        # There is one label less than poses; the labels are stretched, so that the last frame of the shot is covered
        # too.
        ratio = (end - start) / (frames - 1)
        shot = [
            dataclasses.replace(segment, start=round(segment.start * ratio), end=round(segment.end * ratio))
            for segment in tag_shot(trajectory.pose_T34[start:end], frames)
        ]
        result.append([segment for segment in shot if len(segment)])
    return result


def tag_lines(trajectory: Trajectory) -> list[str]:
    """Returns one text per shot: the names of its motions, in order, joined by ", then "."""
    return [", then ".join(segment.name for segment in shot) for shot in tag_trajectory(trajectory)]


def dominant_motion(shot: Sequence[Segment]) -> tuple[int, int]:
    """Returns the motion by which a director would name the shot, as (translation class, rotation class).

    It is the motion with most frames, in one segment or several; the first of equals. Static segments count only when
    there are no others: a shot that holds for four seconds and then pans for two is a pan.
    """
    frames: dict[tuple[int, int], int] = {}
    for segment in shot:
        if not segment.is_static:
            key = (segment.translation, segment.rotation)
            frames[key] = frames.get(key, 0) + len(segment)
    return max(frames, key=frames.get) if frames else (0, 0)


def outline(shot: Sequence[Segment]) -> str:
    """Returns GenDoP's outline of a shot, from which its captions were written (`processing/captioning.py`).

    For example: "Outline: Total frames 119. [Camera motion] Between frames 0 and 29: move right + yaw left; ...". The
    end frames are inclusive.
    """
    parts = [f"Between frames {segment.start} and {segment.end - 1}: {segment.name}" for segment in shot]
    total = shot[-1].end if shot else 0
    return f"Outline: Total frames {total}. [Camera motion] {'; '.join(parts)}"


def describe(shot: Sequence[Segment], style: Literal["plain", "film"] = "plain") -> str:
    """Returns one sentence that describes a shot.

    Args:
        shot: its segments; no segments are described as a static camera.
        style: "plain" is the wording of GenDoP's `Movement` captions ("The camera moves right while yawing left, then
            shifts right and forward, and finally remains static."); "film" the words of a set ("The camera arcs right,
            then pushes in, and finally holds.").

    Raises:
        ValueError: the style is unknown.
    """
    vocabulary = {"plain": _plain_phrase, "film": _film_phrase}
    if style not in vocabulary:
        raise ValueError(f'style must be "plain" or "film", got {style!r}')
    shot = list(shot) or [Segment(0, 1, 0, 0)]
    phrases = [vocabulary[style](shot[:i], segment) for i, segment in enumerate(shot)]
    last = ", and finally " if len(phrases) > 2 else ", then "
    sentence = last.join([", then ".join(phrases[:-1]), phrases[-1]] if len(phrases) > 1 else phrases)
    return f"The camera {sentence}."


# Words

_VERBS = {
    "pitch": ("pitches", "pitching"),
    "yaw": ("yaws", "yawing"),
    "tilt": ("tilts", "tilting"),
    "pan": ("pans", "panning"),
    "roll": ("rolls", "rolling"),
}


def _plain_phrase(before: list[Segment], segment: Segment) -> str:
    """The segment as a verb phrase in the third person; its wording depends on the segments `before` it."""
    previous = before[-1] if before else None
    same_turn = previous is not None and segment.rotation and previous.rotation == segment.rotation
    if segment.is_static:
        return "remains static again" if any(s.is_static for s in before) else "remains static"
    if segment.rotation:
        verb, side = ROTATION_NAMES[segment.rotation].split()
        turns, turning = _VERBS[verb]
    if not segment.translation:
        return f"keeps {turning} {side} in place" if same_turn else f"{turns} {side} in place"
    words = TRANSLATION_DIRECTIONS[segment.translation]
    if previous is None or not previous.translation:
        phrase = f"moves {words}"
    else:
        phrase = f"{'continues' if previous.translation == segment.translation else 'shifts'} {words}"
    if same_turn:
        return f"{phrase} while continuing to {verb} {side}"
    return f"{phrase} while {turning} {side}" if segment.rotation else phrase


_FILM_MOVES = {
    "right": "trucks right",
    "left": "trucks left",
    "up": "cranes up",
    "down": "cranes down",
    "backward": "pulls back",
    "forward": "pushes in",
}
_FILM_TURNS = ("", "tilt up", "tilt down", "pan left", "pan right", "roll left", "roll right")
_ARCS = {("right", "yaw left"): "arcs right", ("left", "yaw right"): "arcs left"}


def _film_phrase(before: list[Segment], segment: Segment) -> str:
    """As `_plain_phrase`, in the words of a film set. Moving sideways against a pan is an arc around the subject."""
    if segment.is_static:
        return "holds again" if any(s.is_static for s in before) else "holds"
    if segment.rotation:
        verb, side = _FILM_TURNS[segment.rotation].split()
        turns, turning = _VERBS[verb]
    if not segment.translation:
        return f"{turns} {side}"
    words = _directions(_PATTERNS[segment.translation])
    arc = _ARCS.get((words[0], ROTATION_NAMES[segment.rotation]))
    moves = [arc or _FILM_MOVES[words[0]], *(_FILM_MOVES[word] for word in words[1:])]
    phrase = join_words(moves)
    return f"{phrase} while {turning} {side}" if segment.rotation and not arc else phrase


# Classes of single steps


def _translation_class(v_T3: np.ndarray, still: float) -> np.ndarray:
    """Velocities, OpenGL axes → class 9 c(x) + 3 c(y) + c(z), c(0) = 0, c(+) = 1, c(-) = 2."""
    speed = np.abs(v_T3)
    moving = speed > still
    keep = moving.copy()
    # A push forward with a little drift to the side is tagged "forward": of two moving axes the much slower one is
    # dropped. All pairs are compared before any is dropped, as in the original.
    for a, b in ((0, 1), (0, 2), (1, 2)):
        larger = np.maximum(speed[:, a], speed[:, b])
        ratio = (speed[:, a] - speed[:, b]) / np.where(larger > 0, larger, 1.0)
        compared = moving[:, a] & moving[:, b]
        keep[:, b] &= ~(compared & (ratio > DOMINANCE))
        keep[:, a] &= ~(compared & (ratio < -DOMINANCE))
    sign = np.where(keep, np.sign(v_T3), 0.0).astype(np.int64)
    return (sign % 3) @ np.asarray([9, 3, 1])  # -1 becomes digit 2 of a number in base 3


def _rotation_class(w_T3: np.ndarray, still: float) -> np.ndarray:
    """Rotation vectors, OpenGL axes → class 0..6; a tie of the two largest axes is no rotation."""
    size = np.abs(w_T3)
    axis = size.argmax(1)
    ordered = np.sort(size, axis=1)
    turning = (ordered[:, 2] > still) & (ordered[:, 2] > ordered[:, 1])
    negative = np.take_along_axis(w_T3, axis[:, None], 1)[:, 0] < 0
    return np.where(turning, 1 + 2 * axis + negative, 0)


# Smoothing


def smooth(raw: np.ndarray) -> np.ndarray:
    """Returns labels with at most `MAX_SEGMENTS` segments: a mode filter and the removal of short runs, ever larger."""
    return _smooth(np.asarray(raw)[None])[0]


def _smooth(raw_NT: np.ndarray) -> np.ndarray:
    """`smooth` of N shots of one length."""
    # Every round starts from the raw labels: filtering twice would move the edges between segments.
    # GenDoP's configs name other sizes, but its code overwrites them with these and adds 5 in each round.
    window, shortest, result_NT = 15, 10, raw_NT.copy()
    left_N = np.arange(len(raw_NT))  # the shots that still have too many segments
    while len(left_N):
        labels_NT = _mode_filter(raw_NT[left_N], window)
        for labels_T in labels_NT:
            _remove_short(labels_T, shortest)
        result_NT[left_N] = labels_NT
        left_N = left_N[np.count_nonzero(np.diff(labels_NT), axis=1) >= MAX_SEGMENTS]
        window, shortest = window + 5, shortest + 5
    return result_NT


def _mode_filter(labels_NT: np.ndarray, window: int) -> np.ndarray:
    """The most frequent label within `window // 2` of each position, the smallest of equals.

    Fewer labels than `window` are returned as they are.
    """
    (count, total), half = labels_NT.shape, window // 2
    # The original leaves a shot that is shorter than its window as it is.
    if total < window:
        return labels_NT
    # The labels of each shot are numbered from 0, so that few have to be counted.
    row_N1 = np.arange(count)[:, None]
    values, code = np.unique(NUM_LABELS * row_N1 + labels_NT, return_inverse=True)
    first_N1 = np.searchsorted(values, NUM_LABELS * row_N1)
    code_NT = code.reshape(count, total) - first_N1
    # Running sums of each label's occurrences give all windows at once; near the ends the windows are shorter.
    sums_NTV = np.zeros((count, total + 1, code_NT.max() + 1), np.int16)
    np.cumsum(code_NT[..., None] == np.arange(sums_NTV.shape[-1]), axis=1, out=sums_NTV[:, 1:])
    at = np.arange(total)
    inside_NTV = sums_NTV[:, np.minimum(at + half + 1, total)] - sums_NTV[:, np.maximum(at - half, 0)]
    # `argmax` takes the first of equals and `values` ascend: the smallest label wins, as with scipy's mode in the
    # original.
    return values[first_N1 + inside_NTV.argmax(-1)] - NUM_LABELS * row_N1


def _runs(labels: np.ndarray) -> tuple[list[int], list[int]]:
    """Values and lengths of the runs of equal label."""
    if not len(labels):
        return [], []
    starts = np.concatenate([[0], np.flatnonzero(np.diff(labels)) + 1])
    return labels[starts].tolist(), np.diff(np.append(starts, len(labels))).tolist()


def _remove_short(labels: np.ndarray, shortest: int) -> None:
    """Gives runs shorter than `shortest` to their neighbours, the shortest run first; `labels` are changed in place.

    Each neighbour gets half; an odd frame goes to the left one.
    """
    values, lengths = _runs(labels)
    if len(lengths) < 2 or min(lengths) >= shortest:
        return
    # Neighbours of equal label that meet when a run between them is removed are not joined, as in the original: their
    # two lengths are still compared with `shortest` one by one.
    while len(lengths) > 1 and (length := min(lengths)) < shortest:
        # Of equally short runs the first one goes, as in the original; another order gives other labels.
        i = lengths.index(length)
        if i == 0:
            lengths[1] += length
        elif i == len(lengths) - 1:
            lengths[-2] += length
        else:
            lengths[i - 1] += length - length // 2
            lengths[i + 1] += length // 2
        del values[i], lengths[i]
    labels[:] = np.repeat(np.asarray(values, np.int64), lengths)
