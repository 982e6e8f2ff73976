"""What a shot of the stage shows, read from its cameras and its scene, and said in fixed words.

The captions of `captions.py` are what people may ask for, in thousands of forms. These are answers: one form, the same
for the same picture, so that a small network learns to write them and a program reads them back.

    The camera moves left while panning right, then holds still. Medium close-up, eye level: a woman in a red coat,
    frame left. It ends as a close-up.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from shotverse_jax.camera.motion_tags import join_words
from shotverse_jax.camera.motion_words import LEAST_MOVE, LEAST_TURN, Motion, motions
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.camera.vocabulary import ANGLES, POSITIONS, SIZES
from shotverse_jax.stage.preview import stage_poses
from shotverse_jax.stage.scene import Scene, Subject

SIZE_WORDS = {
    "extreme wide": "extreme wide shot",
    "wide": "wide shot",
    "medium wide": "medium wide shot",
    "medium": "medium shot",
    "medium close": "medium close-up",
    "close": "close-up",
    "extreme close": "extreme close-up",
}
ANGLE_WORDS = {"eye": "eye level", "low": "low angle", "high": "high angle", "overhead": "overhead"}
POSITION_WORDS = {"left": "frame left", "center": "centred", "right": "frame right"}

_MINOR = 0.35  # a direction is left unsaid when its amount is a smaller share of the largest one
_SHORTEST_HOLD = 0.1  # of a shot; a shorter rest between two moves is a part of them
_SAME_WAY = 0.64  # cosine above which two moves, one after the other, are one that bends
_MOVES = (("right", "left"), ("up", "down"), ("back", "forward"))
_TURNS = (("tilts up", "tilts down"), ("pans left", "pans right"), ("rolls left", "rolls right"))
_TURNING = {"tilts": "tilting", "pans": "panning", "rolls": "rolling"}
_BODY = np.array([0.93, 0.72, 0.5])  # head, chest and pelvis, in heights of the subject above its feet


@dataclasses.dataclass(frozen=True)
class ShotTruth:
    """What a shot shows.

    Attributes:
        motions: phrases of what the camera does, one after the other.
        subject: who is seen, "" for nobody.
        size, last_size: words of `camera.vocabulary.SIZES`, where the subject is seen first and last.
        angle: word of `ANGLES`, where it is seen first.
        position: word of `POSITIONS`, where it is seen first.
        leaves: whether it is outside the image at the end.
    """

    motions: tuple[str, ...]
    subject: str = ""
    size: str = ""
    last_size: str = ""
    angle: str = ""
    position: str = ""
    leaves: bool = False

    @property
    def caption(self) -> str:
        """The truth in words."""
        text = f"The camera {', then '.join(self.motions)}."
        if not self.subject:
            return f"{text} Nobody is in the frame."
        size = SIZE_WORDS[self.size].capitalize()
        text += f" {size}, {ANGLE_WORDS[self.angle]}: {self.subject}, {POSITION_WORDS[self.position]}."
        if self.leaves:
            return f"{text} It ends without the subject."
        return text if self.last_size == self.size else f"{text} It ends as a {SIZE_WORDS[self.last_size]}."


def shot_truths(trajectory: Trajectory, scene: Scene) -> list[ShotTruth]:
    """Returns the truth of every shot."""
    on_stage = dataclasses.replace(
        trajectory,
        pose_T34=stage_poses(trajectory),
        stage_34=None,
        stage_time_T=trajectory.stage_seconds_T,
    )
    return [shot_truth(on_stage.shot(index), scene) for index in range(trajectory.num_shots)]


def shot_truth(shot: Trajectory, scene: Scene) -> ShotTruth:
    """Returns the truth of one shot whose poses are in the stage's frame and whose `stage_time_T` is the stage's."""
    lens_T4 = shot.intrinsics_T4 / np.tile([shot.width, shot.height], 2)
    [said] = motions(shot)
    view = best_view(shot.pose_T34, lens_T4, shot.stage_time_T, scene)
    return ShotTruth(motion_phrases(said), **_seen(view))


def motion_phrases(shot: Sequence[Motion]) -> tuple[str, ...]:
    """Returns what the camera does as phrases without amounts: ("moves left while panning right", "holds still")."""
    total, merged = shot[-1].end, []
    for motion in shot:
        if merged and _same_way(merged[-1], motion):
            motion = _joined(merged.pop(), motion)
        merged.append(motion)
    kept = [m for m in merged if _phrase(m) != "holds still" or m.end - m.start >= _SHORTEST_HOLD * total] or merged[:1]
    phrases = [_phrase(motion) for motion in kept]
    return tuple(phrase for i, phrase in enumerate(phrases) if i == 0 or phrase != phrases[i - 1])


def _same_way(one: Motion, other: Motion) -> bool:
    """Whether the second motion goes on with the first: the same turn and zoom, a move in about the same direction."""
    if one.zooms != other.zooms:
        return False
    if _said(one.turn_3, LEAST_TURN) != _said(other.turn_3, LEAST_TURN):
        return False
    a, b = np.array(one.move_3), np.array(other.move_3)
    sizes = np.linalg.norm(a), np.linalg.norm(b)
    if min(sizes) < LEAST_MOVE:
        return max(sizes) < LEAST_MOVE
    return float(a @ b) / (sizes[0] * sizes[1]) > _SAME_WAY


def _joined(one: Motion, other: Motion) -> Motion:
    move, turn = (
        tuple(float(a + b) for a, b in zip(*parts, strict=True))
        for parts in ((one.move_3, other.move_3), (one.turn_3, other.turn_3))
    )
    return Motion(one.start, other.end, move, turn, one.zoom * other.zoom)


def _said(amounts: Sequence[float], least: float) -> list[tuple[int, bool]]:
    """(axis, whether its amount is negative) of what is worth saying, in the order of the axes."""
    largest = max(map(abs, amounts))
    return [(axis, size < 0) for axis, size in enumerate(amounts) if abs(size) >= max(least, _MINOR * largest)]


def _phrase(motion: Motion) -> str:
    moves = [_MOVES[axis][negative] for axis, negative in _said(motion.move_3, LEAST_MOVE)]
    turns = [_TURNS[axis][negative] for axis, negative in _said(motion.turn_3, LEAST_TURN)]
    if moves and turns:
        turning = [f"{_TURNING[verb]} {way}" for verb, way in (turn.split() for turn in turns)]
        turning += [f"zooming {motion.zooms}"] if motion.zooms else []
        return f"moves {join_words(moves)} while {join_words(turning)}"
    done = ([f"moves {join_words(moves)}"] if moves else turns) + ([f"zooms {motion.zooms}"] if motion.zooms else [])
    return join_words(done) or "holds still"


class View(NamedTuple):
    """What cameras see of a subject.

    Attributes:
        subject: the subject.
        away_TN3: from each camera to head, chest and pelvis, in the stage's frame.
        u_TN, v_TN: where they are in the picture, in its widths and heights.
        inside_TN: whether they are in it.
        height_T: of the whole body, in heights of the picture.
    """

    subject: Subject
    away_TN3: np.ndarray
    u_TN: np.ndarray
    v_TN: np.ndarray
    inside_TN: np.ndarray
    height_T: np.ndarray


def best_view(pose_T34: np.ndarray, lens_T4: np.ndarray, time_T: np.ndarray, scene: Scene) -> View | None:
    """Returns the view of the subject that is seen best, that is in large and in many frames; None if none is seen.

    lens_T4: in widths and heights of the picture.
    """
    best, found = 0.0, None
    for subject in scene.subjects:
        feet_T3 = np.stack([subject.position(time) for time in time_T])
        body_TN3 = feet_T3[:, None] - _BODY[:, None] * np.array([0.0, subject.height, 0.0])
        away_TN3 = body_TN3 - pose_T34[:, None, :, 3]
        x_TN, y_TN, depth_TN = np.moveaxis(np.einsum("tji,tnj->tni", pose_T34[:, :, :3], away_TN3), -1, 0)
        safe_TN = np.maximum(depth_TN, 1e-6)
        u_TN = lens_T4[:, None, 0] * x_TN / safe_TN + lens_T4[:, None, 2]
        v_TN = lens_T4[:, None, 1] * y_TN / safe_TN + lens_T4[:, None, 3]
        inside_TN = (depth_TN > 0.05) & (u_TN >= 0) & (u_TN <= 1) & (v_TN >= 0) & (v_TN <= 1)
        height_T = lens_T4[:, 1] * subject.height / safe_TN.mean(1)
        score = float(np.sum(inside_TN.any(1) * height_T))
        if score > best:
            best, found = score, View(subject, away_TN3, u_TN, v_TN, inside_TN, height_T)
    return found


def _seen(view: View | None) -> dict:
    """The fields of `ShotTruth` about the subject that is seen best."""
    if view is None:
        return {}
    seen_T, height_T = view.inside_TN.any(1), view.height_T
    frames = np.flatnonzero(seen_T)
    first, last = frames[0], frames[-1]
    # Pictures of wide shots are centred on the pelvis, those of close-ups on the head.
    share = np.interp(np.log(height_T[first]), np.log([SIZES["wide"], SIZES["close"]]), [0, 1])
    aim_3 = share * view.away_TN3[first, 0] + (1 - share) * view.away_TN3[first, -1]
    elevation = np.degrees(np.arctan2(aim_3[1], np.hypot(aim_3[0], aim_3[2])))
    return {
        "subject": view.subject.description(),
        "size": size_word(height_T[first]),
        "last_size": size_word(height_T[last]),
        "angle": _word(ANGLES, [high for _, high in ANGLES.values()], elevation),
        "position": _word(POSITIONS, _halfway(POSITIONS.values()), view.u_TN[first][view.inside_TN[first]].mean()),
        "leaves": bool(not seen_T[-1]),
    }


def size_word(height: float) -> str:
    """Returns the shot size, a word of `SIZES`, of a body that is so many heights of the picture tall."""
    return _word(SIZES, _halfway(np.log(list(SIZES.values()))), np.log(height))


def _word(words: Iterable[str], edges: Iterable[float], value: float) -> str:
    """The word whose class a value is in; `edges` are the upper ends of the classes, maybe without the last one."""
    words = list(words)
    return words[min(int(np.searchsorted(list(edges), value)), len(words) - 1)]


def _halfway(middles: Iterable[float]) -> np.ndarray:
    middles = np.array(list(middles))
    return (middles[1:] + middles[:-1]) / 2
