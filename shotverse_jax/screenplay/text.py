"""Screenplay files. Four formats are read and written:

- YAML and JSON: `caption` (or `global_caption`), `shots` (a list of strings or of {caption, duration in seconds}), and
  optionally `fps`, `width`, `height`, `frames`.
- plain text: the first paragraph is the global caption, every later paragraph is a shot; a shot may open with its
  duration, "[4s]" or "(3.5 s)".
- HoloCine's prompt: `[global caption] … This scene contains K shots. [per shot caption] … [shot cut] … [shot cut] …`.
"""

import dataclasses
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from shotverse_jax.screenplay.play import MAX_SHOTS, Screenplay, Shot, count_sentence, kind_of, short

MAX_FILE_CHARACTERS = 1 << 20

FORMATS = ("yaml", "json", "text", "holocine")
_SUFFIXES = {".yaml": "yaml", ".yml": "yaml", ".json": "json", ".holocine": "holocine"}
_HOLOCINE = re.compile(r"\s*\[global caption\](.*?)\[per shot caption\](.*)", re.IGNORECASE | re.DOTALL)
# Numbers that no shot can have (nan, inf, negative) match too: they are refused and do not become words of a caption.
_DURATION = re.compile(
    r"[\[(]\s*([-+]?(?:nan|inf(?:inity)?|\d[\d.,]*(?:e[-+]?\d+)?|\.\d+))\s*(?:s|secs?|seconds?)\s*[\])]", re.IGNORECASE
)


# ---------------------------------------------------------------------------------------------------- reading


def read_screenplay(source: str | Path) -> Screenplay:
    """Reads a screenplay file; "-" is the standard input. The format is that of the suffix, else that of the content.

    Raises:
        ValueError: the file cannot be read, is no text, or has no valid screenplay; the message names the file.
    """
    name = "standard input" if str(source) == "-" else str(source)
    try:
        if str(source) == "-":
            # One character more than allowed shows that the text is too long, without reading all of it.
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
    """Reads a screenplay from a text.

    Args:
        text: the screenplay.
        fmt: "yaml", "json", "text" or "holocine"; None (default) recognises the format by the content.

    Raises:
        ValueError: the text is no valid screenplay in that format, or the format is unknown.
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
    # Only the names of our own keys mean YAML, because a caption in plain text may hold colons too.
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
    """make(entry) for every shot; errors name the shot. Too many shots are refused later, by `Screenplay`."""
    shots = []
    for number, entry in enumerate(entries, 1):
        try:
            shots.append(make(entry))
        except ValueError as error:
            raise ValueError(f"shot {number}: {error}") from error
    return tuple(shots)


class _UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice; YAML itself keeps the last value without a word."""

    def construct_mapping(self, node, deep=False):
        """Checks the keys, then reads the mapping."""
        _unique([(self.construct_object(key, deep=True), None) for key, _ in node.value])
        return super().construct_mapping(node, deep)


_UniqueKeyLoader.add_constructor("tag:yaml.org,2002:timestamp", yaml.SafeLoader.construct_yaml_str)  # a date is words


def _unique(pairs: list[tuple]) -> dict:
    value = {}
    for key, entry in pairs:
        if key in value:
            raise ValueError(f"the key {short(key)} is given twice; keep one")
        value[key] = entry
    return value


def _load(text: str, fmt: str):
    """The plain value in a YAML or JSON document."""
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
        raise ValueError(f"this is not valid YAML: {short(str(error))}") from error
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
        raise ValueError(f"shots must be a list with one entry per shot, got {kind_of(shots)}")
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
        raise ValueError(f"{what} must be {either}a mapping with the keys {', '.join(known)}, got {kind_of(value)}")
    unknown = [short(key) for key in value if key not in known]
    if unknown:
        raise ValueError(f"{what} has no key {', '.join(unknown[:5])}; the keys are {', '.join(known)}")


# ---------------------------------------------------------------------------------------------------- writing


def write_screenplay(screenplay: Screenplay, path: str | Path) -> None:
    """Writes a screenplay in the format of the suffix: .yaml, .yml, .json, .txt, .holocine or .holocine.txt.

    Raises:
        ValueError: the suffix is unknown, the format cannot hold the screenplay, or the file cannot be written.
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
    """Returns a screenplay as a text that `parse_text(text, fmt)` reads.

    Args:
        screenplay: the screenplay.
        fmt: "yaml", "json", "text" or "holocine". A HoloCine prompt has captions only: durations, fps and size are
            lost (HoloCine takes cuts beside the prompt).

    Raises:
        ValueError: the format is unknown; or it is "text", which cannot hold an fps, a size or a total other than the
            defaults, an empty global caption, or a caption that begins like a duration.
    """
    if _known_format(fmt) == "holocine":
        return _to_holocine(screenplay)
    if fmt == "text":
        shots = [f"{_marker(shot.duration)}{shot.caption}" for shot in screenplay.shots]
        text = "\n\n".join([screenplay.caption, *shots]) + "\n"
        # Reading the text back is the test that covers everything which plain text cannot hold.
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
        caption = f"{caption} {count_sentence(len(screenplay.shots))}".lstrip()
    shots = " [shot cut] ".join(shot.caption for shot in screenplay.shots)
    return f"[global caption] {caption} [per shot caption] {shots}"


def _marker(seconds: float | None) -> str:
    return "" if seconds is None else f"[{_plain(seconds)!r}s] "


def _plain(number: float) -> float | int:
    """A whole number without its ".0", for files that people read."""
    return int(number) if number == int(number) else number


def _to_mapping(screenplay: Screenplay) -> dict:
    """The mapping in YAML and JSON files; settings with their default value are left out."""
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
