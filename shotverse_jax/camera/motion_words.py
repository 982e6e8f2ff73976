"""The camera's motion as a person would say it: which way, and how far ("pans right 20°, then moves left 0.3 m").

`motion_tags` has the tags that scores are counted in. Their thresholds are per frame and per second, so that a pan of
20 degrees in five seconds is "static" there. Here a motion counts by its amount, however slow it is.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.motion_tags import (
    FRAMES,
    NUM_LABELS,
    ROTATION_NAMES,
    TRANSLATION_NAMES,
    classify,
    join_words,
    segments,
    smooth,
)
from shotverse_jax.camera.trajectory import Trajectory

LEAST_MOVE = 0.05
"""World units: a smaller move counts as none."""
LEAST_TURN = 2.0
"""Degrees: a smaller turn counts as none."""
LEAST_ZOOM = 1.03
"""Ratio of focal lengths: a smaller one counts as no zoom."""
MINOR = 0.25
"""A direction is left unsaid beside another one when its amount is a smaller fraction of the larger."""
_STEADY = 9  # steps of a resampled shot over which velocities are averaged, so that a shaking hand is no motion

_MOVES = (("right", "left"), ("up", "down"), ("back", "forward"))  # + and - of x, y, z in OpenGL axes
_TURNS = (("tilt", "up", "down"), ("pan", "left", "right"), ("roll", "left", "right"))  # + and - about x, y, z
_THIRD = {"tilt": "tilts", "pan": "pans", "roll": "rolls"}


@dataclasses.dataclass(frozen=True)
class Motion:
    """What a camera does in a run of frames.

    Attributes:
        start, end: first frame in its shot, and end frame exclusive.
        move_3: world units that it moves to its own right, up and back (negative: left, down, forward).
        turn_3: degrees that it tilts up, pans left and rolls left (negative: down, right, right).
        zoom: focal length at the end over that at the start; above 1 it zooms in.
    """

    start: int
    end: int
    move_3: tuple[float, float, float]
    turn_3: tuple[float, float, float]
    zoom: float

    @property
    def label(self) -> int:
        """The class of the motion as in `motion_tags`, by its amounts."""
        [label] = classify(np.array([self.move_3]), np.radians([self.turn_3]), LEAST_MOVE, np.radians(LEAST_TURN))
        return int(label)

    @property
    def name(self) -> str:
        """Name of the motion in the words of `motion_tags`, such as "static + yaw right"; a zoom is added."""
        translation, rotation = divmod(self.label, len(ROTATION_NAMES))
        turn = f" + {ROTATION_NAMES[rotation]}" if rotation else ""
        return TRANSLATION_NAMES[translation] + turn + (f" + zoom {self.zooms}" if self.zooms else "")

    @property
    def words(self) -> str:
        """The motion as a phrase with its amounts: "moves left 0.3 m while panning right 20°"; "holds" for none."""
        moves = [f"{_MOVES[axis][size < 0]} {_metres(size)}" for axis, size in _said(self.move_3, LEAST_MOVE)]
        turns = [(*_TURNS[axis], size) for axis, size in _said(self.turn_3, LEAST_TURN)]
        turned = [f"{_THIRD[verb]} {right if size < 0 else left} {_degrees(size)}" for verb, left, right, size in turns]
        if moves and turns:
            turning = {"tilt": "tilting", "pan": "panning", "roll": "rolling"}
            beside = [f"{turning[verb]} {b if size < 0 else a} {_degrees(size)}" for verb, a, b, size in turns]
            phrases = [f"moves {join_words(moves)} while {join_words(beside)}"]
        else:
            phrases = [f"moves {join_words(moves)}"] * bool(moves) + turned
        if self.zooms:
            phrases.append(f"zooms {self.zooms} {max(self.zoom, 1 / self.zoom):.2g}x")
        return join_words(phrases) or "holds"

    @property
    def values(self) -> dict[str, float | dict[str, float]]:
        """The amounts for a program: world units, degrees and a ratio."""
        move = {"right": self.move_3[0], "up": self.move_3[1], "forward": -self.move_3[2]}
        turn = {"up": self.turn_3[0], "right": -self.turn_3[1], "roll_right": -self.turn_3[2]}
        return {
            "move": {name: round(size, 6) + 0.0 for name, size in move.items()},
            "turn_degrees": {name: round(size, 6) + 0.0 for name, size in turn.items()},
            "zoom": round(self.zoom, 6),
        }

    @property
    def zooms(self) -> str:
        """The way of the zoom, "in" or "out"; "" for one below `LEAST_ZOOM`."""
        if max(self.zoom, 1 / self.zoom) < LEAST_ZOOM:
            return ""
        return "in" if self.zoom > 1 else "out"


def motions(trajectory: Trajectory) -> list[list[Motion]]:
    """Returns the motions of each shot, at most four, in the shot's own frame numbers. They cover all its frames."""
    return [_shot(trajectory.shot(index)) for index in range(trajectory.num_shots)]


def sentence(shot: Sequence[Motion]) -> str:
    """Returns one sentence about a shot: "The camera pans right 20°, then holds."."""
    phrases = [motion.words for motion in shot]
    last = ", and finally " if len(phrases) > 2 else ", then "
    return f"The camera {last.join([', then '.join(phrases[:-1]), phrases[-1]] if len(phrases) > 1 else phrases)}."


def lines(trajectory: Trajectory) -> list[str]:
    """Returns one text per shot: what the camera does, in order, joined by ", then "."""
    return [", then ".join(motion.words for motion in shot) for shot in motions(trajectory)]


def _shot(shot: Trajectory) -> list[Motion]:
    total = len(shot)
    move_T3, turn_T3 = _amounts(shot.pose_T34)  # summed up to each frame
    result: list[Motion] = []
    for start, end in _runs(shot):
        last = min(end, total - 1)
        focal = shot.intrinsics_T4[[start, last], 0]
        whole = (move_T3[last] - move_T3[start], np.degrees(turn_T3[last] - turn_T3[start]))
        motion = Motion(start, end, *(tuple(map(float, amount)) for amount in whole), float(focal[1] / focal[0]))
        # What is the same to a person was cut in two by a class that is none by its amount.
        if result and (result[-1].label, result[-1].zooms) == (motion.label, motion.zooms):
            motion = _joined(result.pop(), motion)
        result.append(motion)
    return result


def _amounts(pose_T34: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Moves and turns (radians) from the first frame to each, [T, 3]: sums of steps in the camera's own axes."""
    pose_T34 = se3.flip_yz(pose_T34)  # to OpenGL axes, in which classes are named
    step_34 = se3.relative(pose_T34[:-1], pose_T34[1:])
    parts = (step_34[..., 3], se3.so3_log(step_34[..., :3]))
    return tuple(np.concatenate([np.zeros((1, 3)), np.cumsum(part, axis=0)]) for part in parts)


def _runs(shot: Trajectory) -> list[tuple[int, int]]:
    """(start, end) frames of runs of one motion. Each threshold is what a motion amounts to in the whole shot."""
    total = len(shot)
    if total == 1:
        return [(0, 1)]
    at = np.linspace(0.0, total - 1.0, FRAMES)
    frame_T = np.arange(total)
    velocities = []
    for amount_T3 in (*_amounts(shot.pose_T34), np.log(shot.intrinsics_T4[:, :1])):
        sampled = np.stack([np.interp(at, frame_T, column) for column in amount_T3.T], axis=1)
        padded = np.pad(np.diff(sampled, axis=0), ((_STEADY // 2, _STEADY // 2), (0, 0)), mode="edge")
        steady = np.stack([np.convolve(column, np.full(_STEADY, 1 / _STEADY), "valid") for column in padded.T], axis=1)
        velocities.append(steady * (FRAMES - 1))
    *motion, zoom_T1 = velocities
    zoom_T = np.abs(zoom_T1[:, 0]) >= np.log(LEAST_ZOOM)
    # A zoom in and a zoom out have labels of their own beside each motion; only the edges of the runs are used.
    kind_T = np.where(zoom_T, np.where(zoom_T1[:, 0] > 0, 1, 2), 0)
    labels = smooth(classify(*motion, LEAST_MOVE, np.radians(LEAST_TURN)) + NUM_LABELS * kind_T)
    edges = [round(run.end * total / (FRAMES - 1)) for run in segments(labels)]
    return [(start, end) for start, end in zip([0, *edges[:-1]], edges, strict=True) if end > start]


def _joined(one: Motion, other: Motion) -> Motion:
    move, turn = (
        tuple(a + b for a, b in zip(*parts, strict=True))
        for parts in ((one.move_3, other.move_3), (one.turn_3, other.turn_3))
    )
    return Motion(one.start, other.end, move, turn, one.zoom * other.zoom)


def _said(amounts: Sequence[float], least: float) -> list[tuple[int, float]]:
    """(axis, amount) of what is worth saying, the largest first."""
    largest = max(map(abs, amounts))
    kept = [(axis, size) for axis, size in enumerate(amounts) if abs(size) >= max(least, MINOR * largest)]
    return sorted(kept, key=lambda one: -abs(one[1]))


def _metres(size: float) -> str:
    size = abs(size)
    return f"{size:.2g} m" if size < 10 else f"{size:.0f} m"


def _degrees(size: float) -> str:
    size = abs(size)
    return f"{size:.0f}°" if size >= 9.95 else f"{size:.1f}°".replace(".0°", "°")
