"""Casting: the words of captions become a scene. Who is on the stage, in which colour, doing what, and where."""

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from shotverse_jax.stage.scene import COLORS, KINDS, WALK_PER_SHOT, Scene, Subject, beside, random_props, sun_direction

_NOUNS = {
    "man": "man guy gentleman sir detective boss father dad king soldier boxer husband waiter cowboy policeman",
    "woman": "woman lady mother mom queen actress wife waitress girlfriend bride nurse ballerina",
    "child": "child kid boy girl toddler baby daughter son schoolboy schoolgirl",
    "robot": "robot android cyborg machine droid",
    "dog": "dog puppy hound wolf",
    "horse": "horse pony stallion mare",
    "car": "car truck taxi van sedan limousine cab",
}
_KIND_OF = {noun: kind for kind, nouns in _NOUNS.items() for noun in nouns.split()}
_WORN = {"in", "with", "wearing", "wears", "dressed"}
"""Between somebody and a colour, these make it the colour of what they wear: not "the man lifts a black knife"."""
_PAIRS = {"couple", "friends", "lovers", "colleagues", "strangers", "brothers", "sisters"}
_PRONOUNS = {"she": "woman", "her": "woman", "he": "man", "his": "man", "him": "man"}
_COLOR_OF = {name: name for name in COLORS} | {
    "gray": "grey", "silver": "grey", "golden": "yellow", "gold": "yellow", "blonde": "yellow", "crimson": "red",
    "scarlet": "red", "navy": "blue", "turquoise": "teal", "violet": "purple", "beige": "white", "dark": "black",
    "tan": "brown",
}  # fmt: skip
_GROWN = r"\b(?:grown|adult)(?:[ -]up)?(?: [\w-]+)? {0}\b|\b{0}(?=, (?:now )?an? (?:[\w-]+ ){{0,2}}{1}\b)"
_PICTURES = "photos?|photographs?|portraits?|posters?|paintings?|statues?"
_READ_AS = {
    _GROWN.format("son", "(?:man|gentleman)"): "man",  # "her grown son", "her son, a tall man"
    _GROWN.format("daughter", "(?:woman|lady)"): "woman",
    rf"\b(?:{'|'.join(_COLOR_OF)}) (?:beard|moustache|hair|eyes)\b": "",  # no one's coat
    rf"\b(?:{_PICTURES})\b[^.;]*?\bof(?: \w+){{1,3}}": "",  # who is in a picture is not on the stage
    r"\bcar parks?\b": "",
    r"\bcowboy[ -]shots?\b": "",  # sizes and moves of a camera
    r"\btrucks?(?=(?: \w+ly)? (?:left|right|in\b|out|to the (?:left|right)))": "",
}
_PEOPLE = ("man", "woman", "child", "robot")
_USUAL = {"man": "blue", "woman": "red", "child": "yellow", "robot": "orange", "dog": "brown", "horse": "brown"}
_ACTION_WORDS = {
    "stand": r"stands?|standing|waits?|waiting",
    "walk": r"walk(?:s|ing)?|stroll\w*|jog\w*|sprint\w*|running|on the move|driv(?:es|ing)|trots?|trotting|gallop\w*"
    r"|lead(?:s|ing) (?:an?|the|his|her)",
    "sit": r"sits?|sitting|seated",
    "wave": r"waves|waving|rais(?:es|ing) an arm",
    "turn": r"turning|turns around|spinning around|spins",
}
_TOGETHER_WORDS = r"\b(?:they|both|together|side by side|lead(?:s|ing))\b"
_SKY_WORDS = {
    "night": r"night|midnight|candlelight|neon|moon\w*|dark",
    "sunset": r"sunset|dusk|evening|last light|golden hour|last hour of daylight",
    "dawn": r"dawn|sunrise|daybreak",
    "overcast": r"rain\w*|fog\w*|storm\w*|winter|snow\w*|grey sky|overcast|black and white|film-noir|noir",
}
_FACING_WORDS = (
    r"over[- ]the[- ]shoulder|\bover [^.;,]{0,30}'s (?:\w+ )?shoulder|\bots\b|reverse shot|each other|talk|conversation"
    r"|argu|facing|face to face|dialog"
)


def scene_from_screenplay(captions: Sequence[str], seconds: float | None = None) -> Scene:
    """Returns the scene that captions describe, by simple word matching; equal captions always give an equal scene.

    The first two different beings that are named become the subjects; each gets the colour word nearest to it. The
    second subject stands in front of the first and faces it when the captions mention a talk or a camera over a
    shoulder, or when shots show one of two people and none shows both, else beside it. The first subject does the first
    action named, unless it would walk into the second. A second subject beside it walks along when the captions let
    them go together. Defaults: without a noun a pronoun decides between man and woman; without either it is a woman in
    a red coat; the sky is that of day.

    Args:
        captions: the scene's caption first, then one caption per shot; any may be "".
        seconds: duration of the film. It sets how fast a subject walks, as in the grammar. None (default) means 4 s per
            shot.
    """
    said = " . ".join(captions).lower()
    captions = [_plain(caption) for caption in captions]
    text = " . ".join(captions)
    shots = max(len(captions) - 1, 1)
    pace = WALK_PER_SHOT * shots / (seconds or 4.0 * shots)
    cast = _cast(text) or [(_pronoun(text), None)]
    # The scene's own caption decides about the action before those of the shots, which often speak of moments.
    action = _first(_ACTION_WORDS, [_about_people(caption) for caption in (*captions[:1], text)], "stand")
    faces = len(cast) == 2 and bool(re.search(_FACING_WORDS, text))
    if len(cast) == 2 and action != "walk" and all(kind in _PEOPLE for kind, _ in cast):
        faces |= _shown_alone(cast, captions[1:])
    if action == "walk" and faces:
        action = "stand"
    together = action == "walk" and re.search(_TOGETHER_WORDS, text)
    people = []
    for index, (kind, color) in enumerate(cast):
        does = action if (index == 0 or together) and action in KINDS[kind].actions else "stand"
        people.append(Subject(kind, color or _USUAL.get(kind, "red"), does, speed=pace if does == "walk" else 0.0))
    if len(people) == 2:
        # Two alike could not be told apart in the picture.
        if people[0].kind == people[1].kind and people[0].color == people[1].color:
            people[1] = dataclasses.replace(people[1], color="green" if people[0].color != "green" else "blue")
        people[1] = beside(people[0], people[1], facing=faces)
    return Scene(
        subjects=tuple(people),
        props=random_props(np.random.default_rng(0), [(s.x, s.z, s.radius) for s in people], count=6),
        sky=_first(_SKY_WORDS, [said], "day"),
        sun=sun_direction(0.7, 0.8),  # from ahead on the left of who faces +z: faces are lit
    )


def mentioned(captions: Sequence[str], scene: Scene) -> list[int]:
    """Returns for each shot the number of the one subject of a scene that its caption names; -1 for none or several."""
    if len(scene.subjects) == 1:
        return [0] * len(captions)
    found = []
    for caption in captions:
        cast = _cast(_plain(caption))
        who = [n for n, s in enumerate(scene.subjects) if any(k == s.kind and c in (None, s.color) for k, c in cast)]
        found.append(who[0] if len(who) == 1 else -1)
    return found


def _shown_alone(cast: list[tuple[str, str | None]], shots: Sequence[str]) -> bool:
    """Whether some shots show one of two people and none shows both, as in shot and reverse shot."""
    counts = [
        sum(any(k == kind and c in (None, color) for k, c in _cast(shot)) for kind, color in cast) for shot in shots
    ]
    return 1 in counts and 2 not in counts


def _plain(caption: str) -> str:
    """A caption in lower case, with the expressions of `_READ_AS` replaced."""
    text = caption.lower()
    for pattern, plain in _READ_AS.items():
        text = re.sub(pattern, plain, text)
    return text


def _about_people(text: str) -> str:
    """The sentences about a being. Water that runs and a camera that turns are no actions of a subject."""
    someone = {*_KIND_OF, *_PRONOUNS, *_PAIRS, "they", "character", "who"}
    return " . ".join(s for s in re.split(r"[.;]", text) if someone & set(re.findall(r"[a-z]+", s)))


def _cast(text: str) -> list[tuple[str, str | None]]:
    """Up to two (kind, colour), in the order of their first mention; a colour that is not named is None."""
    words = re.findall(r"[a-z]+|[.;]", text)
    kinds = [_KIND_OF.get(w) or _KIND_OF.get(w[:-1] if w.endswith("s") else "") for w in words]
    found: list[tuple[str, str | None]] = []
    for i, kind in enumerate(kinds):
        if kind is None:
            continue
        color = _color_near(words, kinds, i)
        # Same kind, and no other colour: the same being again.
        if any(k == kind and (color is None or c in (color, None)) for k, c in found):
            if color:  # "a man … the man in the blue jacket" is one man
                found = [(k, color if k == kind and c is None else c) for k, c in found]
            continue
        found.append((kind, color))
    if len(found) < 2 and _PAIRS & set(words):
        found += [(k, None) for k in ("woman", "man")][: 2 - len(found)]
    return found[:2]


def _color_near(words: list[str], kinds: list[str | None], i: int) -> str | None:
    """The colour named before noun `i` ("a brown dog") or shortly after it ("a man in a green jacket").

    The search ends at another noun and at the end of the sentence.
    """
    for j in range(i - 1, max(i - 3, -1), -1):
        if kinds[j] or words[j] in ".;":
            break
        if words[j] in _COLOR_OF:
            return _COLOR_OF[words[j]]
    for j in range(i + 1, min(i + 6, len(words))):
        if kinds[j] or words[j] in ".;":
            break
        if words[j] in _COLOR_OF and _WORN & set(words[i + 1 : j]):
            following = [k for k in kinds[j + 1 : j + 3] if k]
            return None if following else _COLOR_OF[words[j]]  # the colour of the next noun
    return None


def _pronoun(text: str) -> str:
    """The kind that the first pronoun means; a woman without one."""
    return next((_PRONOUNS[w] for w in re.findall(r"[a-z]+", text) if w in _PRONOUNS), "woman")


def _first(table: dict[str, str], texts: Sequence[str], default: str) -> str:
    """The entry whose pattern matches earliest, in the first text where any does."""
    for text in texts:
        hits = [(m.start(), name) for name, pattern in table.items() if (m := re.search(rf"\b(?:{pattern})\b", text))]
        if hits:
            return min(hits)[1]
    return default
