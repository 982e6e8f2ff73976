"""The camera's motions that a caption asks for, read by rule: who moves, in which way, and which way round.

A caption speaks of people who turn and things that fall, too. So every clause is read word by word with the one who
acts in mind: the camera (or "we", "the shot", nobody: "Pan left"), or somebody else, whose motions do not count.
"""

import re
from typing import NamedTuple


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


LEFT, RIGHT, UP, DOWN, FORWARD, BACK, CLOCKWISE, COUNTER = "LRUDFB+-"

_DIRECTION = {
    LEFT: "left leftward leftwards",
    RIGHT: "right rightward rightwards",
    UP: "up upward upwards higher",
    DOWN: "down downward downwards lower",
    FORWARD: "in into inward forward forwards foward closer nearer near toward towards",
    BACK: "back backward backwards out outward outwards away off",
    CLOCKWISE: "clockwise",
    COUNTER: "counterclockwise anticlockwise",
}
_WAY = {word: way for way, words in _DIRECTION.items() for word in words.split()}

_YAW = {LEFT: ("yaw left",), RIGHT: ("yaw right",)}
_PITCH = {UP: ("pitch up",), DOWN: ("pitch down",)}
_ROLL = {LEFT: ("roll left",), RIGHT: ("roll right",), COUNTER: ("roll left",), CLOCKWISE: ("roll right",)}
_MOVE = {
    LEFT: ("move left",), RIGHT: ("move right",), UP: ("move up",), DOWN: ("move down",), FORWARD: ("move forward",),
    BACK: ("move backward",),
}  # fmt: skip
_ZOOM = {FORWARD: ("zoom in",), BACK: ("zoom out",)}
_ASIDE = {LEFT: ("move left",), RIGHT: ("move right",)}
_UPRIGHT = {UP: ("move up",), DOWN: ("move down",)}
# A camera that goes around somebody clockwise, seen from above, goes to its left and turns to its right.
_ARC_LEFT, _ARC_RIGHT = ("move left", "yaw right"), ("move right", "yaw left")
_ARC = {LEFT: _ARC_LEFT, RIGHT: _ARC_RIGHT, CLOCKWISE: _ARC_LEFT, COUNTER: _ARC_RIGHT}
_TURN = _YAW | _PITCH | {CLOCKWISE: ("roll right",), COUNTER: ("roll left",)}

# {what a verb does by direction: its verbs}; a star marks verbs that only cameras do, whoever is named before them.
_LEXICON: tuple[tuple[dict, str, str], ...] = (
    (_TURN, "", "pan* yaw* swivel* whip* pivot rotate turn swing look sweep scan spin snap flick jerk gaze glance"),
    (_PITCH | _ROLL, "", "tilt* titl* pitch* tip angle nod point"),
    (_ROLL, "", "roll bank lean cant dutch* twist heel"),
    (_MOVE, "", "truck* dolly* track* crab* strafe* push pull move slide glide drift shift travel float slip"),
    (_ZOOM, "", "zoom*"),
    (_MOVE, "", "go come step creep head fly ease press rush inch crawl edge draw close get continue sail ride reverse"
     " back walk race run"),
    (_MOVE, "", "crane* boom* jib* pedestal*"),
    (_MOVE, UP, "rise ascend elevate climb soar raise lift"),
    (_MOVE, DOWN, "descend descent lower sink drop fall dip settle"),
    ({DOWN: ("move down", "move forward")}, DOWN, "swoop"),
    ({**_ASIDE, FORWARD: ("move forward",)}, FORWARD, "approach advance tighten"),
    ({**_ASIDE, BACK: ("move backward",)}, BACK, "retreat withdraw recede widen pullback* lead"),
    ({**_ASIDE, FORWARD: ("move forward",)}, FORWARD, "follow trail chase"),
    (_ASIDE, "", "pace"),
    (_ARC, "", "arc* orbit* circle revolve curve wrap"),
)  # fmt: skip
_DOUBLED = _set("pan tip nod whip snap jib dip slip drop step get spin scan wrap crab run")
_ODD_FORMS = {
    "swung": ("swing", "past"), "rose": ("rise", "past"), "sank": ("sink", "past"), "fell": ("fall", "past"),
    "spun": ("spin", "past"), "drew": ("draw", "past"), "crept": ("creep", "past"), "dollies": ("dolly", "third"),
    "flies": ("fly", "third"),
}  # fmt: skip


class _Verb(NamedTuple):
    """A form of a verb.

    Attributes:
        name: the verb.
        form: "base", "third", "gerund" or "past".
        does: motions by direction.
        usual: its direction without a word for one, "" for none.
        own: only cameras do it.
    """

    name: str
    form: str
    does: dict
    usual: str
    own: bool


def _forms(verb: str) -> dict[str, str]:
    """{form of a regular verb: its kind}; British spellings too."""
    stem = verb[:-1] if verb.endswith("e") else verb + verb[-1] if verb in _DOUBLED else verb
    third = verb + ("es" if verb.endswith(("s", "sh", "ch", "x", "o")) else "s")
    also = {verb + verb[-1] + "ing": "gerund"} if verb in ("travel", "swivel", "pedestal") else {}
    return also | {verb: "base", third: "third", stem + "ing": "gerund", stem + "ed": "past"}


def _verbs() -> dict[str, _Verb]:
    verbs = {}
    for does, usual, names in _LEXICON:
        for marked in names.split():
            name = marked.rstrip("*")
            forms = _forms(name) | {form: kind for form, (verb, kind) in _ODD_FORMS.items() if verb == name}
            verbs |= {form: _Verb(name, kind, does, usual, marked != name) for form, kind in forms.items()}
    return verbs


_VERBS = _verbs()
_WHOM = _set("follow trail chase pace lead")
"""After these verbs comes whom, so that a direction may be far away."""
_GAZE = _set("gaze view eyes head look")
_CAMERA = _set("camera cam shot frame lens view picture image operator cameraman steadicam gimbal drone pov ourselves")
_PEOPLE = _set("she he they i you nobody someone everyone somebody everybody who")
_SEES = _set("see sees show shows watch watches find finds reveal reveals meet meets")
_RESETS = _set("as while when until where because that so meanwhile")
_STOPS = _RESETS | {"and", "then", "before", "after", "but", "once"}
_DETERMINERS = _set("the a an her his their its my our this that")
_NOT_IN = _DETERMINERS - {"this", "that"} | {"front", "one", "silence"}
"""Before these words "in" is no direction: "in front", "in a wide sweep"."""
_BEINGS = re.compile(
    r"(?:her|him|them|it|(?:a|an|the) (?:\w+ )?(?:man|woman|child|boy|girl|robot|dog|horse|car|person|couple))\b"
)
_TO = _set("to toward towards")
_HIGH, _LOW = _set("sky ceiling stars top heavens"), _set("floor ground feet")
_ADJECTIVES = _set("left right leftward rightward upward downward forward backward clockwise counterclockwise")
_NOUNS = _set("pan roll tilt truck dolly slide track arc orbit turn move")
_LIGHT = _GAZE | _set(
    "the camera shot straight sideways laterally vertically over from to low high its slow fast right"
)
"""Words that may stand between a verb and its direction."""
_OPEN = _set(
    """a an the its one two three first second third then next now finally last lastly after afterwards before once and
    but also with in at on of for by to from into start starts starting begin begins beginning open opens opening end
    ends ending finish finishes finishing close closes continue continues keep keeps keeping have has make makes use
    give get go let there is be are will it we our us this movement movements moves move shot camera long short brief
    slow gentle subtle gradual soft slight smooth steady simple even fast quick rapid big dramatic brisk sweeping
    combined same another moment beat bit instant second seconds little much most mostly final very end time done from
    straight lateral sideways vertical upward downward forward backward leftward rightward left right counterclockwise
    clockwise handheld shaky back almost that not do does no just only still slight full complete tracking crane
    dolly side wide tight half that rest throughout by followed following over again all around along ever more while
    together as soon down up lowering vertically"""
)
"""Words before a motion that name nobody who moves: "After a short, smooth tilt …"."""
_STATIC = re.compile(
    r"\b(?:static|stationary|motionless|untouched|sticks|not moving|without moving|lock(?:ed)? ?(?:off|shot|down)"
    r"|(?:locked|tripod|fixed|still) (?:shot|frame|camera|tripod)|no (?:camera )?(?:movement|moves?))\b"
)
_STILL = re.compile(
    r"(?:hold|holds|holding|stays?|staying|remains?|remaining|keeps?|keeping|sits?|sitting|rests? on|resting on"
    r"|lingers?|lingering|stops? moving|stopping moving|do(?:es)? not move|doesn't move|don't move)\b"
)
_STILL_HOW = re.compile(r"\b(?:still|put|fixed|steady|again|tripod|locked|off|frame|moving|move|hold\w*|linger\w*)\b")


def motions(text: str) -> set[str]:
    """Returns the motions that a caption asks of the camera; an empty set for none.

    The words are those of `camera.vocabulary.MOTIONS` and its `ZOOMS`; "static" comes alone.

    text: in lower case, without hyphens inside words, and without what names sizes, angles and sides.
    """
    found: set[str] = set()
    text = re.sub(r"\bas if (?:drunk|\w+ were \w+)", " ", text.replace("+", " and "))
    still, actor = bool(_STATIC.search(text)), "open"
    for sentence in re.split(r"[.!?;:\n]| - ", text):
        for number, clause in enumerate(re.split(r"[,()]", sentence)):
            # A new sentence may have a new actor; after a comma "turns left" is still what the last one does.
            got, holds, actor = _clause(re.findall(r"[a-z']+", clause), actor if number else "open")
            found |= got
            still |= holds
    return found or ({"static"} if still else set())


def _clause(words: list[str], before: str) -> tuple[set[str], bool, str]:
    """(the camera's motions, whether it holds, who acted last) of one clause.

    before: who acted last before it: "camera", "other", or "open" for nobody yet.
    """
    # "moves right, up, and forward": a clause of directions alone goes on with a move.
    if words and before == "camera" and all(word in _WAY or word == "and" for word in words):
        return {name for word in words if word in _WAY for name in _MOVE.get(_WAY[word], ())}, False, "camera"
    found: set[str] = set()
    actor, last, main = "open", before, "open"  # `main` acts in the clause before "until"
    still, index, free = False, 0, 0  # `free` is the first word that no motion has taken
    count, words = len(words), words + 8 * [""]  # what is looked ahead for is always there
    while index < count:
        word, verb = words[index], _VERBS.get(words[index])
        if actor != "other" and _holds(words, index):
            still, actor, last = True, "camera", "camera"
        if verb and _is_cameras(verb, words, index, actor, before, bool(found)):
            names, after = _motion(verb, words, index, free)
            if names:
                found, index, free = found | names, after, after
                last = actor = "camera" if actor == "open" else actor
                continue
        previous = words[index - 1] if index else ""
        if word in ("we", "it") or (word in _CAMERA and not _aimed_at(words, index)):
            actor = last = "camera"
        elif word in _PEOPLE:
            actor = last = "other"
        elif word in _SEES and previous in _CAMERA | {"we"} and "until" not in words[:index]:
            actor = "other"  # "we see a woman turning round"
        elif word in _RESETS:
            main, actor = (actor if word == "until" else "open"), "open"
        elif word in _STOPS and main == "camera":
            actor = "camera"  # "closes in until a door fills the frame and rises"
        elif word == "and" and words[index + 1] in _DETERMINERS:
            actor = "open"
        elif actor == "open" and not (word in _OPEN or word.endswith("ly") or verb or _STILL.match(word)):
            actor = last = "other"
        index += 1
    return found, still, last


def _is_cameras(verb: _Verb, words: list[str], index: int, actor: str, before: str, more: bool) -> bool:
    """Whether a motion verb at a place of a clause is the camera's; `more` if the clause told of a motion before."""
    previous, ahead = words[max(0, index - 2) : index], words[index + 1 :]
    if verb.name in _WHOM and ((previous[-1:] == ["to"] and more) or ahead[0] == "by"):
        return False  # "pan left to follow her", "a pan followed by a tilt"
    if verb.name == "step" and previous[-1:] and previous[-1] in _DETERMINERS:
        return False  # "takes a step back"
    if verb.name == "sweep" and verb.form == "gerund" and (ahead[0] in _VERBS or ahead[1] in _VERBS):
        return False  # "a sweeping downward move"
    if verb.name in ("go", "get") and ahead[0] in ("for", "a", "an"):
        return False  # "go for a left pan"
    if verb.name == "close" and ahead[0] != "in":
        return False
    if "it" in previous and ("at" in ahead[1:3] or "listens" in ahead[:6]):
        return False  # "it looks up at the clock"
    orphan = verb.form == "third" and before == "other"
    if actor == "other":
        return verb.own and not set(previous) & _PEOPLE and not orphan
    return actor == "camera" or not orphan


def _holds(words: list[str], index: int) -> bool:
    clause = " ".join(words[index : index + 5])
    return bool(_STILL.match(clause) and _STILL_HOW.search(clause))


def _aimed_at(words: list[str], index: int) -> bool:
    """Whether the camera is only what somebody looks at or fills: "facing the camera", "until it fills the frame"."""
    start = index - 1 - (index > 0 and words[index - 1] in _DETERMINERS)
    return start >= 0 and words[start] in _TO | {"facing", "at", "into", "past", "fills", "fill"}


def _motion(verb: _Verb, words: list[str], index: int, free: int) -> tuple[set[str], int]:
    """(motions of the verb at a place, the place after it and its directions); no motions where it has no direction."""
    name, form, does, usual, _ = verb
    ahead, adjective = words[index + 1 :], words[index - 1] if index > free else ""
    upright = usual in (UP, DOWN)
    if upright and ahead[0] in _DETERMINERS and ahead[1] in _GAZE:
        return set(_PITCH[usual]), index + 3  # "lowers its gaze"
    if name == "back":
        return (set(_MOVE[BACK]), index + 2) if ahead[0] in ("up", "away", "off") else (set(), index)
    if name in ("walk", "run", "race") and ahead[0] not in ("behind", "backward", "backwards", "back"):
        return set(), index
    if ahead[0] == "behind" and does is _MOVE and not usual:
        return set(_MOVE[FORWARD]), index + 2
    ways, end, around = _ways(_ASIDE | _UPRIGHT if upright else does, ahead, far=name in _WHOM or does is _ARC)
    if around and name not in ("pan", "yaw", "tilt", "look", "roll"):
        does = _ARC
    if adjective in _ADJECTIVES and (not ways or name == "move"):
        ways, end = [_WAY[adjective]], 0  # "a left pan"
    if not ways and usual:
        noun = form == "gerund" and adjective in _DETERMINERS and ahead[0] not in ("move", "shot")  # "a falling plane"
        what = upright and ahead[0] in _NOT_IN  # "climbs the tower", "drops the ring"
        if not noun and not what and not (name == "lead" and not ahead[0]):
            ways, end = [usual], int(ahead[0] == "move")  # "a lowering move"
    if upright and ways:  # "up and away"; "rise and pull back" has a second verb
        place = end + (ahead[end] == "and")
        if ahead[place] in ("back", "away") or (ahead[place] == "in" and ahead[place + 1] not in _NOT_IN):
            ways, does = [*ways, _WAY[ahead[place]]], _MOVE
    if DOWN in ways and name in ("come", "descend") and _toward_being(ahead[end:]):
        ways, does = [*ways, FORWARD], _MOVE
    return {motion for way in ways for motion in does.get(way, ())}, index + 1 + end


def _toward_being(ahead: list[str]) -> bool:
    """Whether words begin with "toward" somebody."""
    if ahead[0] not in ("toward", "towards") or not ahead[1]:
        return False
    return ahead[1] not in _DETERMINERS | _CAMERA or bool(_BEINGS.match(" ".join(ahead[1:5])))


def _ways(does: dict, ahead: list[str], far: bool) -> tuple[list[str], int, bool]:
    """(directions after a verb, words that they take, whether they go around something).

    Left and right may be several words away ("tracks with her to the left"); the others belong to their verb and
    follow it, since "in", "up" and "off" mean much else.
    """
    around = False
    if ahead[0] == "toward" and ahead[1] == "the" and does.get(UP) == _PITCH[UP] and ahead[2] in _HIGH | _LOW:
        return [UP if ahead[2] in _HIGH else DOWN], 3, False
    for place, word in enumerate(ahead[:12]):
        if word in ("circle", "semicircle"):
            around = True
            continue
        another = word in _VERBS and not far and (place > 0 or word not in _WAY)
        if not word or word in _STOPS or (another and word not in ("moving", "shot", "head", "back", "look")):
            break
        if word in ("around", "round") and ahead[place + 1] not in ("to", "left", "right", "its"):
            around = True
        way = _way(ahead, place)
        if way is None or (way not in does and not (around and way in _ARC)):
            continue
        if way not in (LEFT, RIGHT, CLOCKWISE, COUNTER) and not all(
            other in _LIGHT or other.endswith("ly") for other in ahead[:place]
        ):
            continue
        ways, end = [way], place + 1
        while (more := _further(does, ahead, end, ways[-1])) > end:  # "up and back", "right and up", "in closer"
            ways, end = [*ways, _WAY[ahead[more - 1]]], more
        return ways, end, around
    return [], 0, around


def _way(ahead: list[str], place: int) -> str | None:
    """The direction that a word means at its place; None for none."""
    word, before, after = ahead[place], ahead[place - 1] if place else "", ahead[place + 1]
    if word in ("high", "low") and before == "to":
        return UP if word == "high" else DOWN  # "from low to high"
    if word == "in" and after in _NOT_IN:
        return None
    way = _WAY.get(word)
    if way in (LEFT, RIGHT, CLOCKWISE, COUNTER):
        if before == "from" and after == "to":
            return None  # "from right to left"
        if after in _NOUNS:
            return None  # "into a left pan"
        if before == "the" and (place < 2 or ahead[place - 2] not in _TO):
            return None  # "the window on the left"
    return way


def _further(does: dict, ahead: list[str], end: int, last: str) -> int:
    """The place after one more direction that follows others at `end`; `end` where there is none."""
    joined = ahead[end] == "and"
    place = end + joined
    word = ahead[place]
    if word not in _WAY or word in ("into", "toward", "towards", "near") or _WAY[word] not in does:
        return end
    if not joined and _WAY[word] != last and _WAY[word] not in (LEFT, RIGHT):
        return end
    return end if ahead[place + 1] in _NOUNS else place + 1  # "to the left and right roll"
