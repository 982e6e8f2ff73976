"""Captions in any script: a font that has the letters, or no boxes and no warnings."""

import warnings

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from PIL import Image

from shotverse_jax.camera import se3
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.views import fonts
from shotverse_jax.views.contact_sheet import plot_film
from shotverse_jax.views.drawing import short
from shotverse_jax.views.plot import plot_trajectory


@pytest.fixture
def no_fonts(monkeypatch):
    """A machine that has matplotlib's own fonts only."""
    own = [entry for entry in font_manager.fontManager.ttflist if "mpl-data" in entry.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    fonts._letters_for.cache_clear()
    yield
    fonts._letters_for.cache_clear()


def font(path, letters):
    """Writes a font whose letters are black squares."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 800), (800, 800), (800, 0)):
        pen.lineTo(corner)
    pen.closePath()
    names = [".notdef", *(f"u{ord(letter):04X}" for letter in letters)]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(letter): name for letter, name in zip(letters, names[1:], strict=True)})
    builder.setupGlyf(dict.fromkeys(names, pen.glyph()))
    builder.setupHorizontalMetrics({name: (1000, 0) for name in names})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Test Gothic", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    builder.setupPost()
    builder.save(path)
    font_manager.fontManager.addfont(path)


def path(*captions, scene=""):
    shots = np.repeat(np.arange(len(captions)), 3)
    return Trajectory(
        se3.identity((len(shots),)), [60, 60, 32, 24], 64, 48, shots, captions=captions, global_caption=scene
    )


def drawn(trajectory, place):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_trajectory(trajectory, place)
        plot_film(np.zeros((len(trajectory), 48, 64, 3), np.uint8), trajectory, place.with_suffix(".film.png"))
    return np.asarray(Image.open(place).convert("L"))


def test_an_installed_font_that_has_the_letters_is_used(no_fonts, tmp_path):
    scene, caption = "港口", "女人等"
    without = drawn(path(caption, scene=scene), tmp_path / "without.png")
    assert fonts.note([scene, caption]) == "no installed font has 人 口 女 港 等; pictures leave such captions out"
    font(str(tmp_path / "test.ttf"), scene + caption)
    fonts._letters_for.cache_clear()
    assert fonts.letters_for([scene, caption]).families[-1] == "Test Gothic" and not fonts.note([scene, caption])
    difference = drawn(path(caption, scene=scene), tmp_path / "with.png") != without
    assert difference[:60].sum() > 100 and difference[-60:].sum() > 100  # the title, and the line of the shot
    assert not difference[100:-100].any()


def test_without_a_font_there_are_no_boxes(no_fonts, tmp_path):
    """The picture is that of the same path without the caption, or with what can be written of it."""
    bare = drawn(path("", "It holds."), tmp_path / "bare.png")
    np.testing.assert_array_equal(drawn(path("镜头推进", "It 👩🏽holds.", scene="夕暮れ"), tmp_path / "a.png"), bare)
    letters = fonts.letters_for(["ａｂ ½ 雨", "ﬁ"])
    assert (
        letters.drawable("ａｂ") == "ab" and letters.drawable("雨 x") == "" and letters.drawable("café ½") == "café ½"
    )


def test_only_the_usual_font_is_asked_for_usual_letters(monkeypatch):
    monkeypatch.setattr(fonts.font_manager.fontManager, "ttflist", ())
    assert fonts._letters_for.__wrapped__(frozenset("Thecaféwaits–“gently”…")).missing == frozenset()


@pytest.mark.parametrize(
    ("text", "letters", "result"),
    [
        ("a man waits", 20, "a man waits"),
        ("a man waits here", 12, "a man…"),
        ("女人在咖啡馆里等待", 18, "女人在咖啡馆里等待"),
        ("女人在咖啡馆里等待", 9, "女人在咖…"),
        ("for $5", 20, r"for \$5"),
        ("", 5, ""),
    ],
)
def test_wide_letters_count_twice(text, letters, result):
    assert short(text, letters) == result
