"""Screenplays in plain text and Markdown, as people and language models write them.

Shots begin at lines that say so ("Shot 1:", "镜头1：", "## Shot 2 (4s)"), else at numbers, lengths, bullets or
headings, the first of these that the text has; else every paragraph after the first is one. What stands before the
first shot is the scene's caption. `lines.py` reads what a line begins with, `lengths.py` the times.
"""

import dataclasses
import re
import unicodedata

from shotverse_jax.screenplay import lengths
from shotverse_jax.screenplay.adapters import is_mark
from shotverse_jax.screenplay.lengths import Time, plain
from shotverse_jax.screenplay.lines import LABEL, LABELS, Line, mark_of
from shotverse_jax.screenplay.play import Screenplay, Shot, short

_BEFORE = re.compile(
    r"(?:here(?:'s|’s| is| are)|sure|certainly|of course|absolutely)\b.*:$|以下是.*[:：]$", re.IGNORECASE
)
_AFTER = re.compile(r"(?:let me know|feel free|would you like|i hope)\b", re.IGNORECASE)
_STRANGE = re.compile(r"[\[【｛{](?!\s*character\s*\d+\s*\])[^\[\]【】{}｛｝]{1,80}[\]】｝}]", re.IGNORECASE)


@dataclasses.dataclass
class Entry:
    """A shot as it is put together: its lines, the times that stand in them, and whether it has a list of its own."""

    head: str = ""
    body: list[str] = dataclasses.field(default_factory=list)
    times: list[Time] = dataclasses.field(default_factory=list)
    listed: bool = False


def parse_prose(text: str, fps: float = 16.0) -> Screenplay:
    """Reads a screenplay in plain text or Markdown; its notes name what was assumed, left out or not understood.

    Raises:
        ValueError: there is no shot, or a caption or a length that no shot can have.
    """
    return _Reader(text, fps).screenplay()


def has_shot_labels(text: str) -> bool:
    """Whether a line of a text says that a shot begins."""
    return any(mark_of(line).mark == "shot" for line in text.split("\n"))


def scenes_of(text: str) -> list[tuple[str, str]]:
    """Returns (title, text) of every scene of a text that has several, each with shots that say so; else none."""
    lines = text.split("\n")
    kinds = [mark_of(line).mark for line in lines]
    starts = [i for i, kind in enumerate(kinds) if kind == "scene"]
    if len(starts) < 2:
        return []
    ends = [*starts[1:], len(lines)]
    if not all("shot" in kinds[a:b] for a, b in zip(starts, ends, strict=True)):
        return []
    common = "\n".join(lines[: starts[0]])
    out = []
    for a, b in zip(starts, ends, strict=True):
        title = mark_of(lines[a]).text or lines[a].strip("# ")
        out.append((title, "\n\n".join([common, title, "\n".join(lines[a + 1 : b])])))
    return out


class _Reader:
    """Reads one scene."""

    def __init__(self, text: str, fps: float):
        self.notes: list[str] = []
        self.fps = fps
        self.lines = self._lines(text)
        self.mode = self._mode()

    def _lines(self, text: str) -> list[Line]:
        lines = [mark_of(words) for words in self._without_answer(text.split("\n"))]
        kept, fresh, label, deep = [], True, "", False
        for index, line in enumerate(lines):
            if re.fullmatch(r"\d+", line.words) and any(
                lengths.leading(x.words).time for x in lines[index + 1 : index + 2]
            ):
                line.mark = "blank"  # the count of a subtitle
            if line.mark in ("blank", "rule", "transition"):
                fresh = True
                if line.mark == "transition":
                    self._say(f"{short(line.text)} is no shot and was left out")
                # A paragraph ends what its label began; a heading's goes on to the next heading.
                label = label if deep or (label and lines[index - 1].label and not lines[index - 1].text) else ""
                continue
            line.fresh, fresh = fresh, False
            found = LABEL.fullmatch(plain(line.text)) if line.mark in ("", "bullet", "heading") else None
            name = (found[1] if found else line.text.strip(" :：")).casefold()
            if line.mark == "heading":
                label, deep = LABELS.get(name, ""), name in LABELS
                if deep and not (found and found[2]):
                    line.text, line.label = "", label
                    kept.append(line)
                    continue
            elif line.mark in ("shot", "scene"):
                label, deep = "", False
            elif found and name in LABELS and not line.time:
                label, deep = LABELS[name], False
            elif found and not deep:
                label = ""
            if found and name in LABELS and LABELS[name] in ("scene", "shots", "text"):
                line.text = line.text[found.start(2) :]
            line.label = label
            self._take_time(line)
            kept.append(line)
        stamped = [line for line in kept if line.stamped]
        if len(stamped) < 2:
            for line in stamped:
                line.time, line.stamped, line.text = None, False, f"{line.time.words} {line.text}"
        return self._one_line_paragraphs(kept)

    def _without_answer(self, lines: list[str]) -> list[str]:
        """The lines without what a language model says before and after an answer."""
        filled = [i for i, line in enumerate(lines) if line.strip()]
        ends = [(i, pattern) for i, pattern in zip(filled[:1] + filled[-1:], (_BEFORE, _AFTER), strict=False)]
        said = {i for i, pattern in ends if len(filled) > 2 and pattern.match(lines[i].strip())}
        for i in sorted(said):
            self._say(f"{short(lines[i].strip())} was left out: it is said to the reader")
        return ["" if i in said else line for i, line in enumerate(lines)]

    def _one_line_paragraphs(self, lines: list[Line]) -> list[Line]:
        """Without a blank line, lines that all end a sentence are paragraphs."""
        ends = tuple('.!?。！？…)）]】"”')
        if len(lines) > 1 and not any(line.fresh for line in lines[1:]):
            bare = [line for line in lines if not (line.mark or line.time)]
            if len(bare) == len(lines) and all(line.text.endswith(ends) for line in bare):
                self._say("there is no empty line; every line is read as a paragraph")
                for line in lines:
                    line.fresh = True
        return lines

    def _take_time(self, line: Line) -> None:
        found = lengths.leading(line.text)
        if not found.time:
            found = lengths.stamp(line.text)
            line.stamped = found.time is not None
        if found.time and line.label not in ("out", "look"):
            line.time, line.text = found.time, found.text.strip()
        else:
            line.stamped = False

    def _mode(self) -> str:
        """What begins a shot."""
        lines = [line for line in self.lines if line.label in ("", "shots", "text")]
        marks = [line.mark for line in lines]
        if "shot" in marks:
            return "shot"
        if len(_in_order([line for line in lines if line.mark == "number"])) > 1:
            return "number"
        if any(line.time and line.mark == "" for line in lines):
            return "paragraph"
        bullets = marks.count("bullet")
        if bullets > 1 or (bullets and any(line.fresh for line in lines[1:])):
            return "bullet"
        if marks.count("scene") > 1:
            self._say("scenes without shots of their own are read as shots")
            return "scene"
        headings = [line for line in lines if line.mark == "heading" and not line.label and line.number > 1]
        if len(headings) > 1:
            self._say("headings are read as the beginnings of shots")
            return "heading"
        return "paragraph"

    def _starts(self) -> set[int]:
        """Numbers of the lines that begin a shot."""
        at = list(enumerate(self.lines))
        free = [(i, line) for i, line in at if line.label in ("", "shots", "text")]
        if self.mode == "shot":
            starts, last = set(), 0
            for i, line in free:
                if line.mark == "shot" or (line.mark == "number" and line.number == last + 1):
                    starts.add(i)
                    last = line.number if line.mark == "shot" else last + 1
                elif starts and line.time and line.fresh and not line.mark and self.lines[i - 1].text:
                    starts.add(i)
            return starts
        if self.mode == "number":
            items = _in_order([line for _, line in free if line.mark == "number"])
            return {i for i, line in free if any(line is item for item in items)}
        if self.mode == "bullet":
            least = min(line.indent for _, line in free if line.mark == "bullet")
            return {i for i, line in free if line.mark == "bullet" and line.indent <= least + 1}
        if self.mode in ("scene", "heading"):
            wanted = [i for i, line in free if line.mark == self.mode and (self.mode == "scene" or line.number > 1)]
            return set(wanted)
        paragraphs = [
            i for i, line in free
            if (line.fresh or line.time) and line.mark != "heading" and not (line.mark == "bullet" and not line.time)
        ]  # fmt: skip
        if not paragraphs:
            return set()
        labelled = any(line.label == "scene" for line in self.lines) or any(
            line.label == "shots" for _, line in at if not line.text
        )
        alone = len(paragraphs) == 1 and not labelled
        if alone and not self.lines[paragraphs[0]].time:
            self._say("one paragraph is read as one shot, without a caption of the scene")
        first = self.lines[paragraphs[0]]
        return set(paragraphs if alone or labelled or first.time else paragraphs[1:])

    def screenplay(self) -> Screenplay:
        """Returns the screenplay."""
        starts = self._starts()
        if not starts:
            raise ValueError(
                "the screenplay has no shots; after the paragraph about the scene leave a blank line and write one "
                "paragraph per shot"
            )
        settings, caption, entries = {}, [], []
        for i, line in enumerate(self.lines):
            if i in starts:
                entries.append(Entry(head=line.text, times=[line.time] if line.time else []))
            elif line.label == "out" or (line.label in ("scene", "look") and not (entries and self._inside(line))):
                self._labelled(line, caption, settings)
            elif not entries:
                self._before(line, caption)
            else:
                self._more(line, entries)
        settings.setdefault("fps", self.fps)
        shots = [self._shot(number, entry) for number, entry in enumerate(entries, 1)]
        seconds, more = lengths.resolve([time for _, time in shots], settings["fps"])
        made = []
        for number, ((words, _), duration) in enumerate(zip(shots, seconds, strict=True), 1):
            try:
                made.append(Shot(words, duration))
            except ValueError as error:
                raise ValueError(f"shot {number}: {error}") from error
        title = self._title if not caption else ""
        words = _joined(caption) or title
        if self._title and words != self._title:
            self._say(f"the title {short(self._title)} is no part of the caption")
        self._strange(words, "the scene's caption")
        return Screenplay(words, tuple(made), notes=tuple([*self.notes, *more]), **settings)

    _title = ""

    def _before(self, line: Line, caption: list[str]) -> None:
        """A line before the first shot."""
        if line.mark == "heading" and not self._title:
            self._title = line.text
        elif line.text or line.time:
            _sentence(caption, line, f"{line.time.words} {line.text}" if line.time else line.text)

    def _labelled(self, line: Line, caption: list[str], settings: dict) -> None:
        """A line of a part that a label begins, such as "Style: …"."""
        found = LABEL.fullmatch(plain(line.text))
        name = line.text[: found.end(1)] if found and found[1].casefold() in LABELS else ""
        rate = re.search(r"(\d+(?:\.\d+)?)\s*(?:fps)?\s*$", line.text, re.IGNORECASE)
        if name.casefold() in ("fps", "frame rate") and rate:
            settings["fps"] = float(rate[1])
        elif line.label == "out":
            if line.text:
                self._say(f"{short(line.text)} was left out: it is no part of a picture")
        elif line.text:
            if line.label == "look" and name:
                self._say(f"“{name}:” is read as a part of the scene's caption and not as a shot")
            _sentence(caption, line, line.text)

    def _inside(self, line: Line) -> bool:
        """Whether a line with a label tells of the shot that it stands in."""
        return line.mark == "bullet" or not line.fresh

    def _more(self, line: Line, entries: list[Entry]) -> None:
        """A line that goes on with the shot before it."""
        entry = entries[-1]
        if line.mark == "heading":
            self._say(f"the heading {short(line.text)} is no shot and was left out")
            return
        if line.time:
            if entry.times or entry.body:
                entry.body.append(f"[{line.time.words}] {line.text}")
                return
            entry.times.append(line.time)
        if line.fresh and (entry.body or (entry.head and self.mode in ("bullet", "number", "shot") and not line.mark)):
            self._say(f"the paragraph {short(line.text)} is read as a part of shot {len(entries)}")
        if (time := lengths.read_time(line.text)) and ":" in plain(line.text):  # a line of its own, "Duration: 5"
            entry.times.append(time)
        elif line.text:
            entry.listed |= line.mark == "bullet"
            if line.mark == "bullet" or LABEL.fullmatch(plain(line.text)):
                line.label = "look"
            _sentence(entry.body, line, f"{line.number}. {line.text}" if line.mark == "number" else line.text)

    def _shot(self, number: int, entry: Entry) -> tuple[str, Time | None]:
        """(caption, time) of a shot."""
        times, head = list(entry.times), entry.head
        body = _joined(entry.body)
        if body and not times and (found := lengths.leading(body)).time:
            times, body = [found.time], found.text
        parts = []
        for words in (head, body):
            part = words
            if time := lengths.read_time(part):
                times.append(time)
                part = ""
            for take in (lengths.trailing, lengths.keyed, lengths.between_bars, lengths.trailing):
                found = take(part)
                if found.time:
                    times.append(found.time)
                    part = found.text
            # What stood between a caption and its length, or before the next line, is no part of either.
            parts.append(re.sub(r"[\s|:-]+$", "", part) if part != words or (words is head and body) else part)
        if not times:
            for i, part in enumerate(parts):
                found = lengths.only_bracket(part)
                if found.time and not times:
                    times, parts[i] = [found.time], found.text
        head, body = (part.strip() for part in parts)
        self._strange(f"{head} {body}", f"shot {number}")
        if (
            head
            and body
            and (self.mode in ("shot", "heading", "scene") or entry.listed)
            and head[-1] not in ".!?。！？…,;:"
        ):
            head += "." if head[-1].isascii() else "。"
        if len({_seconds(time) for time in times}) > 1:
            self._say(f"shot {number} has several lengths; {short(times[0].words)} counts")
        return _joined([head, body]), times[0] if times else None

    def _strange(self, text: str, where: str) -> None:
        for found in _STRANGE.finditer(text):
            marker = re.match(r"\[\s*(global caption|per shot caption|shot cut)\s*\]", found[0], re.IGNORECASE)
            if not marker and not is_mark(found[0]):
                self._say(f"{where}: {short(found[0])} is not understood and stays in the caption")
        if found := re.match(r"\s*\(\s*[\d.,:]+[^()]{0,8}\)", plain(text)):
            self._say(f"{where}: {short(found[0].strip())} is not understood as a length and stays in the caption")

    def _say(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)


def _in_order(items: list[Line]) -> list[Line]:
    """The items whose numbers go up one by one from 1 or 0."""
    out: list[Line] = []
    for item in items:
        if item.number == out[-1].number + 1 if out else item.number in (0, 1):
            out.append(item)
    return out


def _seconds(time: Time) -> float:
    return round(time.second - time.first if time.kind in ("span", "range") else time.first, 6)


def _sentence(caption: list[str], line: Line, words: str) -> None:
    """Adds words to a caption; a paragraph, or what a label begins, is a sentence of its own."""
    if caption and (line.fresh or line.label == "look") and caption[-1][-1:].isalnum():
        caption[-1] += "." if caption[-1][-1].isascii() else "。"
    caption.append(words)


def _joined(parts: list[str]) -> str:
    """Lines as one text: Chinese and Japanese have no blanks between them."""
    out = ""
    for part in filter(None, (part.strip() for part in parts)):
        wide = out and all(unicodedata.east_asian_width(letter) in "WF" for letter in (out[-1], part[0]))
        out += part if wide or not out else f" {part}"
    return out
