"""Screenplays: what happens in a film, shot by shot (`play.py`); reading (`text.py`) and writing (`writing.py`)."""

from shotverse_jax.screenplay.play import (
    LATENT_STRIDE,
    MAX_FRAMES,
    Layout,
    Screenplay,
    Shot,
    layout_from_cuts,
    snap,
)
from shotverse_jax.screenplay.text import FORMATS, parse_text, read_screenplay
from shotverse_jax.screenplay.writing import to_text, write_screenplay

__all__ = [
    "FORMATS",
    "LATENT_STRIDE",
    "MAX_FRAMES",
    "Layout",
    "Screenplay",
    "Shot",
    "layout_from_cuts",
    "parse_text",
    "read_screenplay",
    "snap",
    "to_text",
    "write_screenplay",
]
