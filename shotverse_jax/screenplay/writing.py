"""Writing screenplays: YAML, JSON, plain text and HoloCine's prompt."""

import dataclasses
import json
from pathlib import Path

import yaml

from shotverse_jax.files import replacing
from shotverse_jax.screenplay.adapters import marked, written
from shotverse_jax.screenplay.play import Screenplay, Shot, count_sentence
from shotverse_jax.screenplay.text import known_format, parse_text

_WRITTEN = {".yaml": "yaml", ".yml": "yaml", ".json": "json", ".holocine": "holocine"}


def write_screenplay(screenplay: Screenplay, path: str | Path) -> None:
    """Writes a screenplay in the format of the suffix: .yaml, .yml, .json, .txt, .holocine or .holocine.txt.

    Raises:
        ValueError: the suffix is unknown, the format cannot hold the screenplay, or the file cannot be written.
    """
    path = Path(path)
    if path.name.lower().endswith(".holocine.txt"):
        fmt = "holocine"
    else:
        fmt = {**_WRITTEN, ".txt": "text"}.get(path.suffix.lower())
    if fmt is None:
        raise ValueError(f"{path} must end in .yaml, .json, .txt or .holocine.txt, which says how it is written")
    if fmt == "holocine" and any(shot.loras for shot in screenplay.shots):
        raise ValueError("HoloCine's prompt has no place for the adapters of shots; write YAML, JSON or plain text")
    text = to_text(screenplay, fmt)
    with replacing(path) as place:
        place.write_text(text, encoding="utf-8")


def to_text(screenplay: Screenplay, fmt: str) -> str:
    """Returns a screenplay as a text that `parse_text(text, fmt)` reads.

    Args:
        screenplay: the screenplay.
        fmt: "yaml", "json", "text" or "holocine". A HoloCine prompt has captions only: durations, adapters, fps and
            size are lost (HoloCine takes cuts beside the prompt).

    Raises:
        ValueError: the format is unknown or cannot be written; or it is "text", which cannot hold an fps, a size or a
            total other than the defaults, an empty global caption, or captions that read like marks of a text.
    """
    if known_format(fmt) not in {*_WRITTEN.values(), "text"}:
        raise ValueError(f"a screenplay cannot be written as {fmt}; choose one of yaml, json, text, holocine")
    if fmt == "holocine":
        return _to_holocine(screenplay)
    if fmt == "text":
        return _to_paragraphs(screenplay)
    value = _to_mapping(screenplay)
    if fmt == "json":
        return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)


def _to_paragraphs(screenplay: Screenplay) -> str:
    shots = [f"{_marker(shot.duration)}{marked(shot.loras)}{shot.caption}" for shot in screenplay.shots]
    labelled = [f"Shot {number}: {words}" for number, words in enumerate(shots, 1)]
    for caption, paragraphs in ((screenplay.caption, shots), (f"Scene: {screenplay.caption}", labelled)):
        text = "\n\n".join([caption, *paragraphs]) + "\n"
        # Reading the text back is the test that covers everything which plain text cannot hold.
        if screenplay.caption and _reads(text) == screenplay:
            return text
    raise ValueError(
        "plain text holds a global caption, captions, durations and adapters only, and this screenplay has more (or no "
        "global caption); write YAML or JSON"
    )


def _reads(text: str) -> Screenplay | None:
    """The screenplay that a plain text is read as; None for one that is refused."""
    try:
        return parse_text(text)
    except ValueError:
        return None


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
    value = {"caption": screenplay.caption, "shots": [_shot(shot) for shot in screenplay.shots]}
    for field in dataclasses.fields(Screenplay)[2:]:
        if field.name == "notes":
            continue
        setting = getattr(screenplay, field.name)
        if setting != field.default:
            value[field.name] = _plain(setting)
    return value


def _shot(shot: Shot) -> str | dict:
    """A shot in YAML and JSON files: its caption alone, or a mapping where there is more."""
    more = {} if shot.duration is None else {"duration": _plain(shot.duration)}
    more |= {"lora": written(shot.loras)} if shot.loras else {}
    return {"caption": shot.caption, **more} if more else shot.caption
