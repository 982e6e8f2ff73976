"""Which adapters shots ask for: a style for all, and the words of captions."""

import pytest

from shotverse_jax.cinematic.asking import named_in, styled
from shotverse_jax.cinematic.guidance import Compose
from shotverse_jax.cinematic.phrases import CLASSES
from shotverse_jax.screenplay import Screenplay, Shot


@pytest.mark.parametrize(
    ("caption", "names"),
    [
        ("A man waits. The camera slowly pans to the left.", ("pan-left",)),
        ("Extreme close-up of an eye, a rack focus.", ("extreme close-up", "rack-focus")),
        ("From a low angle, the lens zooms in on her.", ("low angle", "zoom-in")),
        ("The camera moves closer.", ()),
        ("We zoom slowly out from the house.", ("zoom-out",)),
        ("He turns left and pants.", ()),
        ("A panorama of the city, noir and rain.", ("Noir",)),
        ("From a wide to a close-up.", ("close-up",)),
    ],
)
def test_words_of_captions(caption, names):
    assert named_in(caption, ("Noir", "b")) == names


def test_every_phrase_names_its_class():
    wrong = {
        (name, phrase) for name, each in CLASSES.items() for phrase in each.phrases if name not in named_in(phrase)
    }
    assert not wrong


def test_a_style_is_for_all_shots_and_words_for_those_that_name_none():
    shots = Shot("He waits. [lora: a 0.3]"), Shot("Pan left."), Shot("He goes.")
    play = styled(Screenplay("A room.", shots), "a, b 0.5", words=True)
    common = (("a", None), ("b", 0.5))
    assert [shot.loras for shot in play.shots] == [(("a", 0.3), common[1]), (("pan-left", None), *common), common]
    assert styled(Screenplay("A room.", shots)).shots == shots


def test_compositions_that_cannot_be():
    for options, words in (
        ({"rule": "mix"}, "merge, switch, composite, cliplora"),
        ({"rule": "cliplora", "scorer": "nowhere"}, "needs a CameraCLIP.*no CLIP called nowhere"),
        ({"every": 0}, "steps from one decision"),
        ({"ramp": -1}, "frames of a ramp"),
        ({"style": "a,,b"}, "NAME or NAME STRENGTH"),
    ):
        with pytest.raises(ValueError, match=words):
            Compose(**options)
