"""The adapters (LoRA) that a shot asks for, as people write them: `[lora: close-up 0.8, pan-left]`, `<lora:style:0.8>`.

A mark may stand anywhere in the caption of a shot, in any format; one in the caption of the scene is for all shots.
"""

import re
from collections.abc import Iterable

from shotverse_jax import limits

Asked = tuple[tuple[str, float | None], ...]
"""Adapters by name, with their strengths; None where none was written."""

MOST = 16
"""Adapters of a shot."""

_MARK = re.compile(r"\[\s*loras?\s*:([^\[\]]*)\]|<\s*lora\s*:([^<>]*)>", re.IGNORECASE)
_LAST = re.compile(rf"\s*(?:{_MARK.pattern})(?=\s*[.,;:!?])", re.IGNORECASE)
"""A mark before a full stop, which leaves no blank there."""
_ENTRY = re.compile(r"(.*?\S)(?:\s*[\s@:=]\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?))?", re.IGNORECASE)
_NAME = re.compile(r"[^\[\]<>,;\x00-\x1f]{1,100}")


def is_mark(text: str) -> bool:
    """Whether a text is such a mark and nothing else."""
    return bool(_MARK.fullmatch(text.strip()))


def taken(caption: str) -> tuple[str, Asked]:
    """Returns a caption without its marks, and the adapters that they name.

    Raises:
        ValueError: a mark that names no adapter, or has a strength that none can have.
    """
    found = [entry for match in _MARK.finditer(caption) for entry in parsed(match[1] or match[2] or "")]
    return (_MARK.sub(" ", _LAST.sub("", caption)) if found else caption), tuple(found)


def parsed(text: str) -> Asked:
    """Returns the adapters of a list: names with strengths or without, between commas.

    Raises:
        ValueError: an entry without a name, or with a strength that none can have.
    """
    asked = []
    for entry in re.split(r"[,;]", text):
        match = _ENTRY.fullmatch(entry.strip())
        if match is None:
            raise ValueError(f"adapters are written NAME or NAME STRENGTH between commas, got {limits.shown(text)}")
        asked.append((match[1], None if match[2] is None else float(match[2])))
    return checked(asked)


def checked(asked: Iterable[tuple[str, float | None]]) -> Asked:
    """Returns adapters as a shot keeps them.

    Raises:
        ValueError: a name or a strength that none can have, one name twice, or too many.
    """
    asked = tuple((str(name).strip(), strength) for name, strength in asked)
    for name, strength in asked:
        if not _NAME.fullmatch(name) or _ENTRY.fullmatch(name)[2]:
            raise ValueError(
                f"an adapter's name has no brackets, no commas and no number at its end, got {name[:60]!r}"
            )
        if strength is not None:
            limits.finite(strength, f"the strength of the adapter {name}", -limits.STRENGTH, limits.STRENGTH)
    names = [name for name, _ in asked]
    if len(set(names)) < len(names):
        raise ValueError(f"a shot names an adapter once, got {', '.join(names)}")
    if len(names) > MOST:
        raise ValueError(f"a shot has at most {MOST} adapters, got {len(names)}")
    return tuple((name, None if strength is None else float(strength)) for name, strength in asked)


def written(asked: Asked) -> str:
    """Returns adapters as a list that `parsed` reads: "close-up 0.8, pan-left"."""
    return ", ".join(name if strength is None else f"{name} {strength!r}" for name, strength in asked)


def marked(asked: Asked) -> str:
    """Returns adapters as a mark with a blank behind it; "" for none."""
    return f"[lora: {written(asked)}] " if asked else ""
