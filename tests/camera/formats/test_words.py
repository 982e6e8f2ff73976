"""Captions with any characters: formats hold them as they are, or say what was changed; none is cut."""

import re

import numpy as np
import pytest

from shotverse_jax.camera.formats import FORMATS, read_trajectory, write_trajectory
from shotverse_jax.camera.trajectory import Trajectory

WORDS = {
    "NUL": "before\0after",
    "escape": "red\x1b[31m and \x1b[2J",
    "bell": "\x07\x08",
    "C1": "a\x9bb\x85c",
    "bidi": "a\u202etxt.exe\u2066b",
    "lines": "one\ntwo\r\nthree\rfour\x0bfive\x0csix\u2028seven",
    "tab": "a\tb",
    "quotes": "\"'`'''\"\"\" \\ \\n \\",
    "XML": "<a>&amp;]]>--><!-- <?x?>",
    "JSON": '{"x": [1], "captions": null}',
    "USD": '@a.usd@ (doc = "x") # } def',
    "Python": "@FPS@ %s {0} ${HOME} __import__('os')",
    "EDL": "* FROM CLIP NAME: x",
    "half": "a\ud800b",
    "letters": "👩‍🎤 é 雨 \ufeff\uffff",
    "blanks": "  a  ",
    "long": "x y" * 34_000,
}
CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
BIDI = [mark.encode() for mark in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"]
HOLDING = [name for name, form in FORMATS.items() if "captions" in form.keeps]
PLAIN = ("usd", "blender", "edl")
"""Formats of programs whose texts end at NUL."""


def path_with(caption) -> Trajectory:
    poses = np.tile(np.eye(3, 4), (4, 1, 1))
    words = {"captions": (caption, "end"), "global_caption": caption}
    return Trajectory(poses, [700, 700, 416, 240], 832, 480, [0, 0, 1, 1], 24.0, **words)


@pytest.mark.parametrize("fmt", HOLDING)
def test_captions_are_kept_or_said_to_be_changed(tmp_path, fmt):
    form = FORMATS[fmt]
    for name, caption in WORDS.items():
        path = tmp_path / (f"{name}.folder" if form.folder else f"{name}.{fmt}{form.extension}")
        notes = write_trajectory(path_with(caption), path, fmt)
        said = any("cannot hold all characters of the captions" in note for note in notes)
        if form.read is None:
            continue
        got = read_trajectory(path, fmt)
        kept = got.captions == (caption, "end") and (fmt == "omnicam" or got.global_caption == caption)
        assert kept != said, (name, got.captions[0][:80], notes)
        assert len(got.captions[0]) >= len(caption) - 3, name  # a line break of two characters becomes one or none
        assert fmt in PLAIN or kept or name == "half", name


@pytest.mark.parametrize("name", ["a.edl", "a.usda", "a.usdc", "a.py"])
def test_no_control_character_gets_into_files_that_people_open(tmp_path, name):
    for caption in WORDS.values():
        write_trajectory(path_with(caption), tmp_path / name)
        data = (tmp_path / name).read_bytes()
        if name != "a.usdc":
            assert not CONTROL.search(data)
        assert not any(mark in data for mark in BIDI) and b"\x1b[2J" not in data


def test_an_edit_list_keeps_its_lines(tmp_path):
    """Whatever a caption says, it makes no event and no comment of its own."""
    events = set()
    for caption in WORDS.values():
        write_trajectory(path_with(caption), tmp_path / "a.edl")
        lines = (tmp_path / "a.edl").read_text(encoding="utf-8").split("\n")
        events.add((len(lines), sum(bool(re.match(r"\d{3}  ", line)) for line in lines)))
        assert sum(line.startswith("* COMMENT: shot_") for line in lines) == 2
    assert len(events) == 1


def test_a_sentence_says_that_an_edit_list_has_one_line_for_a_caption(tmp_path):
    assert any("captions" in note for note in write_trajectory(path_with("one\ntwo"), tmp_path / "a.edl"))
    assert not any("characters" in note for note in write_trajectory(path_with("one two"), tmp_path / "a.edl"))


@pytest.mark.parametrize(
    ("fmt", "name"),
    [("edl", "clip"), ("edl", "title"), ("otio", "clip"), ("realestate10k", "url"), ("multishotmaster", "root")],
)
@pytest.mark.parametrize("text", ["a\nb", "a\0b", "a\u2028b", "\x1b[2J", "a\u202eb"])
def test_texts_of_options_are_one_line(tmp_path, fmt, name, text):
    with pytest.raises(ValueError, match=f"the option {name} should be one line of text"):
        write_trajectory(path_with("a"), tmp_path / "a", fmt, **{name: text})


@pytest.mark.filterwarnings("error")
def test_pictures_of_films_with_any_caption(tmp_path):
    from shotverse_jax.views.contact_sheet import plot_film
    from shotverse_jax.views.plot import plot_trajectory

    words = "".join(caption for name, caption in WORDS.items() if name not in ("long", "letters"))
    for caption in (words + "costs $5 and $6_{", WORDS["long"]):
        trajectory = path_with(caption)
        plot_trajectory(trajectory, tmp_path / "a.png")
        plot_film(np.zeros((4, 48, 83, 3), np.uint8), trajectory, tmp_path / "b.png")
