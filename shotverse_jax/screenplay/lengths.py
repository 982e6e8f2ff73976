"""Lengths and time codes as people write them into the text of a shot: "[4s]", "Duration: 5 seconds", "(0:03-0:07)"."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from shotverse_jax.screenplay.play import short

_WIDE = str.maketrans(
    "０１２３４５６７８９（）［］｛｝＜＞【】〔〕〈〉《》「」：，、．。；｜＃－—–―−‐‑～〜〰\u3000\u00a0\t″＂”“’′",
    '0123456789()[]{}<>[][]<><>[]:,,..;|#-------~~~   """"\'\'',
)
_WORDS = {
    "zero": 0,
    "half": 0.5,
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
}
_WORDS |= {"nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "fifteen": 15, "twenty": 20, "thirty": 30}
_HAN = {digit: value for value, digit in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2, "兩": 2}

_S = r"(?:seconds?|secs?|sekunden?|sek|segundos?|secondes?|secondi|сек|с|s|秒钟|秒鐘|秒间|秒間|秒|초|''|\")\.?"
_MIN = r"(?:minutes?|mins?|minuten?|minutos?|мин|m|分钟|分鐘|分|분)\.?"
_MS = r"(?:milliseconds?|msecs?|ms|毫秒)"
_FRAMES = r"(?:frames?|frm|fr|f|帧|幀|フレーム|コマ)\.?"
_NUM = rf"(?:\d+(?:[.,]\d+)?|[.,]\d+|\b(?:{'|'.join(_WORDS)})\b|[{''.join(_HAN)}十]{{1,3}})"
_CLOCK = r"\d{1,3}:\d{2}(?::\d{2})?(?:[:;]\d{2}|[.,]\d{1,3})?"
_NAME = (
    r"(?:shot\s+)?(?:duration|length|dur|len|runtime|running time|time|timing|timecode|dauer|länge|durée|duración"
    r"|durata|时长|時長|長さ|尺|時間|时间|持续|約|约|长度)\.?"
)
_ABOUT = r"(?:~|≈|about|approx\.?|approximately|around|circa|ca\.?|c\.|约|約|大约)?\s*"
_TO = r"\s*(?:-+>?|~|→|to|until|bis|à|au|到|至|から)\s*"
LENGTH = rf"(?:{_NUM}\s*{_MIN}\s*(?:{_NUM}\s*{_S})?|{_NUM}\s*(?:{_MS}|{_S}|{_FRAMES}))"
_PLACE = rf"(?:{_CLOCK}|{_NUM}\s*{_S}|{_NUM})"
_END = r"\s*(?:long|左右|程度|まで|each)?\s*"
_CONTENT = re.compile(
    rf"(?:{_NAME}\s*[:=]?\s*)?{_ABOUT}(?:(?P<a>{_PLACE}){_TO}(?P<b>{_PLACE})|(?P<clock>{_CLOCK})|(?P<len>{LENGTH})){_END}",
    re.IGNORECASE,
)
_BARE = re.compile(rf"{_NAME}\s*[:=]\s*{_ABOUT}(?P<len>{_NUM})\s*", re.IGNORECASE)
_BRACKET = re.compile(r"[\[({<]\s*([^\[\](){}<>\n]{1,60})[\])}>]")
# Numbers that no shot can have (nan, inf, negative) match too: they are refused and do not become words of a caption.
_NO_LENGTH = re.compile(rf"\s*([-+]?(?:nan|inf(?:inity)?|\d[\d.,]*(?:e[-+]?\d+)?|\.\d+))\s*{_S}\s*", re.IGNORECASE)
_LEADING = re.compile(
    rf"\s*(?:({_PLACE}{_TO}(?:{_CLOCK}|{_NUM}\s*{_S}))\s*[:|.,-]*|({_CLOCK}|{LENGTH})\s*[:|-])(?=\s|$)", re.I
)
_STAMP = re.compile(rf"\s*({_CLOCK})\s+(?=\S)")
_KEYED = re.compile(
    rf"(?:^|(?<=[\s.;,|(-])){_NAME}\s*[:=]\s*{_ABOUT}({_PLACE}{_TO}{_PLACE}|{_CLOCK}|{LENGTH}|{_NUM})\s*(?=[.;,|)\n]|$)[.;,|]?"
    rf"|(?:时长|時長|長さ|尺)\s*({LENGTH})[.;,]?",
    re.IGNORECASE,
)
_TRAILING = re.compile(rf"(?:[.;,|!?-]|\s/)\s*({LENGTH})\s*$", re.IGNORECASE)


class Time(NamedTuple):
    """What was written about the time of a shot.

    Attributes:
        kind: "length" in seconds; "frames"; "clock", one time code; "span" from one to another; "range" of two numbers
            of seconds, which is a span or a length that is not exact.
        first, second: the numbers, in seconds or frames; `second` is that of a span or range.
        words: as it was written.
    """

    kind: str
    first: float
    second: float
    words: str


def plain(text: str) -> str:
    """Returns a text of the same length with full-width digits, brackets and signs as those of ASCII."""
    return text.translate(_WIDE)


def number(text: str) -> float | None:
    """Returns the number that digits, English words or Chinese numerals name; None for anything else."""
    text = text.strip().casefold()
    if text in _WORDS:
        return float(_WORDS[text])
    if text and all(letter in _HAN or letter == "十" for letter in text):
        tens, ten, ones = text.rpartition("十")
        value = (_HAN.get(tens, 1) if ten else 0) * 10
        return float(value + (_HAN.get(ones, 0) if ones else 0))
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return None


def read_time(content: str) -> Time | None:
    """Returns the time that all of a text is, as the content of a bracket or of a cell; None for anything else."""
    words = plain(content).strip()
    match = _CONTENT.fullmatch(words) or _BARE.fullmatch(words)
    if not match:
        return None
    found = match.groupdict()
    if found.get("a"):
        first, second = _place(found["a"]), _place(found["b"])
        clocks = ":" in found["a"] or ":" in found["b"]
        if first is None or second is None or not (clocks or re.search(rf"{_S}$", found["b"], re.IGNORECASE)):
            return None
        return Time("span" if clocks else "range", first, second, content.strip())
    if found.get("clock"):
        return Time("clock", _place(found["clock"]), 0.0, content.strip())
    return _length(found["len"], content.strip())


def _length(text: str, words: str) -> Time | None:
    minutes = re.match(rf"\s*({_NUM})\s*{_MIN}(?![^\W\d])", text, re.IGNORECASE)
    rest = text[minutes.end() :] if minutes else text
    unit = re.match(rf"\s*({_NUM})\s*(?:(?P<ms>{_MS})|(?P<s>{_S})|(?P<f>{_FRAMES}))?\s*$", rest, re.IGNORECASE)
    if not (minutes or unit) or (unit is None and rest.strip()):
        return None
    value = number(unit[1]) if unit else 0.0
    long = number(minutes[1]) if minutes else 0.0
    if value is None or long is None:
        return None
    if unit and unit["f"]:
        return Time("frames", value, 0.0, words)
    return Time("length", 60 * long + value / (1000 if unit and unit["ms"] else 1), 0.0, words)


def _place(text: str) -> float | None:
    """Seconds of a time code (minutes:seconds, hours:minutes:seconds, with a fraction or frames of 24 a second)."""
    if ":" not in text:
        return number(re.sub(rf"{_S}$", "", text.strip(), flags=re.IGNORECASE))
    parts = re.split(r"[:;]", text.replace(",", "."))
    frames = float(parts.pop()) / 24 if len(parts) == 4 else 0.0
    seconds = 0.0
    for part in parts:
        seconds = 60 * seconds + float(part)
    return seconds + frames


class Found(NamedTuple):
    """A text from which a time was taken out.

    Attributes:
        time: what was taken out, None for nothing.
        text: what is left.
    """

    time: Time | None
    text: str


def leading(text: str) -> Found:
    """Takes a time from the beginning of a text: in a bracket, as a range, or with a colon or dash behind it."""
    flat, start = plain(text), len(text) - len(text.lstrip())
    if bracket := _BRACKET.match(flat, start):
        time, kept = _inside(bracket[1], text[bracket.start(1) : bracket.end(1)])
        if time := time or _odd_length(bracket):
            rest = text[bracket.end() :]
            return Found(time, f"({kept}) {rest}" if kept else rest[re.match(r"\s*[:|-]?", plain(rest)).end() :])
    if match := _LEADING.match(flat):
        return Found(read_time(match[1] or match[2]), text[match.end() :])
    return Found(None, text)


def stamp(text: str) -> Found:
    """Takes a single time code from the beginning of a text, "0:04 Close-up"."""
    match = _STAMP.match(plain(text))
    return Found(read_time(match[1]), text[match.end() :]) if match else Found(None, text)


def trailing(text: str) -> Found:
    """Takes a time from the end of a text: in a bracket, or behind a full stop, comma, dash or bar."""
    flat = plain(text).rstrip()
    body = flat.rstrip(" .:;,")
    for bracket in _BRACKET.finditer(flat):
        if bracket.end() == len(body):
            time, kept = _inside(bracket[1], text[bracket.start(1) : bracket.end(1)])
            if time:
                return Found(time, text[: bracket.start()].rstrip() + (f" ({kept})" if kept else ""))
    if match := _TRAILING.search(body):
        stop = match.start() + (flat[match.start()] in ".!?")
        return Found(read_time(match[1]), text[:stop].rstrip())
    return Found(None, text)


def keyed(text: str) -> Found:
    """Takes "Duration: 5 seconds" out of a text, wherever it stands."""
    if match := _KEYED.search(plain(text)):
        words = match[1] or match[2]
        time = read_time(words) or read_time(f"duration: {words}")
        if time:
            return Found(time, f"{text[: match.start()].rstrip()} {text[match.end() :].lstrip()}".strip())
    return Found(None, text)


def between_bars(text: str) -> Found:
    """Takes a time from a text in columns, "Wide | 4s | The camera pans"; what is left are sentences."""
    parts = [part.strip() for part in text.split("|")]
    times = [time for part in parts if (time := read_time(part))]
    if len(times) != 1 or len(parts) < 2:
        return Found(None, text)
    kept = [part if part[-1] in ".!?。" else f"{part}." for part in parts if part and not read_time(part)]
    return Found(times[0], " ".join(kept))


def only_bracket(text: str) -> Found:
    """Takes the only bracket out of a text that holds a time, wherever it stands."""
    flat = plain(text)
    times = [(b, time) for b in _BRACKET.finditer(flat) if (time := read_time(b[1]))]
    if len(times) != 1:
        return Found(None, text)
    bracket, time = times[0]
    before, after = text[: bracket.start()].rstrip(), text[bracket.end() :].lstrip()
    return Found(time, (before + after if after[:1] in tuple(",.;:!?") else f"{before} {after}").strip())


def _inside(flat: str, content: str) -> tuple[Time | None, str]:
    """(the time in a bracket, what else stands in it)."""
    if time := read_time(flat):
        return time, ""
    parts = [part for part in re.split(r"[;|/]|,\s|\s-\s", flat) if part.strip()]
    times = [time for part in parts if (time := read_time(part))]
    if len(times) != 1 or len(parts) < 2:
        return None, ""
    return times[0], ", ".join(part.strip() for part in parts if not read_time(part))


def _odd_length(bracket: re.Match) -> Time | None:
    """The length in a bracket that only Python reads, as 1e-3s; raises ValueError for one that no shot can have."""
    found = _NO_LENGTH.fullmatch(bracket[1])
    if found is None:
        return None
    try:
        value = float(found[1])
    except ValueError as error:
        raise ValueError(
            f"the duration {bracket[0]!r} is not a number of seconds; write it as [4s] or (3.5 s)"
        ) from error
    return Time("length", value, 0.0, bracket[1].strip())


def resolve(times: Sequence[Time | None], fps: float) -> tuple[list[float | None], list[str]]:
    """Returns the length in seconds of every shot, None where it has none, and notes about what was assumed.

    Time codes that rise from zero, one a shot, are where shots begin; else one time code is a length. Ranges of seconds
    that follow each other are spans; else the mean is taken.

    Raises:
        ValueError: a shot ends before it begins.
    """
    known = [time for time in times if time]
    if len(known) > 1 and all(time.kind == "clock" for time in known) and len(known) == len(times):
        firsts = [time.first for time in known]
        if firsts[0] == 0 and all(a < b for a, b in zip(firsts, firsts[1:], strict=False)):
            lengths = [b - a for a, b in zip(firsts, firsts[1:], strict=False)]
            return [*lengths, None], ["time codes are read as the beginnings of shots; the last shot has no length"]
    ranges = [time for time in known if time.kind == "range"]
    chained = bool(ranges) and ranges[0].first == 0 and len(known) == len(ranges)
    chained = chained and all(a.second == b.first for a, b in zip(ranges, ranges[1:], strict=False))
    lengths, notes, end = [], [], None
    for index, time in enumerate(times, 1):
        if time is None:
            lengths.append(None)
            continue
        if time.kind == "span" or (time.kind == "range" and chained):
            if time.second <= time.first:
                raise ValueError(f"shot {index}: the time {short(time.words)} ends before it begins")
            lengths.append(time.second - time.first)
            if end is not None and abs(time.first - end) > 1e-6:
                gap = time.first - end
                words = f"leave {gap:g} s between them out" if gap > 0 else f"overlap by {-gap:g} s"
                notes.append(
                    f"the time codes of shots {index - 1} and {index} {words}; only the lengths of shots count"
                )
            end = time.second
            continue
        end = None if end is None else end + time.first
        if time.kind == "range":
            mean = (time.first + time.second) / 2
            lengths.append(mean)
            notes.append(f"shot {index}: {short(time.words)} is read as {mean:g} s")
        elif time.kind == "frames":
            lengths.append(time.first / fps)
            notes.append(f"shot {index}: {short(time.words)} are {time.first / fps:g} s at {fps:g} fps")
        else:
            lengths.append(time.first)
    return lengths, notes
