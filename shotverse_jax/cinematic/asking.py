"""Which adapters the shots of a screenplay ask for: those of a style for all shots, and those that captions name."""

import dataclasses
import re
from collections.abc import Sequence

from shotverse_jax.cinematic.phrases import CLASSES
from shotverse_jax.lora import name_key
from shotverse_jax.screenplay import Screenplay
from shotverse_jax.screenplay.adapters import parsed
from shotverse_jax.screenplay.slots import read_slots

_MOTIONS = {"yaw left": "pan-left", "yaw right": "pan-right", "pitch up": "tilt-up", "pitch down": "tilt-down",
            "static": "still", "zoom in": "zoom-in", "zoom out": "zoom-out"}  # fmt: skip
_SIZES = {"extreme close": "extreme close-up", "close": "close-up", "medium": "medium shot"}
_ANGLES = {"eye": "eye-level", "low": "low angle", "high": "high angle", "overhead": "overhead"}


def styled(screenplay: Screenplay, style: str = "", words: bool = False, names: Sequence[str] = ()) -> Screenplay:
    """Returns a screenplay whose shots ask for more adapters; what a shot names itself stays as it is.

    Args:
        screenplay: what happens.
        style: adapters for all shots, as a list like "zoom-in, low-angle 0.6".
        words: whether a shot that names none asks for those whose words its caption has; default no.
        names: of the adapters that captions are searched for, beside the twenty classes.

    Raises:
        ValueError: a list that cannot be read.
    """
    everywhere = parsed(style) if style.strip() else ()

    def asking(shot):
        found = () if shot.loras or not words else tuple((name, None) for name in named_in(shot.caption, names))
        return dataclasses.replace(shot, loras=(*shot.loras, *found)).asking(everywhere)

    return dataclasses.replace(screenplay, shots=tuple(map(asking, screenplay.shots)))


def named_in(caption: str, names: Sequence[str] = ()) -> tuple[str, ...]:
    """Returns the classes whose words a caption has, and those of other names that stand in it.

    Phrases of the classes count as they are written; turns, zooms, sizes and angles in other words too (`read_slots`).
    A dolly and a tracking shot are told by their phrases alone, as "moves closer" may be either.
    """
    text = name_key(re.sub(r"[^\w\s-]", " ", caption))
    found = {name: None for name, each in CLASSES.items() if any(_has(text, one) for one in (name, *each.phrases))}
    slots = read_slots(caption)
    if len(slots.sizes) == 1:  # "from wide to close-up" is none of them all the way
        found |= {_SIZES[size]: None for size in slots.sizes if size in _SIZES}
    found |= {_ANGLES[angle]: None for angle in slots.angles}
    found |= {_MOTIONS[motion]: None for motion in slots.motions if motion in _MOTIONS}
    # "extreme close-up" has the words of a close-up.
    if "extreme close-up" in found:
        found.pop("close-up", None)
    others = [name for name in names if _has(text, name) and name_key(name) not in map(name_key, found)]
    order = {name: place for place, name in enumerate(CLASSES)}
    return (*sorted(found, key=order.__getitem__), *others)


def _has(text: str, phrase: str) -> bool:
    return re.search(rf"(?<![^-]){re.escape(name_key(phrase))}(?![^-])", text) is not None
