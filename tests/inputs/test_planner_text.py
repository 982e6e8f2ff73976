"""Captions and pose tokens to batches: where the query slots lie, what is padding, what is refused."""

import dataclasses

import numpy as np
import pytest

from shotverse_jax.config import planner_nano
from shotverse_jax.inputs.planner_text import PlannerExample, bucket, collate, encode_text
from shotverse_jax.inputs.tokenizer import train_text_tokenizer

CONFIG = planner_nano()


@pytest.fixture(scope="module")
def tokenizer():
    return train_text_tokenizer(["a wide shot of a dog", "the camera pans left"] * 5, 512)


def test_queries_follow_the_text_of_their_shot(tokenizer):
    ids, slot = encode_text(CONFIG, tokenizer, "a dog", ["pans left", "wide shot"])
    pieces = [tokenizer.encode(text).ids for text in ("a dog", "pans left", "wide shot")]
    assert ids.tolist() == pieces[0] + pieces[1] + [0, 0] + pieces[2] + [0, 0]
    n0, n1, n2 = map(len, pieces)
    assert slot.tolist() == [-1] * (n0 + n1) + [0, 1] + [-1] * n2 + [2, 3]
    assert ids.dtype == slot.dtype == np.int32


@pytest.mark.parametrize("encoder", ["text", "none"])
def test_without_queries_there_is_text_only(tokenizer, encoder):
    config = dataclasses.replace(CONFIG, encoder=encoder)
    ids, slot = encode_text(config, tokenizer, "a dog", ["pans left"])
    assert ids.tolist() == tokenizer.encode("a dog").ids + tokenizer.encode("pans left").ids
    assert (slot == -1).all()


def test_an_empty_global_caption_is_fine_no_text_at_all_is_not(tokenizer):
    ids, _ = encode_text(CONFIG, tokenizer, "", ["pans left"])
    assert ids[0] == tokenizer.encode("pans left").ids[0]
    with pytest.raises(ValueError, match="no text"):
        encode_text(CONFIG, tokenizer, "", [" "])
    with pytest.raises(ValueError, match="at least one shot"):
        encode_text(CONFIG, tokenizer, "a dog", [])


def test_too_long_captions_are_refused_with_the_numbers(tokenizer):
    config = dataclasses.replace(CONFIG, max_text_tokens=9)
    assert len(encode_text(config, tokenizer, "dog", ["dog " * 6])[0]) == 9
    with pytest.raises(ValueError, match="take 8 tokens, 1 shots leave room for 7: shorten them"):
        encode_text(config, tokenizer, "dog", ["dog " * 7])


def test_a_tokenizer_of_another_planner_is_refused(tokenizer):
    small = dataclasses.replace(CONFIG, text=dataclasses.replace(CONFIG.text, vocab_size=100))
    with pytest.raises(ValueError, match="use the tokenizer this planner was trained with"):
        encode_text(small, tokenizer, "a dog", ["pans left"])


def test_bucket():
    assert [bucket(n, 32) for n in (1, 32, 33)] == [32, 32, 64]
    assert [bucket(n, (96, 40)) for n in (1, 40, 41)] == [40, 40, 96]
    with pytest.raises(ValueError, match="97 tokens does not fit the longest bucket, 96"):
        bucket(97, (96, 40))


def test_collate_pads_on_the_right():
    one = PlannerExample(np.array([5, 0], np.int32), np.array([-1, 0], np.int32), np.array([1, 9, 2], np.int32))
    two = PlannerExample(np.array([5, 6, 0], np.int32), np.array([-1, -1, 0], np.int32), np.array([1, 2], np.int32))
    batch = collate([one, two], text_lengths=4, pose_lengths=5)
    assert batch["text_ids_BS"].tolist() == [[5, 0, 0, 0], [5, 6, 0, 0]]
    assert batch["slot_BS"].tolist() == [[-1, 0, -1, -1], [-1, -1, 0, -1]]
    assert batch["real_BS"].tolist() == [[True, True, False, False], [True, True, True, False]]
    assert batch["pose_ids_BN"].tolist() == [[1, 9, 2, 0, 0], [1, 2, 0, 0, 0]]
    assert "pose_ids_BN" not in collate([one._replace(pose_ids_N=None)])
