"""The review of a trajectory: what every shot shows of its subject, beside what its caption asks; and the cuts.

The scene is the one that the captions describe, and it stands where previews put it (`preview.stage_poses`), so that a
review speaks of what a preview shows. What hides a subject does not count (`visibility.py` does that).

Array axes: T frames; S subjects; J joints; 3 coordinates.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from shotverse_jax.camera import framing
from shotverse_jax.camera.motion_tags import labels_of_shots, segments
from shotverse_jax.camera.motion_words import LEAST_ZOOM
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.camera.vocabulary import ANGLES, POSITIONS, SIDES, SIZES, ZOOMS, motion_parts
from shotverse_jax.screenplay.slots import Slots, agreement, read_slots
from shotverse_jax.stage.bodies import subject_joints
from shotverse_jax.stage.casting import mentioned
from shotverse_jax.stage.preview import described_scene, stage_poses
from shotverse_jax.stage.scene import Scene, Subject

OFTEN = 0.2
"""Share of the frames in which a size, angle or side must be seen to count as shown."""
AGREEMENT_WEIGHT, MISFRAMED_WEIGHT = 0.25, 0.1
"""How much the agreement with the asked motions, and mis-framed frames, weigh in the score beside frames off screen.

Of 8 plans each for 300 held-out scenes, those with the best frames alone lose the subject in 2.3 % of the frames that
should show it (the first plan: 10.5 %), at a tag F1 of 0.794 (0.807). With the agreement they have 2.4 % and 0.805,
and 10.5 % of the frames that should be well framed are not (17.5 %); with both 2.2 %, 0.804 and 6.6 %."""
_PAD = 64  # frames are padded to multiples of this, so that few programs are compiled
_ON_THE_LINE = 0.17  # sine of 10°: nearer to the line of action a camera is on no side of it
_SIDEWAYS = 0.3  # a direction that points less to a side of the picture goes to none


class Framed(NamedTuple):
    """What the frames show of one subject, each [T].

    Attributes:
        off, out, severe, misframed: as the functions of `camera.framing` of these names.
        visible: share of the joints in the picture.
        height: of the whole body in heights of the picture; 0 behind the camera.
        thirds: distance of the subject's centre to the nearest crossing of the thirds.
        size, angle, side, position: places in the lists of `camera.vocabulary`.
    """

    off: np.ndarray
    out: np.ndarray
    severe: np.ndarray
    misframed: np.ndarray
    visible: np.ndarray
    height: np.ndarray
    thirds: np.ndarray
    size: np.ndarray
    angle: np.ndarray
    side: np.ndarray
    position: np.ndarray


def framed(trajectory: Trajectory, subject: Subject, pose_T34: np.ndarray | None = None) -> Framed:
    """Returns what the frames of a trajectory show of a subject.

    pose_T34: the cameras on the stage; None (default) for `preview.stage_poses`.
    """
    time_T = trajectory.stage_seconds_T
    pose_T34 = stage_poses(trajectory) if pose_T34 is None else pose_T34
    lens_T4 = trajectory.intrinsics_T4 / ([trajectory.width, trajectory.height] * 2)
    arrays = (pose_T34, lens_T4, subject_joints(subject, time_T), subject.facing(time_T))
    count = len(time_T)
    index = np.minimum(np.arange(-(-count // _PAD) * _PAD), count - 1)
    shown = _framed(*(np.asarray(array[index], np.float32) for array in arrays), np.float32(subject.height))
    return Framed(*(np.asarray(value)[:count] for value in shown))


@jax.jit
def _framed(pose_T34, lens_T4, joint_TJ3, facing_T3, height):
    seen = framing.project(pose_T34, lens_T4, joint_TJ3)
    height_T = framing.body_height(seen, lens_T4, height)
    aim_T3, center_T2 = framing.aim(joint_TJ3, height_T), seen.center_T2(height_T)
    return Framed(
        framing.off_screen(seen),
        framing.out(seen),
        framing.severe(seen),
        framing.misframed(seen, height_T),
        seen.visible_TJ.mean(-1),
        height_T,
        framing.thirds(center_T2),
        framing.size_class(height_T),
        framing.angle_class(framing.elevation(pose_T34, aim_T3)),
        framing.side_class(framing.azimuth(pose_T34, aim_T3, facing_T3)),
        framing.position_class(center_T2[..., 0]),
    )


@dataclasses.dataclass(frozen=True)
class ShotReview:
    """The review of one shot.

    Attributes:
        number: of the shot, from 1.
        frames: how many it has.
        who: the subject, "the woman".
        off_screen, out, severe, misframed: shares of the frames, as the functions of `camera.framing`.
        visible: mean share of its joints in the picture.
        jerk: mean jerk of the camera, units of length per frame³.
        thirds: mean distance of the subject's centre to the nearest crossing of the thirds, in shares of the picture.
        asked: what the caption asks for.
        seen: what the shot shows.
        agreement: of the two, 0 to 1 (`screenplay.slots.agreement`).
        sentences: what a director would say; at least one.
    """

    number: int
    frames: int
    who: str
    off_screen: float
    out: float
    severe: float
    misframed: float
    visible: float
    jerk: float
    thirds: float
    asked: Slots
    seen: Slots
    agreement: float
    sentences: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """One line: what is seen, and what is wrong."""
        picture = ", ".join(
            table[words[0]] if len(words) == 1 else f"{table[words[0]]} to {table[words[-1]]}"
            for table, words in (
                (_SIZE_NAMES, _ordered(self.seen.sizes, SIZES)),
                (_ANGLE_NAMES, _ordered(self.seen.angles, ANGLES)),
            )
            if words
        )
        return "; ".join([*([picture.removeprefix("an ").removeprefix("a ")] if picture else []), *self.sentences])


@dataclasses.dataclass(frozen=True)
class Review:
    """The review of a trajectory.

    Attributes:
        shots: of every shot.
        cuts: sentences about cuts that break a rule; none when all are well.
    """

    shots: tuple[ShotReview, ...]
    cuts: tuple[str, ...]

    @property
    def score(self) -> float:
        """One number to rank plans of one screenplay by, at most 1: who is in frame, and motions as asked.

        A move counts as a zoom where the lens of a shot stays: planners plan no other.
        """
        agreed = float(np.mean([_motions_agree(shot) for shot in self.shots]))
        shown = 1 - self.off_screen - MISFRAMED_WEIGHT * self.misframed
        return (shown + AGREEMENT_WEIGHT * agreed) / (1 + AGREEMENT_WEIGHT)

    @property
    def off_screen(self) -> float:
        """Share of all frames in which a shot's subject is off screen."""
        return self._mean("off_screen")

    @property
    def misframed(self) -> float:
        """Share of all frames in which a shot's subject is mis-framed (MisR)."""
        return self._mean("misframed")

    def _mean(self, name: str) -> float:
        return sum(getattr(s, name) * s.frames for s in self.shots) / sum(s.frames for s in self.shots)

    def values(self) -> dict[str, Any]:
        """The review for a program: plain numbers, words and lists."""
        shots = []
        for shot in self.shots:
            row = {f.name: getattr(shot, f.name) for f in dataclasses.fields(shot)}
            row |= {name: round(value, 6) for name, value in row.items() if isinstance(value, float)}
            for name in ("asked", "seen"):
                row[name] = {k: sorted(words) for k, words in dataclasses.asdict(row[name]).items() if words}
            shots.append(row | {"sentences": list(shot.sentences), "verdict": shot.verdict})
        means = {name: round(getattr(self, name), 6) for name in ("score", "off_screen", "misframed")}
        return means | {"cuts": list(self.cuts), "shots": shots}


def review(trajectory: Trajectory, scene: Scene | None = None) -> Review:
    """Returns the review of a trajectory.

    scene: the stage; None (default) for the one that its captions describe.
    """
    scene = scene or described_scene(trajectory)
    pose_T34 = stage_poses(trajectory)
    shown = [framed(trajectory, subject, pose_T34) for subject in scene.subjects]
    asked = [read_slots(caption) for caption in trajectory.captions]
    who = subjects_of_shots(trajectory, scene, [s.visible for s in shown])
    motions = motions_of(trajectory)
    shots = tuple(
        _shot(number, shown[who[number]], span, scene.subjects[who[number]], (asked[number], motions[number]), pose_T34)
        for number, span in enumerate(trajectory.spans)
    )
    return Review(shots, _cuts(trajectory, scene, who, shown, pose_T34))


def best(plans: Sequence[Trajectory]) -> int:
    """Returns the number of the plan of one screenplay with the best review; the first of equals."""
    return 0 if len(plans) == 1 else int(np.argmax([review(plan).score for plan in plans]))


def subjects_of_shots(trajectory: Trajectory, scene: Scene, visible_ST: Sequence[np.ndarray]) -> list[int]:
    """The number of the subject of each shot: the one that its caption names, else the one that is seen best."""
    named = mentioned(trajectory.captions, scene)
    best = [int(np.argmax([v[start:end].mean() for v in visible_ST])) for start, end in trajectory.spans]
    return [name if name >= 0 else seen for name, seen in zip(named, best, strict=True)]


def motions_of(trajectory: Trajectory) -> list[frozenset[str]]:
    """The motions of each shot, as the scores tag them, and its zooms; "static" comes alone."""
    labels = labels_of_shots([trajectory.pose_T34[start:end] for start, end in trajectory.spans])
    found = []
    for row, (start, end) in zip(labels, trajectory.spans, strict=True):
        parts = frozenset().union(*(motion_parts(s.translation, s.rotation) for s in segments(row)))
        parts |= _zooms(trajectory.intrinsics_T4[start:end, 0])
        found.append(parts - {"static"} or parts)
    return found


def _zooms(focal_T: np.ndarray) -> frozenset[str]:
    """The zooms of a shot, perhaps both ways, by its focal lengths; a ratio below `LEAST_ZOOM` is none."""
    least = np.log(LEAST_ZOOM)
    rise, fall = (np.max(x - np.minimum.accumulate(x)) for x in (np.log(focal_T), -np.log(focal_T)))
    return frozenset(name for name, amount in (("zoom in", rise), ("zoom out", fall)) if amount >= least)


def _motions_agree(shot: "ShotReview") -> float:
    asked, seen = Slots(motions=shot.asked.motions), Slots(motions=shot.seen.motions)
    return agreement(asked if seen.motions & set(ZOOMS) else asked.with_one_lens, seen)


def _shot(number, all_frames: Framed, span, subject: Subject, slots: tuple, pose_T34) -> ShotReview:
    one = Framed(*(value[slice(*span)] for value in all_frames))
    asked, motions = slots
    on = ~one.off
    classes = {
        "sizes": (list(SIZES), one.size),
        "angles": (list(ANGLES), one.angle),
        "sides": (SIDES, one.side),
        "positions": (list(POSITIONS), one.position),
    }
    seen = Slots(motions, **{name: _often(names, which, on) for name, (names, which) in classes.items()})
    told = dataclasses.replace(asked, speeds=frozenset())  # a speed is relative to what one is used to
    who = f"the {subject.kind}"
    # As `framing.jerk`, which would be compiled for every length of a shot.
    steps_T3 = np.diff(pose_T34[slice(*span), :, 3], 3, axis=0)
    jerk = float(np.linalg.norm(steps_T3, axis=1).mean()) if len(steps_T3) else 0.0
    return ShotReview(
        number + 1,
        len(on),
        who,
        *(float(x.mean()) for x in (one.off, one.out, one.severe, one.misframed, one.visible)),
        jerk=jerk,
        thirds=float(one.thirds[on].mean()) if on.any() else 1.0,
        asked=asked,
        seen=seen,
        agreement=agreement(told, seen),
        sentences=tuple(_sentences(who, one, jerk, asked, seen)),
    )


def _often(names: Sequence[str], which_T: np.ndarray, on_T: np.ndarray) -> frozenset[str]:
    """The classes that hold in at least `OFTEN` of the frames with the subject."""
    if not on_T.any():
        return frozenset()
    shares = np.bincount(which_T[on_T], minlength=len(names)) / on_T.sum()
    return frozenset(name for name, share in zip(names, shares, strict=True) if share >= OFTEN)


# ---- words

_SIZE_NAMES = {
    "extreme wide": "an extreme wide shot",
    "wide": "a full shot",
    "medium wide": "a medium wide shot",
    "medium": "a medium shot",
    "medium close": "a medium close-up",
    "close": "a close-up",
    "extreme close": "an extreme close-up",
}
_ANGLE_NAMES = {"low": "a low angle", "eye": "eye level", "high": "a high angle", "overhead": "a view from overhead"}
_SIDE_NAMES = {"front": "from the front", "back": "from behind"} | {
    side: f"from {'behind on the ' + side[5:] if side.startswith('back ') else 'the ' + side}"
    for side in SIDES
    if side not in ("front", "back")
}
_TURNS = {"pitch": "tilt", "yaw": "pan"}


def _motion_name(motion: str) -> str:
    """ "yaw left" → "pan left"; "move forward" stays."""
    verb, _, way = motion.partition(" ")
    return f"{_TURNS.get(verb, verb)} {way}".strip()


def _ordered(words: frozenset[str], order) -> list[str]:
    return [word for word in order if word in words]


def _sentences(who: str, one: Framed, jerk: float, asked: Slots, seen: Slots) -> list[str]:
    """What a director would say of a shot; "keeps … in frame" when nothing is wrong."""
    count, off = len(one.off), int(one.off.sum())
    edge = int((one.misframed & ~one.off).sum())
    said = []
    if off == count:
        said.append(f"{who} is never in frame")
    elif off:
        said.append(f"{who} leaves the frame for {off} of {count} frames")
    if edge > 0.25 * count:
        said.append(f"{who} is at the edge of the frame for {edge} of {count} frames")
    if asked.motions - seen.motions:
        want, got = (
            " and ".join(sorted(_motion_name(m) for m in motions)) for motions in (asked.motions, seen.motions)
        )
        said.append(f"asked for {want}, got {got}")
    for field, table, order in (
        ("sizes", _SIZE_NAMES, SIZES), ("angles", _ANGLE_NAMES, ANGLES), ("sides", _SIDE_NAMES, SIDES)
    ):  # fmt: skip
        want, got = getattr(asked, field), getattr(seen, field)
        if want and got and agreement(Slots(**{field: want}), Slots(**{field: got})) == 0:
            names = [" or ".join(table[word] for word in _ordered(words, order)) for words in (want, got)]
            said.append(f"asked for {names[0]}, got {names[1]}")
    if asked.positions and seen.positions and not asked.positions & seen.positions:
        said.append(f"asked for {who} on the {_ordered(asked.positions, POSITIONS)[0]} of the picture")
    if jerk > 3 * framing.JERK:
        said.append("the camera shakes")
    return said or [f"keeps {who} in frame"]


# ---- cuts


def _cuts(trajectory: Trajectory, scene: Scene, who: list[int], shown: list[Framed], pose_T34) -> tuple[str, ...]:
    said = []
    for a, ((_, end), (start, _)) in enumerate(zip(trajectory.spans, trajectory.spans[1:], strict=False)):
        if shown[who[a]].off[end - 1] or shown[who[a + 1]].off[start]:
            continue  # a rule is about what is seen
        one, two = (scene.subjects[who[k]] for k in (a, a + 1))
        cut = _cut(pose_T34[end - 1], pose_T34[start], scene, (one, two), trajectory.stage_seconds_T[start])
        shots = f"shots {a + 1}→{a + 2}"
        crossed = _apart(cut.side, _ON_THE_LINE)
        if crossed and (len(scene.subjects) > 1 or one.speed > 0):
            said.append(f"{shots} cross the line")
        if one is two and one.speed > 0 and not crossed and _apart(cut.direction, _SIDEWAYS):
            said.append(f"the {one.kind} changes its screen direction in {shots}")
        meets = cut.eyeline > 0 or np.abs(cut.direction).min() < _SIDEWAYS
        if one is not two and one.facing(0.0) @ two.facing(0.0) < -0.5 and not meets:
            said.append(f"the looks of {shots} do not meet")
        ratio = shown[who[a]].height[end - 1] / max(shown[who[a + 1]].height[start], 1e-6)
        if one is two and cut.change < framing.ANGLE_OF_VIEW_RULE and 0.7 < ratio < 1.4:
            said.append(f"{shots} jump: {cut.change:.0f}° apart at the same size")
    return tuple(said)


def _apart(pair: np.ndarray, least: float) -> bool:
    return bool(pair[0] * pair[1] < 0 and np.abs(pair).min() > least)


class _CutNumbers(NamedTuple):
    """Of a cut, for the cameras before and after it.

    Attributes:
        side: [2] as `framing.side_of_line`, of the line between two, or along the way of the only one.
        direction: [2] as `framing.screen_direction`, of where each shot's subject faces.
        eyeline: as `framing.eyeline`.
        change: degrees, as `framing.view_change`.
    """

    side: np.ndarray
    direction: np.ndarray
    eyeline: float
    change: float


def _cut(a_34, b_34, scene: Scene, pair: tuple[Subject, Subject], time: float) -> _CutNumbers:
    one, two = pair
    start = one.position(time)
    others = [subject for subject in scene.subjects if subject is not one]
    end = others[0].position(time) if others else start + one.facing(time)
    chest = subject_joints(one, np.array([time]))[0, 1]
    numbers = _cut_numbers(*map(np.float32, (a_34, b_34, start, end, one.facing(time), two.facing(time), chest)))
    return _CutNumbers(*(np.asarray(number) for number in numbers))


@jax.jit
def _cut_numbers(a_34, b_34, start_3, end_3, gaze_a_3, gaze_b_3, point_3):
    pose_234 = jax.numpy.stack([a_34, b_34])
    gaze_23 = jax.numpy.stack([gaze_a_3, gaze_b_3])
    return _CutNumbers(
        framing.side_of_line(pose_234[..., 3], start_3, end_3),
        framing.screen_direction(pose_234, gaze_23),
        framing.eyeline(a_34, gaze_a_3, b_34, gaze_b_3),
        framing.view_change(a_34[:, 3], b_34[:, 3], point_3),
    )
