"""Screenplays: what a film should show, shot by shot, and the exact frames at which its shots change.

Four forms are read and written:

- YAML and JSON: `caption` (or `global_caption`), `shots` (a list of strings or of {caption, duration in seconds}), and
  optionally `fps`, `width`, `height`, `frames`.
- plain text: the first paragraph is the global caption, every later paragraph is a shot; a shot may open with its
  duration, "[4s]" or "(3.5 s)".
- HoloCine's prompt: `[global caption] … This scene contains K shots. [per shot caption] … [shot cut] … [shot cut] …`.

Video and latent frames follow Wan's causal VAE: latent 0 is frame 0, latent i >= 1 is frames 4i-3 .. 4i. Totals and
cuts are therefore snapped to 4t+1, so that every shot owns whole latent frames.
"""

import dataclasses
import json
import math
import re
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

LATENT_STRIDE = 4
MAX_SHOTS = 16
MAX_CAPTION_WORDS = 1_000
MAX_CAPTION_CHARACTERS = 10_000
MAX_FRAMES = 16 * 60 * 5 + 1
MAX_FILE_CHARACTERS = 1 << 20
MIN_SHOT_FRAMES = 4
ONE_SHOT_FRAMES = 81
MANY_SHOTS_FRAMES = 249

FORMATS = ("yaml", "json", "text", "holocine")
_SUFFIXES = {".yaml": "yaml", ".yml": "yaml", ".json": "json", ".holocine": "holocine"}
_MARKERS = re.compile(r"\[\s*(global caption|per shot caption|shot cut)\s*\]", re.IGNORECASE)
_HOLOCINE = re.compile(r"\s*\[global caption\](.*?)\[per shot caption\](.*)", re.IGNORECASE | re.DOTALL)
_DURATION = re.compile(
    r"[\[(]\s*([-+]?(?:nan|inf(?:inity)?|\d[\d.,]*(?:e[-+]?\d+)?|\.\d+))\s*(?:s|secs?|seconds?)\s*[\])]", re.IGNORECASE
)


@dataclasses.dataclass(frozen=True)
class Shot:
    """One shot: its caption, on one line, and its duration in seconds (None: decided by `Screenplay.layout`).

    Raises:
        ValueError: an empty, overlong or unprintable caption; a duration that is not a positive, finite number.
    """

    caption: str
    duration: float | None = None

    def __post_init__(self):
        caption = _clean_caption(self.caption, "a shot's caption")
        if not caption:
            raise ValueError("a shot has no caption; say what the camera shows")
        object.__setattr__(self, "caption", caption)
        if self.duration is not None:
            seconds = _number(self.duration, "a shot's duration (seconds)", 0, MAX_FRAMES)
            if seconds == 0:
                raise ValueError("a shot's duration must be a positive number of seconds, got 0")
            object.__setattr__(self, "duration", float(seconds))


@dataclasses.dataclass(frozen=True, eq=False)
class Layout:
    """Which frames belong to which shot.

    Attributes:
        num_frames: frames of the film, 4t+1.
        cuts: first frame of shots 1..K-1, each 4t+1.
        spans: (first frame, end frame exclusive) of every shot.
        latent_frames: t+1.
        latent_index_T: [latent_frames] int32 shot of every latent frame.
    """

    num_frames: int
    cuts: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    latent_frames: int
    latent_index_T: np.ndarray

    def scaled(self, frames: int) -> "Layout":
        """The layout of the same shots in a film of `frames` frames, snapped to 4t+1.

        Every shot gets 4 frames (the first 5); what is left goes, one latent frame at a time, to the shot that is
        furthest below its share of this film, so no shot is as much as one latent frame off its share unless its
        minimum makes it so.

        Raises:
            ValueError: fewer than 4K+1 frames for K shots.
        """
        total, count = snap(frames), len(self.spans)
        _check_room(count, total)
        length_K = np.full(count, LATENT_STRIDE)
        length_K[0] += 1
        share_K = np.diff(self.spans)[:, 0] * total / self.num_frames
        while length_K.sum() < total:
            length_K[np.argmax(share_K - length_K)] += LATENT_STRIDE
        return layout_from_cuts(total, np.cumsum(length_K)[:-1])


@dataclasses.dataclass(frozen=True)
class Screenplay:
    """A scene: what is common to all shots, the shots, and the film's timing and size.

    `frames` is the total asked for (snapped to 4t+1 by `layout`), None when the durations or the default decide.
    HoloCine's sentence "This scene contains K shots." is not part of `caption`; it is dropped here and added again
    where a HoloCine prompt is written.

    Raises:
        ValueError: no shots or too many, captions or numbers out of range, durations that contradict `frames`.
    """

    caption: str
    shots: tuple[Shot, ...]
    fps: float = 16.0
    width: int = 832
    height: int = 480
    frames: int | None = None

    def __post_init__(self):
        shots = tuple(self.shots)
        if not shots:
            raise ValueError("the screenplay has no shots; describe at least one")
        if len(shots) > MAX_SHOTS:
            raise ValueError(f"a screenplay holds at most {MAX_SHOTS} shots, got {len(shots)}; split it into scenes")
        if not all(isinstance(shot, Shot) for shot in shots):
            raise ValueError("the shots of a screenplay must be Shot values")
        caption = _clean_caption(self.caption, "the global caption")
        while caption.endswith(_count_sentence(len(shots))):
            caption = caption.removesuffix(_count_sentence(len(shots))).rstrip()
        object.__setattr__(self, "shots", shots)
        object.__setattr__(self, "caption", caption)
        object.__setattr__(self, "fps", float(_number(self.fps, "fps", 1, 240)))
        for name, low, high in (("width", 16, 4096), ("height", 16, 4096), ("frames", 1, MAX_FRAMES)):
            value = getattr(self, name)
            if not (name == "frames" and value is None):
                object.__setattr__(self, name, _whole(value, name, low, high))
        self.layout()  # so that a screenplay that exists can be filmed

    def layout(self) -> Layout:
        """Total frames and cuts.

        Without durations the film has `frames` (default 249, or 81 for one shot) cut into equal parts as HoloCine
        does. With durations a cut falls where the seconds before it end. Shots without a duration beside timed ones
        share equally what `frames` leaves; without `frames` they take the mean of the given durations. Every shot
        keeps at least 4 frames: cuts move, and a total not fixed by `frames` grows, to make room.

        Raises:
            ValueError: too few or too many frames, or durations that contradict `frames`.
        """
        count = len(self.shots)
        durations = [shot.duration for shot in self.shots]
        if any(durations):
            ends = self._timed_ends(durations)
        else:
            total = snap(self.frames or (MANY_SHOTS_FRAMES if count > 1 else ONE_SHOT_FRAMES))
            ends = [round(i * total / count) for i in range(1, count)] + [total]
        return _room_for_every_shot([snap(end) for end in ends], fixed=self.frames is not None)

    def _timed_ends(self, durations: list[float | None]) -> list[int]:
        """Frame at which every shot ends, unsnapped; at least one duration is given."""
        given = [seconds for seconds in durations if seconds is not None]
        missing = len(durations) - len(given)
        spent = math.fsum(given)
        share = spent / len(given)
        if self.frames is not None:
            total = snap(self.frames)
            if missing:
                share = (total / self.fps - spent) / missing
                if share * self.fps < MIN_SHOT_FRAMES:
                    raise ValueError(
                        f"the given durations take {spent:g} s of {total / self.fps:g} s and leave too little for the "
                        f"shots without one; raise frames ({self.frames}) or shorten them"
                    )
            elif snap(round(spent * self.fps)) != total:
                raise ValueError(
                    f"the durations add up to {spent:g} s, {round(spent * self.fps)} frames at {self.fps:g} fps, "
                    f"but frames is {self.frames}; remove frames or the durations"
                )
        filled = [share if seconds is None else seconds for seconds in durations]
        return [round(math.fsum(filled[: i + 1]) * self.fps) for i in range(len(filled))]


def snap(frame: int) -> int:
    """Nearest frame of the form 4t+1; ties go to even t (HoloCine's inference script, Python's rounding)."""
    return LATENT_STRIDE * round((frame - 1) / LATENT_STRIDE) + 1


def layout_from_cuts(num_frames: int, cuts: Sequence[int] = ()) -> Layout:
    """Layout of a film whose total and cuts (first frame of shots 1..K-1) are known; all are snapped to 4t+1.

    Source: HoloCine's inference script and pipeline (latent index of frame f is (f-1)//4 + 1).

    Raises:
        ValueError: cuts that leave the film or give a shot no latent frame of its own.
    """
    bounds = [0, *(snap(cut) for cut in cuts), snap(num_frames)]
    if num_frames < 1:
        raise ValueError(f"a film has at least one frame, got {num_frames}")
    if any(end <= start for start, end in zip(bounds, bounds[1:], strict=False)):
        raise ValueError(
            f"the cuts {[int(cut) for cut in cuts]} of a film of {num_frames} frames give {bounds} when snapped to "
            "4t+1, which is not increasing; move them at least 4 frames apart"
        )
    if bounds[-1] > MAX_FRAMES:
        raise ValueError(f"a film has at most {MAX_FRAMES} frames, got {bounds[-1]}; make it shorter")
    spans = tuple(zip(bounds, bounds[1:], strict=False))
    latents = [1 + (end - 1) // LATENT_STRIDE for end in bounds[1:]]
    latent_index_T = np.repeat(np.arange(len(spans)), np.diff([0, *latents])).astype(np.int32)
    return Layout(bounds[-1], tuple(bounds[1:-1]), spans, latents[-1], latent_index_T)


def _room_for_every_shot(ends: list[int], fixed: bool) -> Layout:
    """Layout with shots ending at `ends` (snapped), moved as little as gives each 4 frames; `fixed` keeps the total."""
    count = len(ends)
    ends = list(ends)
    if fixed:
        _check_room(count, ends[-1])
    total, previous = ends[-1], 1
    for i, end in enumerate(ends):
        ends[i] = previous = max(end, previous + LATENT_STRIDE)
    if fixed:
        ends[-1] = total
        for i in reversed(range(count - 1)):
            ends[i] = min(ends[i], ends[i + 1] - LATENT_STRIDE)
    return layout_from_cuts(ends[-1], ends[:-1])


def _check_room(count: int, frames: int) -> None:
    if frames < LATENT_STRIDE * count + 1:
        raise ValueError(f"{count} shots need at least {LATENT_STRIDE * count + 1} frames, got {frames}; raise frames")


def _count_sentence(count: int) -> str:
    return f"This scene contains {count} shots."


# ---------------------------------------------------------------------------------------------------- reading


def read_screenplay(source: str | Path) -> Screenplay:
    """Reads a screenplay file; "-" is the standard input. The suffix names the format, else the content does.

    Raises:
        ValueError: the file cannot be read, is no text, or holds no valid screenplay; the message names it.
    """
    name = "standard input" if str(source) == "-" else str(source)
    try:
        if str(source) == "-":
            text = sys.stdin.read(MAX_FILE_CHARACTERS + 1)
        else:
            with open(source, encoding="utf-8-sig") as file:
                text = file.read(MAX_FILE_CHARACTERS + 1)
        if len(text) > MAX_FILE_CHARACTERS:
            raise ValueError(f"a screenplay has at most {MAX_FILE_CHARACTERS} characters; this file has more")
        return parse_text(text, _SUFFIXES.get(Path(source).suffix.lower()))
    except FileNotFoundError as error:
        raise ValueError(f"there is no file {name}; give a screenplay file, or - for the standard input") from error
    except IsADirectoryError as error:
        raise ValueError(f"{name} is a folder; give one screenplay file") from error
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error.strerror or error}") from error
    except UnicodeError as error:
        raise ValueError(f"{name} is not UTF-8 text; a screenplay is a text, YAML or JSON file") from error
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def parse_text(text: str, fmt: str | None = None) -> Screenplay:
    """Screenplay written in `text`; `fmt` is one of "yaml", "json", "text", "holocine", None to tell by the content.

    Raises:
        ValueError: `text` is no valid screenplay in that format.
    """
    text = text.removeprefix("\ufeff")
    if "\0" in text:
        raise ValueError("this is a binary file; a screenplay is a text, YAML or JSON file")
    if not text.strip():
        raise ValueError("the screenplay is empty; write a description of the scene and at least one shot")
    fmt = fmt or _detect(text)
    if fmt == "holocine":
        return _parse_holocine(text)
    if fmt == "text":
        return _parse_paragraphs(text)
    return _parse_mapping(_load(text, _known_format(fmt)))


def _known_format(fmt: str) -> str:
    if fmt not in FORMATS:
        raise ValueError(f"unknown screenplay format {fmt!r}; choose one of {', '.join(FORMATS)}")
    return fmt


def _detect(text: str) -> str:
    if _HOLOCINE.match(text):
        return "holocine"
    if text.lstrip().startswith("{"):
        return "json"
    lines = [line for line in text.splitlines() if line.strip() and line.strip() != "---" and not line.startswith("#")]
    looks_yaml = re.match(r"(caption|global_caption|shots)\s*:", "".join(lines[:1])) or any(
        re.match(r"shots\s*:", line) for line in lines
    )
    return "yaml" if looks_yaml else "text"


def _parse_holocine(text: str) -> Screenplay:
    match = _HOLOCINE.match(text)
    if not match:
        raise ValueError("a HoloCine prompt reads '[global caption] … [per shot caption] … [shot cut] …'")
    shots = re.split(r"\[shot cut\]", match[2], flags=re.IGNORECASE)
    return Screenplay(match[1], _numbered(shots, Shot))


def _parse_paragraphs(text: str) -> Screenplay:
    caption, *shots = [paragraph for paragraph in re.split(r"\n\s*\n", text) if paragraph.strip()]
    if not shots:
        raise ValueError(
            "the screenplay has no shots; after the paragraph about the scene leave a blank line and write one "
            "paragraph per shot"
        )
    return Screenplay(caption, _numbered(shots, _parse_shot_paragraph))


def _parse_shot_paragraph(paragraph: str) -> Shot:
    paragraph = paragraph.strip()
    marker = _DURATION.match(paragraph)
    if not marker:
        return Shot(paragraph)
    try:
        seconds = float(marker[1])
    except ValueError as error:
        raise ValueError(
            f"the duration {marker[0]!r} is not a number of seconds; write it as [4s] or (3.5 s)"
        ) from error
    return Shot(paragraph[marker.end() :], seconds)


def _numbered(entries: Sequence, make) -> tuple[Shot, ...]:
    """make(entry) for every shot, its errors saying which shot; a surplus of shots is left for Screenplay to refuse."""
    shots = []
    for number, entry in enumerate(entries, 1):
        try:
            shots.append(make(entry))
        except ValueError as error:
            raise ValueError(f"shot {number}: {error}") from error
    return tuple(shots)


class _UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, of which YAML would keep the last."""

    def construct_mapping(self, node, deep=False):
        _unique([(self.construct_object(key, deep=True), None) for key, _ in node.value])
        return super().construct_mapping(node, deep)


_UniqueKeyLoader.add_constructor("tag:yaml.org,2002:timestamp", yaml.SafeLoader.construct_yaml_str)  # a date is words


def _unique(pairs: list[tuple]) -> dict:
    value = {}
    for key, entry in pairs:
        if key in value:
            raise ValueError(f"the key {_short(key)} is given twice; keep one")
        value[key] = entry
    return value


def _load(text: str, fmt: str):
    """The plain value a YAML or JSON document holds."""
    try:
        if fmt == "json":
            return json.loads(text, object_pairs_hook=_unique)
        return yaml.load(text, Loader=_UniqueKeyLoader)
    except json.JSONDecodeError as error:
        raise ValueError(f"this is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    except yaml.MarkedYAMLError as error:
        where = f" at line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(
            f"this is not valid YAML: {error.problem}{where}; put captions that hold ': ' or '#' in quotes"
        ) from error
    except (yaml.YAMLError, LookupError, AttributeError, TypeError, OverflowError) as error:
        # PyYAML's scalar constructors let these out for malformed tagged values such as `!!int ""` or `!!bool x`.
        raise ValueError(f"this is not valid YAML: {_short(str(error))}") from error
    except RecursionError as error:
        raise ValueError(f"this {fmt.upper()} is nested too deeply to be a screenplay") from error


def _parse_mapping(value) -> Screenplay:
    _check_keys(value, "a screenplay", ("caption", "global_caption", "shots", "fps", "width", "height", "frames"))
    if "caption" in value and "global_caption" in value:
        raise ValueError("caption and global_caption are the same thing; keep one")
    shots = value.get("shots")
    if shots is None:
        raise ValueError("the screenplay has no shots; add a list named shots")
    if not isinstance(shots, list):
        raise ValueError(f"shots must be a list with one entry per shot, got {_kind(shots)}")
    if len(shots) > MAX_SHOTS:
        raise ValueError(f"a screenplay holds at most {MAX_SHOTS} shots, got {len(shots)}; split it into scenes")
    settings = {key: value[key] for key in ("fps", "width", "height", "frames") if value.get(key) is not None}
    caption = value.get("caption", value.get("global_caption"))
    return Screenplay("" if caption is None else caption, _numbered(shots, _parse_shot), **settings)


def _parse_shot(entry) -> Shot:
    if isinstance(entry, str):
        return Shot(entry)
    _check_keys(entry, "a shot", ("caption", "duration"))
    if entry.get("caption") is None:
        raise ValueError("a shot has no caption; say what the camera shows")
    return Shot(**entry)


def _check_keys(value, what: str, known: tuple[str, ...]):
    if not isinstance(value, dict):
        either = "text or " if what == "a shot" else ""
        raise ValueError(f"{what} must be {either}a mapping with the keys {', '.join(known)}, got {_kind(value)}")
    unknown = [_short(key) for key in value if key not in known]
    if unknown:
        raise ValueError(f"{what} has no key {', '.join(unknown[:5])}; the keys are {', '.join(known)}")


# ---------------------------------------------------------------------------------------------------- values


def _clean_caption(caption, what: str) -> str:
    """Caption on one line; refuses what no model could read."""
    if not isinstance(caption, str):
        raise ValueError(f"{what} must be text, got {_kind(caption)}; put it in quotes if it looks like a number")
    words = caption.replace("\ufeff", " ").split()
    if len(words) > MAX_CAPTION_WORDS:
        raise ValueError(f"{what} has {len(words)} words; {MAX_CAPTION_WORDS} is the most")
    cleaned = " ".join(words)
    if len(cleaned) > MAX_CAPTION_CHARACTERS:
        raise ValueError(f"{what} has {len(cleaned)} characters; {MAX_CAPTION_CHARACTERS} is the most")
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in cleaned):
        raise ValueError(f"{what} holds control characters; is this a text file?")
    marker = _MARKERS.search(cleaned)
    if marker:
        raise ValueError(f"{what} holds the marker {marker[0]}, which separates captions; remove it")
    return cleaned


def _number(value, what: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise ValueError(f"{what} must be a number, got {_kind(value)}")
    if not low <= value <= high:  # also refuses nan
        raise ValueError(f"{what} must be a number from {low} to {high}, got {_short(value)}")
    return value


def _whole(value, what: str, low: int, high: int) -> int:
    value = _number(value, what, low, high)
    if value != int(value):
        raise ValueError(f"{what} must be a whole number, got {value}")
    return int(value)


def _kind(value) -> str:
    names = {type(None): "nothing", str: "text", bool: "a yes/no value", dict: "a mapping", list: "a list"}
    return names.get(type(value), _short(value) if isinstance(value, (int, float)) else f"a {type(value).__name__}")


def _short(value) -> str:
    """The value in at most 60 characters; a huge integer has no decimal form in Python."""
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a huge number"
    text = repr(value) if isinstance(value, (str, int, float)) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


# ---------------------------------------------------------------------------------------------------- writing


def write_screenplay(screenplay: Screenplay, path: str | Path) -> None:
    """Writes a screenplay in the format its suffix names: .yaml, .yml, .json, .txt, .holocine, .holocine.txt.

    Raises:
        ValueError: an unknown suffix, a format that cannot hold the screenplay, or a path that cannot be written.
    """
    path = Path(path)
    if path.name.lower().endswith(".holocine.txt"):
        fmt = "holocine"
    else:
        fmt = {**_SUFFIXES, ".txt": "text"}.get(path.suffix.lower())
    if fmt is None:
        raise ValueError(f"{path} must end in .yaml, .json, .txt or .holocine.txt, which says how it is written")
    text = to_text(screenplay, fmt)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path} cannot be written: {error.strerror or error}") from error


def to_text(screenplay: Screenplay, fmt: str) -> str:
    """The screenplay as `fmt` ("yaml", "json", "text", "holocine"); `parse_text(result, fmt)` gives it back.

    A HoloCine prompt holds captions only: durations, fps and size do not survive it (HoloCine takes cuts beside the
    prompt).

    Raises:
        ValueError: an unknown format, or "text" for a screenplay it cannot hold (other fps, size or total than the
            defaults, no global caption, a caption that opens like a duration).
    """
    if _known_format(fmt) == "holocine":
        return _to_holocine(screenplay)
    if fmt == "text":
        shots = [f"{_marker(shot.duration)}{shot.caption}" for shot in screenplay.shots]
        text = "\n\n".join([screenplay.caption, *shots]) + "\n"
        if not screenplay.caption or _parse_paragraphs(text) != screenplay:
            raise ValueError(
                "plain text holds a global caption, captions and durations only, and this screenplay has more (or no "
                "global caption); write YAML or JSON"
            )
        return text
    value = _to_mapping(screenplay)
    if fmt == "json":
        return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)


def _to_holocine(screenplay: Screenplay) -> str:
    caption = screenplay.caption
    if "This scene contains" not in caption:
        caption = f"{caption} {_count_sentence(len(screenplay.shots))}".lstrip()
    shots = " [shot cut] ".join(shot.caption for shot in screenplay.shots)
    return f"[global caption] {caption} [per shot caption] {shots}"


def _marker(seconds: float | None) -> str:
    return "" if seconds is None else f"[{_plain(seconds)!r}s] "


def _plain(number: float) -> float | int:
    """A whole number without its ".0", for files people read."""
    return int(number) if number == int(number) else number


def _to_mapping(screenplay: Screenplay) -> dict:
    """What YAML and JSON hold: settings that have their default value are left out."""
    shots = [
        shot.caption if shot.duration is None else {"caption": shot.caption, "duration": _plain(shot.duration)}
        for shot in screenplay.shots
    ]
    value = {"caption": screenplay.caption, "shots": shots}
    for field in dataclasses.fields(Screenplay)[2:]:
        setting = getattr(screenplay, field.name)
        if setting != field.default:
            value[field.name] = _plain(setting)
    return value
