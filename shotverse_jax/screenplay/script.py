"""Scripts of films: Fountain and Final Draft. One scene of them becomes one screenplay.

The scene's heading is the caption, every paragraph of action a shot, and what is said belongs to the shot before it.
screenplay-tools reads Fountain. It does not read Final Draft well enough: of a paragraph with several styles it keeps
the first piece alone, and it takes shots for scenes; so FDX, which is XML, is read here.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from typing import NamedTuple

from shotverse_jax.screenplay import lengths
from shotverse_jax.screenplay.play import Screenplay, Shot, short

HEADING, ACTION, NAME, SPEECH, ASIDE, OUT, BREAK = "heading", "action", "name", "speech", "aside", "out", "break"
"""Kinds of elements: OUT is what no picture shows, BREAK an empty line."""

_HEADING = re.compile(r"^[ \t]*(?:(?:INT|EXT|EST)\.?(?:\s*/\s*(?:INT|EXT)\.?)?|I/E\.?)[ .]+\S", re.MULTILINE)
_MARKUP = re.compile(r"(\*{1,3}|_)(?=\S)(.+?)(?<=\S)\1")
_TAG = re.compile(r"\[\[\d+\]\]|/\*\d+\*/")
_FADE = re.compile(r"FADE (?:IN|OUT)[:.]?|(?:[A-Z]+ )?CUT TO(?: BLACK)?[:.]?|DISSOLVE TO[:.]?", re.IGNORECASE)


class Element(NamedTuple):
    """A piece of a script: its kind, its text, and a word for what it is where it is left out."""

    kind: str
    text: str
    word: str = ""


class Scene(NamedTuple):
    """A scene: its heading, "" before the first one, and its elements."""

    heading: str
    elements: list[Element]

    @property
    def shots(self) -> int:
        """Number of its shots."""
        return len(_paragraphs(self.elements)[0])


def is_fountain(text: str) -> bool:
    """Whether a plain text has headings of scenes as scripts do, "INT. CAFE - DUSK"."""
    return bool(_HEADING.search(text))


def fountain(text: str) -> Iterator[Element]:
    """Yields the elements of a Fountain text.

    Raises:
        ValueError: screenplay-tools is not installed.
    """
    try:
        from screenplay_tools.fountain.parser import Parser
        from screenplay_tools.screenplay import ElementType
    except ImportError as error:
        raise ValueError(
            "a Fountain script needs the package screenplay-tools: pip install 'shotverse_jax[edit]'"
        ) from error
    opened = text.rfind("/*")
    if opened > text.rfind("*/"):
        yield Element(OUT, text[opened:], "everything after a /* that is never closed")
        text = text[:opened]
    parser = Parser()
    # Paragraphs are told apart here: the parser would put all action of a scene together.
    parser.mergeActions = False
    # One of its patterns takes a time that grows with the square of the blanks in a row.
    parser.add_text(re.sub(r"[^\S\n]{5,}", "    ", text) + "\n\n")
    for entry in parser.script.titleEntries:
        yield Element(OUT, f"{entry.key}: {entry.text_raw}", "the title page")
    kinds = {
        ElementType.HEADING: HEADING, ElementType.ACTION: ACTION, ElementType.CHARACTER: NAME,
        ElementType.DIALOGUE: SPEECH, ElementType.LYRIC: SPEECH, ElementType.PARENTHETICAL: ASIDE,
    }  # fmt: skip
    for element in parser.script.elements:
        words = _TAG.sub("", element.text_raw)
        if element.type == ElementType.HEADING and _FADE.fullmatch(words.strip()):
            yield Element(OUT, words, "transition")
        elif element.type == ElementType.CHARACTER:
            yield Element(NAME, element.name)
        elif element.type == ElementType.ACTION and not words.strip():
            # A line that held a note alone is no end of a paragraph.
            yield Element(BREAK, "")
        elif element.type in kinds:
            yield Element(kinds[element.type], _plain(words))
        elif element.type != ElementType.PAGEBREAK:
            yield Element(OUT, words, element.type.name.lower())
    for note in parser.script.notes:
        yield Element(OUT, note.text_raw, "note")
    for note in parser.script.boneyards:
        yield Element(OUT, note.text_raw, "boneyard")


def _plain(words: str) -> str:
    """A text without the marks of bold, italic and underlined words."""
    return _MARKUP.sub(lambda m: m[2], words)


_FDX = {
    "Scene Heading": HEADING, "Action": ACTION, "General": ACTION, "Shot": ACTION, "Character": NAME,
    "Dialogue": SPEECH, "Singing": SPEECH, "Parenthetical": ASIDE,
}  # fmt: skip


def final_draft(text: str) -> Iterator[Element]:
    """Yields the elements of a Final Draft file (.fdx).

    Raises:
        ValueError: it is no XML, declares entities of its own, or has no content.
    """
    if re.search(r"<!(?:DOCTYPE|ENTITY)", text, re.IGNORECASE):
        # Final Draft writes none, and they are how a small file becomes a huge one.
        raise ValueError("a Final Draft file declares no document type and no entities; this one does")
    try:
        root = ElementTree.fromstring(re.sub(r"^\s*<\?xml.*?\?>", "", text, flags=re.DOTALL).strip())
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise ValueError(f"this is no valid Final Draft file: {error}") from error
    content = root.find("Content")
    if content is None:
        raise ValueError("this Final Draft file has no <Content>; is it a script?")
    for page in root.iterfind("TitlePage/Content/Paragraph"):
        if words := _words(page):
            yield Element(OUT, words, "the title page")
    for paragraph in content.iterfind("Paragraph"):
        for summary in paragraph.iterfind("SceneProperties/Summary/Paragraph"):
            if words := _words(summary):
                yield Element(OUT, words, "summary")
        # Dialogue of two at once stands in paragraphs inside a paragraph.
        for inner in (paragraph, *paragraph.iterfind("DualDialogue/Paragraph")):
            if words := _words(inner):
                kind = inner.get("Type", "Action")
                yield Element(_FDX.get(kind, OUT), words, kind.lower())
                yield Element(BREAK, "")
    for note in root.iter("ScriptNote"):
        if words := " ".join("".join(note.itertext()).split()):
            yield Element(OUT, words, "note")


def _words(paragraph: ElementTree.Element) -> str:
    return " ".join("".join("".join(piece.itertext()) for piece in paragraph.findall("Text")).split())


def scenes_of(elements: Iterator[Element]) -> tuple[list[Scene], list[str]]:
    """Returns the scenes of a script, and notes about what no picture shows.

    Raises:
        ValueError: there is no action and no dialogue.
    """
    scenes, outs = [Scene("", [])], []
    for element in elements:
        if element.kind == HEADING:
            scenes.append(Scene(" ".join(element.text.split()), []))
        elif element.kind == OUT:
            outs.append(element)
        else:
            scenes[-1].elements.append(element)
    scenes = [scene for scene in scenes if scene.shots]
    if not scenes:
        raise ValueError("the script has no action and no dialogue, so there is nothing to film")
    notes = []
    for word in dict.fromkeys(element.word for element in outs):
        found = [short(" ".join(element.text.split())) for element in outs if element.word == word]
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        notes.append(f"left out ({word}): {', '.join(found[:3])}{more}")
    return scenes, notes


def screenplay_of(scene: Scene) -> Screenplay:
    """Returns a scene as a screenplay; lengths in brackets are read as in plain text."""
    paragraphs, spoken = _paragraphs(scene.elements)
    words, times = [], []
    for number, paragraph in enumerate(paragraphs, 1):
        try:
            found = lengths.leading(paragraph)
        except ValueError as error:
            raise ValueError(f"shot {number}: {error}") from error
        found = found if found.time else lengths.trailing(paragraph)
        times.append(found.time)
        words.append(found.text)
    seconds, notes = lengths.resolve(times, 16.0)
    if spoken:
        notes.insert(0, "what is said is added to the caption of the shot before it")
    made = []
    for number, (caption, length) in enumerate(zip(words, seconds, strict=True), 1):
        try:
            made.append(Shot(caption, length))
        except ValueError as error:
            raise ValueError(f"shot {number}: {error}") from error
    return Screenplay(scene.heading, tuple(made), notes=tuple(notes))


def _paragraphs(elements: list[Element]) -> tuple[list[str], bool]:
    """(the words of every shot, whether something is said)."""
    shots: list[list[str]] = []
    early: list[str] = []
    fresh, name, aside, spoken = True, "Someone", "", False
    for element in elements:
        text = " ".join(element.text.split())
        if element.kind == BREAK:
            fresh = True
        elif element.kind == ACTION:
            if fresh:
                shots.append([text])
            else:
                shots[-1].append(text)
            fresh = False
        elif element.kind == NAME:
            name, aside, fresh = text, "", True
        elif element.kind == ASIDE:
            aside, fresh = f" ({text.strip('()')})", True
        elif text:
            spoken, fresh = True, True
            (shots[-1] if shots else early).append(f'{name} says{aside}: "{text}"')
    if early:
        if not shots:
            shots.append([])
        shots[0] += early
    return [" ".join(shot) for shot in shots], spoken
