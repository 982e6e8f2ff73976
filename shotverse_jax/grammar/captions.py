"""Sentences of the film grammar: a framing and a move, written in many forms.

Sentence patterns come in two lists, `TRAIN` and `HELD_OUT`; the test split is written with held-out patterns only. Both
share their words (verbs, sizes, angles): the test asks whether new sentences about known things are understood.
"""

import dataclasses

import numpy as np

from shotverse_jax.camera import motion_tags
from shotverse_jax.grammar import phrases
from shotverse_jax.grammar.moves import Framing, Segment


@dataclasses.dataclass(frozen=True)
class Patterns:
    """Sentence patterns. {m3}, {mg}, {mb} and {mn} are the move in third person, gerund, base form and as a noun phrase.

    In patterns for several moves the letters a, b, c in the place of m are the first, second and third move.

    Attributes:
        frame: framing of the subject.
        move: one move.
        then: two moves of about equal length.
        early: two moves, the first of them short.
        late: two moves, the second of them short.
        three: three moves.
        joined: two moves at the same time; {a}, {b} are both in one form, {bg} and {b3} other forms of the second.
        world: the scene.
    """

    frame: tuple[str, ...]
    move: tuple[str, ...]
    then: tuple[str, ...]
    early: tuple[str, ...]
    late: tuple[str, ...]
    three: tuple[str, ...]
    joined: tuple[str, ...]
    world: tuple[str, ...]


TRAIN = Patterns(
    frame=(
        "{Size} of {subject} {action}, {angle}, {side}",
        "{Size} of {subject}, {side}, {angle}",
        "{Subject} {action}, {size}, {side}, {angle}",
        "{Size}, {angle}: {subject}, {side}",
        "{Size} on {short}, {side}",
        "{Angle} {size} of {subject} {action}, {side}",
        "We see {subject} {action} in a {size}, {angle}, {side}",
        "{Size}. {Subject} {action}. {Side}. {Angle}",
        "{Subject} {action}, {side}, {angle}",
        "{Subject} {action}",
        "{Size} - {subject}, {angle}, {side}",
        "On {short}, {size}, {side}",
        "{Size} with {subject} {action}, {angle}, {side}", "{Subject} {action} in {size}, {angle}, {side}", "A {size}, {side}: {subject} {action}",
        "{Size}, {subject}, {angle}, {side}", "We are on {short} in a {size}, {side}, {angle}",
        "The camera sees {subject} {action}, {size}, {angle}, {side}", "Start on a {size} of {subject}, {angle}, {side}",
        "{Size}. {Angle}. {Side}. {Subject} {action}", "{Subject} {action} - {size}, {side}, {angle}", "{Size}; {subject} {action}; {angle}; {side}",
        "It is a {size} on {short}, {angle}, {side}", "A {size} shows {subject} {action}, {angle}, {side}",
    ),
    move=(
        "The camera {m3}", "The camera {m3}", "The camera {m3} {purpose}", "Camera {m3}", "{Mn}", "{Mn} {purpose}", "We {mb}", "We {mb} {purpose}",
        "Camera {mg}", "The shot {m3}", "The frame {m3}", "{Mg}", "The camera is {mg}", "{Mb}", "The lens {m3}",
        "The camera begins to {mb}", "Let the camera {mb}", "As {short} {does}, the camera {m3}", "As {short} {does}, we {mb}",
        "{Mn} on {short}", "Camera: {mn}", "Movement: {mn}", "{Purpose}, the camera {m3}", "The view {m3}", "{Mn}, {purpose}",
        "The camera starts {mg}", "The camera keeps {mg}", "A {mn}", "Camera movement: {mn}", "With a {mn}", "We are {mg}",
        "The camera will {mb}", "Make the camera {mb}", "Make it a {mn}", "Now the camera {m3}", "We get a {mn}", "Our view {m3}", "The picture {m3}",
        "During the shot the camera {m3}", "From start to finish the camera {m3}", "The camera operator {m3} {purpose}", "Shot with a {mn}",
        "Give it a {mn}", "It {m3}", "It is a {mn}", "We watch as the camera {m3}", "The camera can be seen {mg}", "All this time the camera {m3}",
        "There is a {mn}", "Go for a {mn}", "We see {short} as the camera {m3}",
    ),
    then=(
        "The camera {a3}, then {b3}", "First {an}, then {bn}", "The camera {a3} before {bg}", "After {ag}, the camera {b3}",
        "{An}, then {bn}", "We {ab}, then {bb}", "The camera {a3} and then {b3}", "The camera starts {ag}, then {b3}", "{An} into {bn}",
        "The camera first {a3}, and finally {b3}", "The camera {a3}, then it {b3}", "{An} and then {bn}", "The camera {a3}. Then it {b3}",
        "The camera {a3}; then {b3}", "Start with {an}, then {bn}", "Begin on {an}, finish with {bn}", "{An}. Then {bn}", "{Ab}, then {bb}",
        "The shot opens with a {an} and turns into a {bn}", "First the camera {a3}; next it {b3}", "Once done {ag}, the camera {b3}",
        "At first the camera {a3}; later it {b3}", "The camera goes from {ag} to {bg}", "Two moves: {an}, {bn}", "{An}; {bn}",
        "In the first half the camera {a3}, in the second it {b3}", "The camera {a3} and, in the second half, {b3}",
        "The camera {a3}, after which it {b3}", "The camera will {ab}, then {bb}", "The frame {a3}, then {b3}", "It {a3} and next {b3}",
        "Before {bg}, the camera {a3}", "The camera {b3} after {ag}", "{Bn} after a {an}", "{Ag} at first, {bg} later",
        "We {ab}; once that is done we {bb}",
    ),
    early=(
        "The camera briefly {a3}, then {b3}", "After a moment of {ag}, the camera {b3}", "A short {an}, then {bn}",
        "The camera {a3} for a beat, then {b3}",
        "The camera {a3} just a moment and then {b3}", "A brief {an}, then a long {bn}", "After briefly {ag}, the camera {b3}",
        "The camera soon stops {ag} and {b3}", "The camera {a3} at the very start, then {b3}",
        "It begins with a short {an}; for the rest the camera {b3}", "The camera {a3} for a second, then {b3} for the rest of the shot",
        "One beat of {ag}, then the camera {b3}", "We {ab} briefly, then {bb}", "The shot opens {ag} but soon {b3}",
        "Right after a short {an}, the camera {b3}", "We {ab} for a moment and then {bb} for the rest", "A little {ag}, then much {bg}",
    ),
    late=(
        "The camera {a3} and at the very end {b3}", "The camera {a3} for most of the shot, then {b3}", "A long {an}, ending on a {bn}",
        "The camera {a3}, and at the last moment {b3}",
        "The camera {a3} nearly to the end, then {b3}", "We {ab} for a long time, then {bb}", "A long {an}, then a short {bn}",
        "The camera keeps {ag} and only at the end {b3}", "The camera {a3}; in the final second it {b3}",
        "{An} for most of the shot, {bn} at the end", "The camera {a3} up to the last beat, when it {b3}",
        "After a long {an}, the camera briefly {b3}", "The camera {a3} and closes {bg}", "The camera {a3} before briefly {bg}",
        "We {ab} and finish {bg}", "A long {an} that ends in a {bn}", "Much {ag}, then a little {bg}",
    ),
    three=(
        "The camera {a3}, then {b3}, and finally {c3}", "First {an}, then {bn}, then {cn}", "The camera {a3}, {b3}, and then {c3}",
        "The camera starts {ag}, then {b3}, and ends {cg}",
        "First the camera {a3}, next it {b3}, and in the end it {c3}", "{An}, then {bn}, then {cn}", "{An}; {bn}; {cn}", "{An}, {bn}, {cn}",
        "We {ab}, {bb}, then {cb}", "The camera {a3}. Then it {b3}. Then it {c3}", "Three moves: {an}, {bn}, {cn}",
        "Start {ag}, continue {bg}, end {cg}", "The camera {a3}, continues {bg}, and finishes {cg}",
        "It begins with {an}, goes on with {bn} and closes with {cn}", "After {ag}, the camera {b3} and then {c3}",
        "The camera {a3}, after that {b3}, after that {c3}", "One: {an}. Two: {bn}. Three: {cn}", "The camera {a3} and {b3} before {cg}",
        "At first it {a3}, later it {b3}, at the end it {c3}", "{Ag}, then {bg}, then {cg}",
    ),
    joined=(
        "{a} while {bg}", "{a} while {bg}", "{a} and {b}", "{a} as it {b3}", "{a}, {bg} at the same time",
        "{a}, {bg}", "{a} and simultaneously {b}", "{a} and also {b}", "{a} while also {bg}", "{a} and {b} at once", "{a} and {b} in one move",
        "{a}, {bg} as it goes", "{a} and at the same time {b}", "{a}, {bg} along the way", "{a} while it {b3}", "{a}, meanwhile {bg}",
        "{a} and, as it does, {b}", "{a} but also {b}",
    ),
    world=(
        "{Subject} {action} in {place} {mood}.", "{Place}, {mood}. {Subject} {action}.", "A scene in {place} {mood}: {subject} {action}.",
        "{Subject} in {place}.", "{Subject} {action} {mood}.", "INT. {PLACE} - {subject} {action}.", "{Mood}, {subject} {action} in {place}.",
        "A short film about {subject} in {place}, {mood}.", "{Subject}. {Place}.",
        "{Subject} {action}; {place}, {mood}.", "{Mood}. {Place}. {Subject}.", "We are in {place} {mood} with {subject}.",
        "{Place}: {subject} {action}.", "The story of {subject} in {place}.", "EXT. {PLACE} - {subject}, {mood}.",
        "{Mood} we see {subject} {action}, {place}.",
    ),
)  # fmt: skip

HELD_OUT = Patterns(
    frame=(
        "Framed as a {size}, {subject} {action}, {angle}, {side}",
        "The shot is a {size} of {subject}, {side}, {angle}",
        "{Subject} {action}; {size}, {angle}, {side}",
        "{Side}, {angle}, {subject} in {size}",
    ),
    move=(
        "Here the camera {m3}", "While {short} {does}, we {mb}", "Have the camera {mb}", "The operator {m3}", "{Mn} throughout",
        "Use a {mn}", "The camera slowly starts to {mb}", "The image {m3} {purpose}", "We find ourselves {mg}",
    ),
    then=("The camera starts by {ag} and ends by {bg}", "{An} followed by a {bn}", "We {ab} and afterwards {bb}"),
    early=("For an instant the camera {a3}, then it {b3}", "Quick {an} before {bg}"),
    late=("The camera {a3} until, right at the end, it {b3}", "Mostly {an}, with a final {bn}"),
    three=("We {ab}, then {bb}, and at last {cb}", "{An}, followed by {bn}, followed by {cn}"),
    joined=("{a}, {bg} all the while", "{a} and, together with that, {b}"),
    world=("This is a scene of {subject} in {place}, {mood}.", "{Mood} in {place}: {subject} {action}."),
)  # fmt: skip

_DOES = (
    "stands there",
    "waits",
    "breathes",
    "looks around",
    "turns around",
    "stays silent",
    "speaks",
    "smiles",
    "notices something",
    "thinks",
)
_ACTIONS = {
    "stand": ("standing", "waiting", "standing still", "looking around", "", "lost in thought", "standing alone"),
    "walk": ("walking", "walking forward", "on the move", "strolling", "walking ahead"),
    "turn": ("turning around", "turning slowly", "spinning around"),
    "wave": ("waving", "waving a hand", "raising an arm"),
    "sit": ("sitting", "seated", "sitting down"),
}  # fmt: skip
_GENDER = {"man": ("him", "He"), "woman": ("her", "She"), "child": ("the child", "The child")}


def _pick(rng: np.random.Generator, items):
    return items[int(rng.random() * len(items))]


def _fill(pattern: str, fields: dict[str, str]) -> str:
    """Fills a pattern: {name} as it is, {Name} with a capital, {NAME} in capitals.

    Empty fields leave doubled or leading punctuation, which is removed.
    """
    words = dict(fields)
    words |= {key.capitalize(): value[:1].upper() + value[1:] for key, value in fields.items()}
    # Capitalised and upper case are the same for a short key like "a3", so only longer keys can ask for capitals.
    words |= {key.upper(): value.upper() for key, value in fields.items() if len(key) > 2}
    text = " ".join(pattern.format_map(words).split())
    for old, new in ((" ,", ","), (" .", "."), (" ;", ";"), (" :", ":")):
        text = text.replace(old, new)
    while ",," in text or ", ." in text:
        text = text.replace(",,", ",").replace(", .", ".")
    return text.strip(" ,;-:").replace(". .", ".").replace("..", ".")


def _article(text: str) -> str:
    """Corrects "a" to "an" in the phrases that occur here."""
    return text.replace("a EWS", "an EWS").replace(" a extreme", " an extreme").replace("a eye", "an eye").replace(" a upward", " an upward")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Words:
    """The words a caption may use for the subject.

    Attributes:
        subject: full phrase, "a woman in a red coat".
        short: short noun or name, "the woman".
        pronoun: pronoun as an object, "her".
        she: pronoun at the start of a sentence, "She".
        action: what the subject does, "waiting"; may be "".
    """

    subject: str
    short: str
    pronoun: str
    she: str
    action: str


def words_for(rng: np.random.Generator, kind: str, description: str, action: str) -> Words:
    """Draws the words for a subject of a kind and an action of the stage."""
    pronoun, she = _GENDER.get(kind, ("it", "It"))
    short = _pick(rng, phrases.NAMES) if rng.random() < 0.25 else f"the {kind}"
    return Words(description, short, pronoun, she, _pick(rng, _ACTIONS[action]))


def _speed(width: float) -> str:
    return "slow" if width < 0.3 else "normal" if width < 0.7 else "fast"


def _move_forms(rng, segment: Segment, words: Words, patterns: Patterns) -> dict[str, str]:
    """The moves of a segment as base form "b", third person "3", gerund "g" and noun phrase "n"."""
    if not segment.moves:
        verb, noun = _pick(rng, phrases.VERBS["static"]), _pick(rng, phrases.NOUNS["static"])
        return {"b": verb, "3": phrases.third_person(verb), "g": phrases.gerund(verb), "n": noun}
    name_subject = _pick(rng, (words.short, words.pronoun, words.short, words.subject))
    single = [_one_move(rng, move, name_subject) for move in segment.moves]
    if len(single) == 1:
        return single[0]
    first, second = single[0], single[1]
    join = _pick(rng, patterns.joined)
    noun = _pick(rng, ("{a} with a {b}", "{a} and {b}", "{a} + {b}", "combined {a} and {b}"))
    return {
        "b": join.format(a=first["b"], b=second["b"], bg=second["g"], b3=second["3"]),
        "3": join.format(a=first["3"], b=second["3"], bg=second["g"], b3=second["3"]),
        "g": join.format(a=first["g"], b=second["g"], bg=second["g"], b3=second["3"]),
        "n": noun.format(a=first["n"], b=second["n"]),
    }


def _one_move(rng, move, subject: str) -> dict[str, str]:
    verb = _pick(rng, phrases.VERBS[move.name]).format(subject=subject)
    noun = _pick(rng, phrases.NOUNS[move.name]).format(subject=subject)
    if move.name in phrases.TAIL_OF and subject not in verb and rng.random() < 0.3:
        tail = _tail(rng, _pick(rng, phrases.TAILS[phrases.TAIL_OF[move.name]]), subject)
        verb, noun = f"{verb} {tail}", f"{noun} {tail}"
    speed = _speed(move.width)
    adverb, adjective = _pick(rng, phrases.SPEEDS[speed]), _pick(rng, phrases.SPEED_ADJECTIVES[speed])
    forms = {"b": verb, "3": phrases.third_person(verb), "g": phrases.gerund(verb)}
    before = adverb.endswith("ly") and rng.random() < 0.5
    forms = {k: f"{adverb} {v}" if before else f"{v} {adverb}" for k, v in forms.items()}
    return {k: v.strip() for k, v in (forms | {"n": f"{adjective} {noun}"}).items()}


def _thing(rng) -> str:
    quality = _pick(rng, phrases.QUALITIES) if rng.random() < 0.3 else ""
    return " ".join(f"{_pick(rng, ('the', 'the', 'a', 'her', 'his'))} {quality} {_pick(rng, phrases.THINGS)}".split())


def _tail(rng, pattern: str, subject: str) -> str:
    return pattern.format(thing=_thing(rng), thing2=_thing(rng), short=subject)


def aside(rng, words: Words) -> str:
    """Draws a sentence that says nothing about the camera: story, light or objects. Some speak of other motions."""
    kind = rng.random()
    who = _pick(rng, (words.she, words.she, _pick(rng, phrases.NAMES), words.short))
    if kind < 0.3:
        return _fill(_pick(rng, phrases.DISTRACTORS), {"she": words.she}).rstrip(".")
    if kind < 0.65:
        return f"{who[:1].upper()}{who[1:]} {_pick(rng, phrases.DEEDS)} {_thing(rng)}"
    if kind < 0.9:
        return f"The {_thing(rng).split(' ', 1)[1]} {_pick(rng, phrases.HAPPENINGS)}"
    return f"{who[:1].upper()}{who[1:]} is in {_pick(rng, phrases.PLACES)} {_pick(rng, phrases.MOODS)}"


def move_sentence(rng, segments: tuple[Segment, ...], words: Words, patterns: Patterns) -> str:
    """Draws one sentence about the camera's moves over the shot."""
    fields = {"short": words.short, "does": _pick(rng, _DOES), "purpose": _pick(rng, phrases.PURPOSES)}
    forms = [_move_forms(rng, segment, words, patterns) for segment in segments]
    for letter, form in zip("m" if len(forms) == 1 else "abc", forms, strict=False):
        fields |= {letter + key: value for key, value in form.items()}
    if len(forms) == 1:
        pattern = _pick(rng, patterns.move)
    elif len(forms) == 3:
        pattern = _pick(rng, patterns.three)
    else:
        # The words must tell how long each move takes: "briefly …, then …".
        share = segments[0].share / (segments[0].share + segments[1].share)
        pattern = _pick(rng, patterns.early if share < 0.4 else patterns.late if share > 0.6 else patterns.then)
    return _article(_fill(pattern, fields))


def frame_sentence(rng, framing: Framing, words: Words, patterns: Patterns) -> str:
    """Draws one sentence about the framing: who is seen, how large, from which angle and side."""
    fields = {
        "size": _pick(rng, phrases.SIZES[framing.size]),
        "angle": _pick(rng, phrases.ANGLES[framing.angle]),
        "side": _pick(rng, phrases.SIDES[framing.side]),
        "subject": words.subject,
        "short": words.short,
        "action": words.action,
    }
    return _article(_fill(_pick(rng, patterns.frame), fields))


def shot_caption(rng, framing: Framing, segments, words: Words, patterns: Patterns, pose_T34, shaky: bool) -> str:
    """Draws the caption of a shot: framing and move in either order, the move alone, or a sentence made from the tags.

    The latter is GenDoP's `Movement` style, which speaks of the camera only. Its directorial style, "As the woman
    waits, the camera …", is among the move patterns.

    Args:
        rng: the random numbers.
        framing, segments: the shot.
        words: words for the subject.
        patterns: `TRAIN` or `HELD_OUT`.
        pose_T34: [T, 3, 4] poses of the shot, for the tags.
        shaky: the camera is handheld, and the caption says so.
    """
    if rng.random() < 0.07:
        return motion_tags.describe(motion_tags.tag_shot(pose_T34), style=_pick(rng, ("plain", "film")))
    frame, move = frame_sentence(rng, framing, words, patterns), move_sentence(rng, segments, words, patterns)
    if shaky:
        move = _pick(
            rng, ("Handheld. {}", "{}, handheld", "Shaky handheld camera. {}", "{} with a handheld feel")
        ).format(move)
    order = rng.random()
    if order < 0.45:
        parts = [frame, move]
    elif order < 0.65:
        parts = [move, frame]
    else:
        parts = [move]
    for _ in range(int(rng.choice(4, p=(0.5, 0.3, 0.13, 0.07)))):
        parts.insert(int(rng.random() * (len(parts) + 1)), aside(rng, words))
    return _pick(rng, (". ", ". ", ". ", ", ", "; ")).join(parts) + "."


def global_caption(rng, words: Words, other: str | None, patterns: Patterns) -> str:
    """Draws the caption of the scene: who, where, in what mood. `other` describes a second subject, None for none."""
    subject = f"{words.subject} and {other}" if other else words.subject
    fields = {
        "subject": subject,
        "action": words.action,
        "place": _pick(rng, phrases.PLACES),
        "mood": _pick(rng, phrases.MOODS),
    }
    return _fill(_pick(rng, patterns.world), fields)


def misspell(rng: np.random.Generator, text: str) -> str:
    """Returns a text with one or two typing errors: a letter lost, doubled, or swapped with its neighbour."""
    letters = list(text)
    for _ in range(1 + int(2 * rng.random())):
        i = int(rng.random() * (len(letters) - 1))
        if not (letters[i].isalpha() and letters[i + 1].isalpha()):
            continue
        slip = rng.random()
        if slip < 0.4:
            del letters[i]
        elif slip < 0.7:
            letters.insert(i, letters[i])
        else:
            letters[i], letters[i + 1] = letters[i + 1], letters[i]
    return "".join(letters)
