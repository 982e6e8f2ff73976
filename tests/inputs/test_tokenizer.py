"""The text tokenizer: deterministic, indifferent to case and typography, nothing unknown."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.inputs.tokenizer import SPECIAL_TOKENS, load_text_tokenizer, stage_captions, train_text_tokenizer

CAPTIONS = [
    "The camera dollies in on a woman in a red coat.",
    "A slow push in, then the camera pans left.",
    "The camera pans left and tilts up towards the robot.",
] * 5


@pytest.fixture(scope="module")
def tokenizer():
    return train_text_tokenizer(CAPTIONS, 400)


def test_same_captions_give_the_same_tokenizer(tokenizer):
    assert train_text_tokenizer(CAPTIONS, 400).to_str() == tokenizer.to_str()
    assert train_text_tokenizer(CAPTIONS[:2] * 5, 400).to_str() != tokenizer.to_str()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Dolly In", "dolly in"),
        ("the  camera\n pans ", "the camera pans"),
        ("caf\u00e9", "cafe\u0301"),
        ("it\u2019s \u201cclose\u201d", 'it\'s "close"'),
        ("close\u2014up", "close-up"),
    ],
)
def test_spelling_that_does_not_matter(tokenizer, one, other):
    assert tokenizer.encode(one).ids == tokenizer.encode(other).ids


def test_frequent_words_are_one_token_and_digits_stand_alone(tokenizer):
    assert tokenizer.encode("camera").tokens == ["\u0120camera"]
    assert len(tokenizer.encode("1234").ids) >= 4


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40))
@example("<pad>a<shot> 35mm")
def test_any_text_is_encoded_without_special_tokens_and_read_back(tokenizer, text):
    ids = tokenizer.encode(text).ids
    assert all(len(SPECIAL_TOKENS) <= i < tokenizer.get_vocab_size() for i in ids)
    assert tokenizer.decode(ids).strip() == tokenizer.normalizer.normalize_str(text).strip()


def test_saved_and_loaded(tokenizer, tmp_path):
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert load_text_tokenizer(tmp_path / "tokenizer.json").to_str() == tokenizer.to_str()
    with pytest.raises(ValueError, match="no tokenizer at"):
        load_text_tokenizer(tmp_path / "other.json")


def test_vocabulary_needs_room_for_every_byte():
    with pytest.raises(ValueError, match="at least 264"):
        train_text_tokenizer(CAPTIONS, 200)


def test_stage_captions_are_those_of_the_training_split():
    captions = list(stage_captions(sample_example, 3))
    first = sample_example(0, "train").screenplay
    assert captions[: 1 + len(first.shots)] == [first.caption, *(shot.caption for shot in first.shots)]
