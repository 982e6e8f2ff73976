"""What a caption asks of the camera, read by rule: motions, shot size, angle, side, place in the picture, speed."""

import dataclasses
import re

from shotverse_jax.camera.vocabulary import ANGLES, OPPOSITE, POSITIONS, SIDES, SIZES, ZOOMS
from shotverse_jax.screenplay.camera_words import motions

SPEEDS = ("slow", "normal", "fast")


@dataclasses.dataclass(frozen=True)
class Slots:
    """What a caption asks for, or what a shot shows. Every field is a set; an empty one says nothing.

    Attributes:
        motions: words of `camera.vocabulary.MOTIONS` and its `ZOOMS`; "static" stands alone.
        sizes: words of its `SIZES`. A caption that names two ("from wide to close-up") wants both.
        angles: words of its `ANGLES`.
        sides: words of its `SIDES`, the side of the subject that is seen; several are alternatives ("in profile").
        positions: words of its `POSITIONS`, where the subject is in the picture.
        speeds: words of `SPEEDS`.
    """

    motions: frozenset[str] = frozenset()
    sizes: frozenset[str] = frozenset()
    angles: frozenset[str] = frozenset()
    sides: frozenset[str] = frozenset()
    positions: frozenset[str] = frozenset()
    speeds: frozenset[str] = frozenset()

    @property
    def with_one_lens(self) -> "Slots":
        """The same of a camera whose lens stays, and which moves where a zoom is asked for; planners plan no other."""
        return dataclasses.replace(self, motions=frozenset(ZOOMS.get(name, name) for name in self.motions))


_SIZE_WORDS = {
    "extreme close": r"extreme close ?(?:up|shot)s?|extreme cu|big close up|ecu|bcu|xcu|macro shot",
    "medium close": r"medium close(?: ?up| shot)?s?|mcu|chest shot|bust shot|loose close up|head and shoulders",
    "close": r"(?:tight )?close ?ups?|close shot|closeup|tight shot|face shot|head ?shot|tight on|close on|CU",
    "medium wide": r"medium wide(?: shot)?|mws|cowboy(?: shot)?|american shot|medium long(?: shot)?|mls"
    r"|three quarter shot|knee shot",
    "medium": r"medium(?: two)? ?shot|mid ?shot|waist shot|waist up(?: shot)?|medium|MS",
    "extreme wide": r"(?:extreme|extremely|very) (?:wide|long)(?: shot| view)?|ews|els|vls|xls|vast wide view",
    "wide": r"(?:wide|long|full|full body|establishing|master) (?:shot|view|angle)|full body|full figure|head to toe"
    r"|wide(?! sweep)|WS|LS|FS",
}
_ANGLE_WORDS = {
    "overhead": r"from (?:almost )?(?:straight )?overhead|overhead(?: (?:shot|view|angle))?|bird'?s eye(?: view)?"
    r"|god'?s eye(?: view)?|top down(?: (?:shot|view))?|top shot|from (?:almost )?straight above",
    "high": r"(?:from a )?high angle(?: view| shot)?|(?:seen |looking down )from above|looking down on|from high above",
    "low": r"(?:from a )?low angle(?: view| shot)?|(?:seen )?from below|from near the floor|worm'?s eye(?: view)?"
    r"|camera on the (?:ground|floor)|from (?:the ground|floor level|ground level)",
    "eye": r"(?:at )?eye level|level with the eyes|straight on",
}
_SIDE_WORDS = {
    "back left": r"from behind on the left|over the left shoulder|from the (?:rear|back) left",
    "back right": r"from behind on the right|over the right shoulder|from the (?:rear|back) right",
    "front left": r"from the front left|three quarter view from the left|left three quarter|three quarter left",
    "front right": r"from the front right|three quarter view from the right|right three quarter|three quarter right",
    "left": r"in profile from the left|from the left side|left profile|side on from the left"
    r"|from (?:his|her|their) left",
    "right": r"in profile from the right|from the right side|right profile|side on from the right"
    r"|from (?:his|her|their) right",
    "back left|back right": r"over (?:the|his|her|their|[\w']+'s) shoulder|ots",
    "left|right": r"in profile|profile(?: shot)?|side on|from the side",
    "back": r"(?:seen )?from behind|from the back|(?:with )?(?:the|his|her|its|their) back to (?:us|the camera|camera)",
    "front": r"from the front|facing (?:us|the camera|camera)|head on|frontal(?:ly)?",
}
_EDGE = r"(?:frame|picture|screen|image)"
_POSITION_WORDS = {
    "left": rf"(?:on|in|at) the left (?:third|side|half|part|edge) of (?:the )?{_EDGE}"
    rf"|(?:{_EDGE}|camera) left(?= third|,|;|\.|$)|left of (?:the )?{_EDGE}|left third",
    "right": rf"(?:on|in|at) the right (?:third|side|half|part|edge) of (?:the )?{_EDGE}"
    rf"|(?:{_EDGE}|camera) right(?= third|,|;|\.|$)|right of (?:the )?{_EDGE}|right third",
    "center": rf"(?:dead )?(?:centered|centred)|(?:in|at) the (?:dead )?(?:center|centre|middle) of (?:the )?{_EDGE}"
    rf"|(?:center|centre) framed|in (?:the )?(?:center|centre) {_EDGE}",
}
_SPEED_WORDS = {
    "slow": r"slow(?:ly)?|gently?|gentle|gradual(?:ly)?|softly|soft|imperceptibl[ey]|with patience|slight(?:ly)?"
    r"|subtl[ey]|creep\w*|inch(?:es|ing)?|crawl\w*",
    "fast": r"quick(?:ly)?|fast|rapid(?:ly)?|in one big move|big|brisk(?:ly)?|dramatic(?:ally)?|urgent(?:ly)?"
    r"|in a wide sweep|sweeping|swift(?:ly)?|whips?|whipping|snaps?|rush(?:es|ing)?",
    "normal": r"smooth(?:ly)?|stead(?:y|ily)|even(?:ly)?",
}  # fmt: skip


def read_slots(caption: str) -> Slots:
    """Returns what a caption asks of the camera. What it says of people and things does not count."""
    text = _plain(caption)
    text, sizes = _taken(text, _SIZE_WORDS)
    text, angles = _taken(text, _ANGLE_WORDS)
    text, sides = _taken(text, _SIDE_WORDS)
    text, positions = _taken(text, _POSITION_WORDS)
    lower = text.lower()
    found = motions(lower)
    speeds = {name for name, words in _SPEED_WORDS.items() if re.search(rf"\b(?:{words})\b", lower)} if found else set()
    return Slots(*map(frozenset, (found, sizes, angles, sides, positions, speeds)))


def _plain(caption: str) -> str:
    """A caption with hyphens inside words as spaces and one kind of apostrophe; capitals stay."""
    text = re.sub(r"[‘’]", "'", caption)
    text = re.sub(r"\bcounter[- ]clockwise\b", "counterclockwise", text, flags=re.I)
    text = re.sub(r"(?<=\w)[-‐–](?=\w)", " ", text)
    return re.sub(r"[ \t]+", " ", re.sub(r"\s[-–—]\s|—", " - ", text))


def _taken(text: str, table: dict[str, str]) -> tuple[str, set[str]]:
    """(a text without the expressions of a table, the names of those that were found)."""
    found: set[str] = set()
    for names, words in table.items():
        # Abbreviations of two capitals are words of their own in lower case.
        capital = [w for w in words.split("|") if w.isupper()]
        rest = "|".join(w for w in words.split("|") if not w.isupper()) if capital else words
        pattern = rf"\b(?i:{rest})\b" + "".join(rf"|\b{w}\b" for w in capital)
        text, count = re.subn(pattern, " , ", text)
        if count:
            found |= set(names.split("|"))
    return text, found


# ---- agreement


def agreement(asked: Slots, seen: Slots) -> float:
    """Returns how well what is seen answers what was asked, as an F1 from 0 to 1; 1 where nothing was asked.

    Every motion that was asked counts as one, and size, angle, side, position and speed as one each. A motion that was
    not asked lowers the precision, and the opposite of one that was asked twice as much. A size, angle or side next to
    the asked one counts half.
    """
    hits, wanted, wrong = 0.0, 0, 0.0
    if asked.motions:
        hits, wanted = float(len(asked.motions & seen.motions)), len(asked.motions)
        others = seen.motions - asked.motions
        wrong = sum(2.0 if OPPOSITE.get(name) in asked.motions - seen.motions else 1.0 for name in others)
    for field, order in (
        ("sizes", SIZES), ("angles", ANGLES), ("sides", SIDES), ("positions", POSITIONS), ("speeds", SPEEDS)
    ):  # fmt: skip
        want, got = getattr(asked, field), getattr(seen, field)
        if want:
            wanted += 1
            hits += _nearness(want, got, tuple(order), ring=field == "sides") if got else 0.0
    return 1.0 if not wanted else 2 * hits / (hits + wrong + wanted)


def _nearness(want: frozenset[str], got: frozenset[str], order: tuple[str, ...], ring: bool) -> float:
    """1 where one of the wanted words is among the seen ones, 0.5 for a neighbour, else 0."""
    steps = [abs(order.index(a) - order.index(b)) for a in want for b in got]
    steps = [min(step, len(order) - step) for step in steps] if ring else steps
    return {0: 1.0, 1: 0.5}.get(min(steps), 0.0)
