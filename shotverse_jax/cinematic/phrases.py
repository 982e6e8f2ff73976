"""The twenty classes of cinematic language: what each one is, a test of it on cameras and lens, and its words.

The groups, and the eleven movements, are those of Cinematic2K ("Can video generation replace cinematographers?", arXiv
2412.12223). The paper publishes neither definitions nor the names of framings and angles; both are written here. The
classes of one group exclude each other, and a shot may belong to none.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Literal

from shotverse_jax.cinematic.measures import Measures

Group = Literal["framing", "angle", "movement"]
GROUPS: tuple[Group, ...] = ("framing", "angle", "movement")

STILL_TRAVEL, STILL_TURN, STILL_ZOOM, STILL_FOCUS = 0.03, 2.0, math.log(1.05), 0.004
"""What counts as no motion: way, degrees, logarithm of the zoom, and radius of blur as a share of the width."""
LEAST_TURN, LEAST_WAY, LEAST_ZOOM, LEAST_FOCUS = 8.0, 0.12, math.log(1.25), 0.01
"""What counts as a pan or tilt, a dolly or tracking shot, a zoom, and a rack focus, in the same units."""
SIDEWAYS = 0.35
"""Largest part of a motion that another direction may have beside the one of the class."""
BESIDE_TRAVEL, BESIDE_TURN = 0.05, 4.0
"""Way beside a turn, and degrees beside a way, that are no motion of their own."""


@dataclasses.dataclass(frozen=True)
class CinematicClass:
    """One class.

    Attributes:
        name: its name, and that of its folder in a data set.
        group: "framing", "angle" or "movement".
        definition: what a shot of the class is, in words; `test` is the same on numbers.
        test: function of a shot's `Measures` that returns whether it is one.
        phrases: what people call it; each stands alone or after a comma.
    """

    name: str
    group: Group
    definition: str
    test: Callable[[Measures], bool]
    phrases: tuple[str, ...]


def _framing(name: str, size: str, definition: str, *phrases: str) -> CinematicClass:
    text = f"{definition} The subject is on screen and has this size in every frame."
    return CinematicClass(name, "framing", text, lambda m: m.subject and m.sizes == (size,), phrases)


def _angle(name: str, angle: str, definition: str, *phrases: str) -> CinematicClass:
    text = f"{definition} It holds in every frame, and the subject is on screen."
    return CinematicClass(name, "angle", text, lambda m: m.subject and m.angles == (angle,), phrases)


def _movement(name: str, test: Callable[[Measures], bool], definition: str, *phrases: str) -> CinematicClass:
    return CinematicClass(name, "movement", definition, test, phrases)


def _rests(m: Measures, turn: bool = True, zoom: bool = True, focus: bool = True) -> bool:
    """Whether the camera stays where it is, and what else is named does not change either."""
    return (
        m.travel <= STILL_TRAVEL
        and (not turn or m.turned <= STILL_TURN)
        and (not zoom or m.zoomed <= STILL_ZOOM)
        and (not focus or m.refocused <= STILL_FOCUS)
    )


def _turns(m: Measures, amount: float, *others: float) -> bool:
    """A turn by a positive amount in one direction, all the way, without a move or a zoom."""
    return (
        amount >= LEAST_TURN
        and max(map(abs, others)) <= SIDEWAYS * amount
        and m.turned <= 1.1 * math.hypot(amount, *others) + 0.5
        and m.travel <= BESIDE_TRAVEL
        and m.zoomed <= STILL_ZOOM
    )


def _dollies(m: Measures, sign: int) -> bool:
    along = sign * m.along
    # The way alone does not tell a dolly from a camera that keeps its distance to someone who walks.
    nears = not m.subject or (m.nearer < 0.95 if sign > 0 else m.farther > 1.05)
    return (
        along >= LEAST_WAY
        and m.across <= SIDEWAYS * along
        and m.travel <= 1.1 * math.hypot(along, m.across)
        and nears
        and not _tracks(m)
        and m.turned <= BESIDE_TURN
        and m.zoomed <= STILL_ZOOM
    )


def _tracks(m: Measures) -> bool:
    return (
        m.subject
        and min(m.subject_travel, m.travel) >= LEAST_WAY
        and m.together >= 0.8
        and m.nearer >= 0.85
        and m.farther <= 1.18
        and m.shift <= 0.15
        and m.zoomed <= STILL_ZOOM
    )


def _zooms(m: Measures, sign: int) -> bool:
    return sign * m.zoom >= LEAST_ZOOM and m.zoomed <= 1.05 * abs(m.zoom) and _rests(m, zoom=False, focus=False)


_CLASSES = (
    _framing("extreme close-up", "extreme close",
             "A part of the face fills the picture: the whole body would be more than four pictures high.",
             "extreme close-up", "an extreme close-up shot", "in extreme close-up", "shot extremely close"),
    _framing("close-up", "close",
             "Head and shoulders fill the picture: the whole body would be 2.4 to 4.2 pictures high.",
             "close-up", "a close-up shot", "in close-up", "framed close on the face"),
    _framing("medium shot", "medium",
             "The body is seen from the waist or the hips up: it would be 1.2 to 1.7 pictures high.",
             "medium shot", "a medium shot", "framed from the waist up", "in a medium shot"),
    _framing("full shot", "wide",
             "The whole body is seen, from head to feet: it is 0.44 to 0.8 pictures high.",
             "full shot", "a full shot", "the whole body in frame", "framed from head to toe"),
    _framing("long shot", "extreme wide",
             "The subject is small in its surroundings: less than 0.44 pictures high.",
             "long shot", "a long shot", "seen from far away", "a distant view"),
    _angle("eye-level", "eye", "The camera is level with what it looks at, up to 10 degrees above or below.",
           "eye-level shot", "at eye level", "filmed at eye level", "an eye-level angle"),
    _angle("low angle", "low", "The camera looks up at the subject, from more than 10 degrees below.",
           "low angle", "a low-angle shot", "filmed from below", "looking up from a low angle"),
    _angle("high angle", "high", "The camera looks down at the subject, from 10 to 60 degrees above.",
           "high angle", "a high-angle shot", "filmed from above", "looking down from a high angle"),
    _angle("overhead", "overhead", "The camera looks down at the subject, from more than 60 degrees above.",
           "overhead shot", "a bird's-eye view", "filmed from straight above", "a top-down view"),
    _movement("pan-left", lambda m: _turns(m, -m.pan, m.tilt, m.roll),
              "The camera turns to the left by 8 degrees or more, and does not move.",
              "the camera pans left", "a pan to the left", "panning left", "pan left"),
    _movement("pan-right", lambda m: _turns(m, m.pan, m.tilt, m.roll),
              "The camera turns to the right by 8 degrees or more, and does not move.",
              "the camera pans right", "a pan to the right", "panning right", "pan right"),
    _movement("tilt-up", lambda m: _turns(m, m.tilt, m.pan, m.roll),
              "The camera turns up by 8 degrees or more, and does not move.",
              "the camera tilts up", "an upward tilt", "tilting up", "tilt up"),
    _movement("tilt-down", lambda m: _turns(m, -m.tilt, m.pan, m.roll),
              "The camera turns down by 8 degrees or more, and does not move.",
              "the camera tilts down", "a downward tilt", "tilting down", "tilt down"),
    _movement("dolly-in", lambda m: _dollies(m, 1),
              "The camera moves forward along its optical axis, by 12 % of the distance to the subject or more, and "
              "comes nearer to it. It turns by no more than 4 degrees, and the lens stays.",
              "the camera dollies in", "a dolly in", "the camera moves closer on a dolly", "dolly in"),
    _movement("dolly-out", lambda m: _dollies(m, -1),
              "The camera moves backward along its optical axis, by 12 % of the distance to the subject or more, and "
              "goes away from it. It turns by no more than 4 degrees, and the lens stays.",
              "the camera dollies out", "a dolly out", "the camera moves back on a dolly", "dolly out"),
    _movement("tracking-shot", _tracks,
              "The camera travels with a subject that moves, in about its direction, and keeps its distance and its "
              "place in the picture.",
              "a tracking shot", "the camera tracks along", "tracking the movement", "the camera travels alongside"),
    _movement("zoom-in", lambda m: _zooms(m, 1),
              "The focal length grows by a quarter or more, and the camera neither moves nor turns.",
              "the lens zooms in", "a zoom in", "zooming in", "zoom in"),
    _movement("zoom-out", lambda m: _zooms(m, -1),
              "The focal length shrinks by a fifth or more, and the camera neither moves nor turns.",
              "the lens zooms out", "a zoom out", "zooming out", "zoom out"),
    _movement("rack-focus",
              lambda m: m.racked >= LEAST_FOCUS and m.refocused <= 1.1 * m.racked and _rests(m, focus=False),
              "The focus goes from one distance to another: what is sharp in the first frame becomes a disc of 2 % of "
              "the width of the picture or more. The camera neither moves nor turns, and the lens does not zoom.",
              "a rack focus", "the focus shifts", "racking focus", "the focus is pulled"),
    _movement("still", _rests, "Position, direction, focal length and focus of the camera all stay.",
              "a still camera", "the camera stays still", "a static shot", "a locked-off camera"),
)  # fmt: skip

CLASSES: dict[str, CinematicClass] = {each.name: each for each in _CLASSES}
"""The twenty classes by name: five framings, four angles, eleven movements."""


OPPOSITES = {
    "pan-left": "pan-right", "pan-right": "pan-left", "tilt-up": "tilt-down", "tilt-down": "tilt-up",
    "dolly-in": "dolly-out", "dolly-out": "dolly-in", "zoom-in": "zoom-out", "zoom-out": "zoom-in",
}  # fmt: skip
"""The classes that have a direction → what a clip of theirs is when it is played backwards. All others stay theirs."""
MIRRORED = {"pan-left": "pan-right", "pan-right": "pan-left"}
"""The same for a clip whose left and right sides change places."""


def classes_of(measures: Measures) -> dict[Group, str]:
    """Returns the names of a shot's classes, by group; a group to none of whose classes it belongs is left out."""
    return {each.group: each.name for each in _CLASSES if each.test(measures)}


def named(name: str) -> CinematicClass:
    """Returns a class by its name. Raises ValueError for an unknown one."""
    if name not in CLASSES:
        raise ValueError(f"unknown class {name!r}; the classes are {', '.join(CLASSES)}")
    return CLASSES[name]
