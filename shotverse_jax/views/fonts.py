"""Fonts for captions in any script: an installed one that has the letters, else what can be written without them."""

import dataclasses
import functools
import re
import unicodedata
from collections.abc import Iterable

from matplotlib import font_manager, ft2font

from shotverse_jax.text_files import plain

_USUAL = re.compile(
    r"CJK|Source Han|Han Sans|Hei|Song|Ming|Kai|Gothic|PingFang|YaHei|WenQuanYi|Droid Sans Fallback|Hiragino|IPA|Meiryo"
    r"|Malgun|Nanum|Unicode|Unifont|Noto Sans|Segoe UI|Tahoma|Arial",
)
"""Names of fonts that have many letters; they are looked into first."""
_MOST = 400
"""Fonts that are looked into at most: opening one takes some milliseconds."""


@dataclasses.dataclass(frozen=True)
class Letters:
    """How texts are drawn.

    Attributes:
        families: names of fonts, for matplotlib's `family`; a letter is taken from the first that has it.
        missing: letters that no installed font has.
    """

    families: tuple[str, ...]
    missing: frozenset[str]

    def drawable(self, text: str) -> str:
        """Returns a text that can be drawn: ASCII letters stand for those that no font has, and signs are left out.

        A text with a letter that has no ASCII form becomes "": what is left of it would say something else.
        """
        text = plain(text)
        if not self.missing.intersection(text):
            return text
        if any(letter.isalpha() and not _ascii(letter) for letter in self.missing.intersection(text)):
            return ""
        return " ".join("".join(_ascii(letter) if letter in self.missing else letter for letter in text).split())


def letters_for(texts: Iterable[str]) -> Letters:
    """Returns how texts are drawn with the fonts that matplotlib finds here."""
    needed = frozenset(letter for text in texts for letter in plain(text) if not letter.isspace())
    return _letters_for(needed)


def note(texts: Iterable[str]) -> str:
    """Returns a sentence that says which letters no installed font has; "" where all are there."""
    missing = sorted(letter for letter in letters_for(texts).missing if unicodedata.category(letter)[0] in "LNPS")
    if not missing:
        return ""
    more = " and more" if len(missing) > 5 else ""
    return f"no installed font has {' '.join(missing[:5])}{more}; pictures leave such captions out"


@functools.lru_cache(64)
def _letters_for(needed: frozenset[str]) -> Letters:
    usual = font_manager.FontProperties().get_family()
    missing = needed - _letters_of(font_manager.findfont(font_manager.FontProperties()), 0)
    families: list[str] = []
    entries = [entry for entry in font_manager.fontManager.ttflist if entry.style == "normal"]
    # Regular weights of fonts with many letters first; the rest by name, so that a machine always takes the same.
    entries.sort(key=lambda entry: (not _USUAL.search(entry.name), abs(_weight(entry) - 400), entry.name, entry.fname))
    for entry in entries[:_MOST]:
        if not missing:
            break
        # Their glyphs are pictures, or belong to formulas.
        if re.search(r"Emoji|Last Resort|LastResort|STIX|^cm|DejaVu", entry.name):
            continue
        found = missing & _letters_of(entry.fname, entry.index)
        if found and entry.name not in families:
            families.append(entry.name)
            missing -= found
    return Letters((*usual, *families), frozenset(missing))


def _weight(entry: font_manager.FontEntry) -> int:
    return entry.weight if isinstance(entry.weight, int) else font_manager.weight_dict.get(entry.weight, 400)


@functools.lru_cache(512)
def _letters_of(path: str, index: int) -> frozenset[str]:
    try:
        return frozenset(map(chr, ft2font.FT2Font(path, face_index=index).get_charmap()))
    except (OSError, RuntimeError, ValueError):  # a font that FreeType cannot read
        return frozenset()


def _ascii(letter: str) -> str:
    return unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
