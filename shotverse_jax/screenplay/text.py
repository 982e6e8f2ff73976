"""Reading screenplays: which format a file or text has, and which of its scenes is taken.

docs/screenplays.md shows every form that is read. Each reader has a file: `prose.py` plain text and Markdown,
`keyed.py` YAML, JSON and tables, `holocine.py` HoloCine's prompt and arguments, `script.py` Fountain and Final Draft.
"""

import dataclasses
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from shotverse_jax.screenplay import holocine, keyed, prose, script
from shotverse_jax.screenplay.play import Screenplay, short
from shotverse_jax.text_files import MOST_CHARACTERS, decode, read_table, read_yaml, unique, unix_lines

MAX_LISTED = 100
"""Scenes that a note lists at most."""

FORMATS = ("yaml", "json", "text", "holocine", "csv", "fountain", "fdx")
SUFFIXES = {
    ".yaml": "yaml", ".yml": "yaml", ".json": "json", ".holocine": "holocine", ".csv": "csv", ".tsv": "csv",
    ".fountain": "fountain", ".spmd": "fountain", ".fdx": "fdx",
}  # fmt: skip
"""Formats that a suffix tells; that of every other file is told by its content."""

_FENCE = re.compile(
    r"^[ \t]*```[ \t]*(json|ya?ml|csv)[ \t]*\n(.*?)^[ \t]*```", re.MULTILINE | re.DOTALL | re.IGNORECASE
)
_ROW = re.compile(r"^[ \t]*\|.*\|[ \t]*$")
_OTHERS = (
    ("{\\rtf", "this is RTF, a document with styles; save it as plain text"),
    ("%PDF", "this is a PDF; save its text as plain text"),
    ("PK\x03\x04", "this is a document or spreadsheet of an office program; save it as plain text or CSV"),
    ("\u00d0\u00cf\x11\u00e0", "this is a document of an office program; save it as plain text"),
    ("<!doctype html", "this is a web page; save its text as plain text"),
    ("<html", "this is a web page; save its text as plain text"),
)


class _Scene(NamedTuple):
    """A scene of a file: its title, and what reads it."""

    title: str
    read: Callable[[], Screenplay]


# ---------------------------------------------------------------------------------------------------- reading


def read_screenplay(source: str | Path, scene: int | None = None) -> Screenplay:
    """Reads a screenplay file; "-" is the standard input. The format is that of the suffix, else that of the content.

    Args:
        source: the file.
        scene: the number of the scene to take, from 1; None (default) takes the first. Where there are several, the
            screenplay's notes list them.

    Raises:
        ValueError: the file cannot be read, is no text, or has no valid screenplay or no such scene; the message names
            the file.
    """
    name = "standard input" if str(source) == "-" else str(source)
    # A character has at most four bytes; one more shows that the text is too long, without reading all of it.
    most = 4 * MOST_CHARACTERS + 1
    try:
        if str(source) != "-":
            with open(source, "rb") as file:
                data = file.read(most)
        elif (binary := getattr(sys.stdin, "buffer", None)) is not None:
            data = binary.read(most)
        else:
            data = sys.stdin.read(most).encode("utf-8", "surrogatepass")
        for start, words in _OTHERS:
            if data[:64].decode("latin-1").lower().startswith(start.lower()):
                raise ValueError(words)
        text, note = decode(data)
        if len(text) > MOST_CHARACTERS:
            raise ValueError(f"a screenplay has at most {MOST_CHARACTERS} characters; this file has more")
        play = parse_text(text, SUFFIXES.get(Path(source).suffix.lower()), scene)
        return dataclasses.replace(play, notes=(note, *play.notes)) if note else play
    except FileNotFoundError as error:
        raise ValueError(f"there is no file {name}; give a screenplay file, or - for the standard input") from error
    except IsADirectoryError as error:
        raise ValueError(f"{name} is a folder; give one screenplay file") from error
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def parse_text(text: str, fmt: str | None = None, scene: int | None = None) -> Screenplay:
    """Reads a screenplay from a text.

    Args:
        text: the screenplay.
        fmt: one of `FORMATS`; None (default) recognises the format by the content.
        scene: as `read_screenplay` takes it.

    Raises:
        ValueError: the text is no valid screenplay in that format or has no such scene, or the format is unknown.
    """
    text = unix_lines(text)
    if "\0" in text:
        raise ValueError("this is a binary file; a screenplay is a text, YAML or JSON file")
    if not text.strip():
        raise ValueError("the screenplay is empty; write a description of the scene and at least one shot")
    notes: list[str] = []
    if fmt is None:
        text, fmt = _unwrapped(text, notes)
    return _taken(_READERS[known_format(fmt or _detect(text))](text, notes), scene, notes)


def known_format(fmt: str) -> str:
    """Returns the name of a format. Raises ValueError for an unknown one."""
    if fmt not in FORMATS:
        raise ValueError(f"unknown screenplay format {fmt!r}; choose one of {', '.join(FORMATS)}")
    return fmt


def _taken(scenes: Sequence[_Scene], scene: int | None, notes: list[str]) -> Screenplay:
    """Reads one of the scenes."""
    if not 1 <= (scene or 1) <= len(scenes):
        there = f"{len(scenes)} scenes" if len(scenes) > 1 else "one scene"
        raise ValueError(f"there is no scene {scene}; the screenplay has {there}")
    chosen = scenes[(scene or 1) - 1]
    play = chosen.read()
    if len(scenes) > 1:
        titles = [
            f"{number} {short(found.title)}" if found.title else str(number) for number, found in enumerate(scenes, 1)
        ]
        more = " and so on" if len(titles) > MAX_LISTED else ""
        listed = ", ".join(titles[:MAX_LISTED]) + more
        notes.append(f"scene {scene or 1} of {len(scenes)} is read, --scene takes another: {listed}")
    return dataclasses.replace(play, notes=(*notes, *play.notes))


def _unwrapped(text: str, notes: list[str]) -> tuple[str, str | None]:
    """(text, format) of a block of code in an answer of a language model; the text as it is where there is none."""
    blocks = list(_FENCE.finditer(text))
    if len(blocks) != 1:
        return text, None
    rest = " ".join((text[: blocks[0].start()] + text[blocks[0].end() :]).split())
    if rest:
        notes.append(f"what stands around the block of code was left out: {short(rest)}")
    return blocks[0][2], {"json": "json", "csv": "csv"}.get(blocks[0][1].lower(), "yaml")


def _detect(text: str) -> str:
    start = text.lstrip()
    if holocine.is_prompt(text):
        return "holocine"
    if re.match(r"\{|\[\s*[{\[\"]", start):
        return "json"
    if holocine.is_call(text):
        return "holocine"
    if re.match(r"<(\?xml|FinalDraft)", start):
        return "fdx"
    # Only the names of our own keys mean YAML, because a caption in plain text may hold colons too.
    lines = [line for line in text.splitlines() if line.strip() and line.strip() != "---" and not line.startswith("#")]
    looks_yaml = re.match(r"(caption|global_caption|shots)\s*:", "".join(lines[:1])) or any(
        re.match(r"(shots|shot_captions)\s*:", line) for line in lines
    )
    if looks_yaml:
        return "yaml"
    if script.is_fountain(text) and not prose.has_shot_labels(text):
        return "fountain"
    return "text"


def _holocine(text: str, notes: list[str]) -> list[_Scene]:
    if holocine.is_call(text) and not holocine.is_prompt(text):
        return _mappings(holocine.arguments(text))
    return [_Scene("", lambda: holocine.parse_prompt(text))]


def _text(text: str, notes: list[str]) -> list[_Scene]:
    if (rows := [line for line in text.split("\n") if _ROW.match(line)])[2:]:
        return _markdown_table(text, rows, notes)
    scenes = prose.scenes_of(text)
    if scenes:
        return [_Scene(title, lambda part=part: prose.parse_prose(part)) for title, part in scenes]
    return [_Scene("", lambda: prose.parse_prose(text))]


def _markdown_table(text: str, rows: list[str], notes: list[str]) -> list[_Scene]:
    """A table of Markdown: the text before it is the scene's caption."""
    before, _, after = (text.partition(rows[0])[0], "", text.rpartition(rows[-1])[2])
    cells = [re.split(r"(?<!\\)\|", row.strip().strip("|")) for row in rows]
    kept = [row for row in cells if not all(re.fullmatch(r"\s*:?-+:?\s*|\s*", cell) for cell in row)]
    quoted = [
        "\t".join('"' + re.sub(r"\*\*|<br ?/?>", " ", cell).replace('"', '""').strip() + '"' for cell in row)
        for row in kept
    ]
    words = " ".join(re.sub(r"^#+ .*$", "", before, flags=re.MULTILINE).split())
    if after.strip():
        notes.append(f"what stands below the table was left out: {short(' '.join(after.split()))}")
    return _csv("\n".join(quoted), notes, words)


def _csv(text: str, notes: list[str], caption: str = "") -> list[_Scene]:
    shots = keyed.rows_of_table(read_table(text))
    return _mappings({"caption": caption, "shots": shots} if caption else {"shots": shots})


def _yaml(text: str, notes: list[str]) -> list[_Scene]:
    return _mappings(_load(text, "yaml"))


def _json(text: str, notes: list[str]) -> list[_Scene]:
    return _mappings(_load(text, "json"))


def _mappings(value) -> list[_Scene]:
    scenes = keyed.scenes_of_mapping(value)
    return [_Scene(keyed.scene_title(one), lambda one=one: keyed.parse_mapping(one)) for one in scenes]


def _fountain(text: str, notes: list[str]) -> list[_Scene]:
    return _script(script.fountain(text), notes)


def _fdx(text: str, notes: list[str]) -> list[_Scene]:
    return _script(script.final_draft(text), notes)


def _script(elements, notes: list[str]) -> list[_Scene]:
    scenes, said = script.scenes_of(elements)
    notes += said
    return [_Scene(scene.heading, lambda scene=scene: script.screenplay_of(scene)) for scene in scenes]


_READERS = {
    "yaml": _yaml, "json": _json, "text": _text, "holocine": _holocine, "csv": _csv, "fountain": _fountain, "fdx": _fdx,
}  # fmt: skip


# ---------------------------------------------------------------------------------------------------- YAML and JSON


def _load(text: str, fmt: str):
    """The plain value in a YAML or JSON document."""
    if fmt == "yaml":
        return read_yaml(text)
    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise ValueError(f"this is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise ValueError("this JSON is nested too deeply to be a screenplay") from error
