"""Prompts and their windows: the original's records, every tokenizer, no leak in the clean windows, errors."""

import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from shotverse_jax.config import NEGATIVE_PROMPT
from shotverse_jax.inputs.prompt import clean_prompt, tokenize_prompt, tokenize_screenplay, window_mask
from shotverse_jax.inputs.tokenizer import train_text_tokenizer
from shotverse_jax.screenplay import Screenplay, Shot

CAPTIONS = ["A slow push in on a woman in a red coat.", "The camera pans left. This scene contains 2 shots."] * 5


@pytest.fixture(scope="module")
def tokenizer():
    return train_text_tokenizer(CAPTIONS, 330)


@pytest.fixture(scope="module")
def umt5(reference):
    return Tokenizer.from_file(str(reference / "data" / "tokenizers" / "umt5_tokenizer" / "tokenizer.json"))


def test_windows_are_holocines(reference, umt5):
    cases = json.loads((reference / "golden" / "holocine_prompt_windows.json").read_text())
    for case in cases:
        spans = case["text_cut_positions"]
        got = tokenize_prompt(case["prompt"], umt5, 512, shots=len(spans["shots"]))
        assert got.length == case["num_tokens"] and list(got.ids_S[: got.length]) == case["input_ids"]
        assert got.ids_S.shape == (512,) and got.ids_S.dtype == np.int32 and not got.ids_S[got.length :].any()
        assert got.real_S.sum() == got.length
        assert got.global_span == (tuple(spans["global"]) if spans["global"] else None)
        assert got.shot_spans == tuple(map(tuple, spans["shots"]))
    assert {len(case["text_cut_positions"]["shots"]) for case in cases} == {0, 2, 4}


def test_windows_of_a_prompt_that_needs_cleaning(umt5):
    """Spans and tokens count the same characters, although cleaning moves every marker."""
    prompt = "[global caption]  Tom &amp;amp; Ann\u2019s   caf\u00c3\u00a9. [per shot caption] A. [shot cut]\n B."
    dirty, clean = (tokenize_prompt(text, umt5, 64, shots=2) for text in (prompt, clean_prompt(prompt)))
    assert clean_prompt(prompt) == "[global caption] Tom & Ann's caf\u00e9. [per shot caption] A. [shot cut] B."
    np.testing.assert_array_equal(dirty.ids_S, clean.ids_S)
    assert dirty.shot_spans == clean.shot_spans
    decoded = [umt5.decode(dirty.ids_S[slice(*span)].tolist()) for span in (dirty.global_span, *dirty.shot_spans)]
    # The tokenizer joins a space to the bracket after it, so the first bracket of "[per shot caption]" is global.
    assert decoded == ["[global caption] Tom & Ann's caf\u00e9. [", "per shot caption] A. [shot cut]", "B."]


def test_the_negative_prompt_is_plain_text(umt5):
    text = tokenize_prompt(NEGATIVE_PROMPT, umt5, 512)
    assert text.global_span is None and text.shot_spans == () and 100 < text.length < 200
    assert umt5.decode(text.ids_S[: text.length].tolist()) == NEGATIVE_PROMPT.replace("，", ",")


def words(alphabet="abc DEF.é🎬,&;#[](1"):
    return st.text(alphabet, min_size=1, max_size=12).map(lambda text: f"x{text}")


@settings(max_examples=60, deadline=None)
@given(words(), st.lists(words(), min_size=1, max_size=5))
@example("x&nbsp;", ["x\u3000\u2019", "x[", "x]"])
def test_every_token_is_in_one_window_and_clean_windows_do_not_leak(tokenizer, caption, shots):
    screenplay = Screenplay(caption, tuple(map(Shot, shots)))
    windows = tokenize_screenplay(screenplay, tokenizer, 256)
    spans = [windows.global_span, *windows.shot_spans]
    assert len(windows.shot_spans) == len(shots)
    assert [start for start, _ in spans] == [0, *(end for _, end in spans[:-1])]
    assert all(start < end for start, end in spans) and spans[-1][1] == windows.length - 1
    assert windows.ids_S[windows.length - 1] == tokenizer.token_to_id("<eos>")

    lower, place_S = tokenizer.normalizer.normalize_str, np.arange(256)
    for (start, end), text in zip(spans[1:], shots, strict=True):
        decoded = tokenizer.decode(windows.ids_S[start:end].tolist())
        assert lower(clean_prompt(text)).strip() in decoded

    for style in ("clean", "holocine"):
        window_KS = window_mask(windows.global_span, windows.shot_spans, 256, style)
        assert window_KS.shape == (len(shots), 256) and window_KS.dtype == bool
        assert window_KS[:, : spans[0][1]].all() and window_KS[:, windows.length :].all()
        for k, (start, end) in enumerate(windows.shot_spans):
            assert window_KS[k, start:end].all()
            leaked = set(np.flatnonzero(window_KS[k, : windows.length])) - set(range(start, end)) - {*range(*spans[0])}
            assert leaked == (set() if style == "clean" else {spans[0][1], end} - {start})
            seen = window_KS[k] & (place_S >= spans[0][1]) & (place_S < windows.length)
            assert seen.sum() == end - start + len(leaked)


def test_one_token_leaks_as_in_holocine():
    """Global tokens 0-2, shots 3-4, 5-6 and 7, end token 8, padding 9-10."""

    def rows(style):
        window_KS = window_mask((0, 3), ((3, 5), (5, 7), (7, 8)), 11, style)
        return ["".join(".#"[int(seen)] for seen in row) for row in window_KS]

    assert rows("holocine") == ["######...##", "####.###.##", "####...####"]
    assert rows("clean") == ["#####....##", "###..##..##", "###....#.##"]


def test_a_window_whose_ends_are_the_same_is_one_token_of_holocine():
    mask_KS = window_mask((2, 2), ((3, 5), (6, 6)), 9, "holocine")
    assert ["".join(".#"[int(seen)] for seen in row) for row in mask_KS] == ["..####.##", "..#...###"]


@pytest.mark.parametrize(
    ("global_span", "shot_spans", "style", "message"),
    [
        ((0, 3), ((3, 5),), "open", '"holocine" or "clean"'),
        ((0, 3), (), "clean", "at least one shot"),
        ((0, 3), ((2, 5),), "clean", "in order"),
        ((0, 3), ((3, 3),), "clean", "none empty"),
        ((0, 3), ((3, 10),), "clean", "within 10 places"),
        ((0, 3), ((4, 3),), "holocine", "none empty"),
    ],
)
def test_wrong_windows(global_span, shot_spans, style, message):
    with pytest.raises(ValueError, match=message):
        window_mask(global_span, shot_spans, 10, style)


@pytest.mark.parametrize(
    ("text", "shots", "message"),
    [
        ("[global caption] A. [per shot caption] B. [shot cut] C.", 3, "a prompt of 3 shots has 2"),
        ("[global caption] A. [per shot caption] B. [shot cut] C.", 0, "a text without shots has no markers"),
        ("[per shot caption] B. [shot cut] C.", 2, "this one has 1, 0 and 1"),
        ("[global caption] A [shot cut] B [per shot caption] C", 2, "in this order"),
        ("A [global caption] B [per shot caption] C", 1, "nothing before it"),
        ("[global caption] A [per shot caption] B [shot cut] &nbsp; [shot cut] C", 3, "shot 2 of the prompt has no"),
        ("[global caption] A [per shot caption] B &#91;shot cut]", 1, "a prompt of 1 shots has 0"),
        ("word " * 70, 0, r"the prompt has \d+ tokens, and 64 is the most"),
    ],
)
def test_wrong_prompts(tokenizer, text, shots, message):
    with pytest.raises(ValueError, match=message):
        tokenize_prompt(text, tokenizer, 64, shots=shots)


def test_the_longest_prompt_just_fits(tokenizer):
    length = tokenize_prompt("A slow push in.", tokenizer, 64).length
    assert tokenize_prompt("A slow push in.", tokenizer, length).real_S.all()
    with pytest.raises(ValueError, match=f"has {length} tokens, and {length - 1} is the most"):
        tokenize_prompt("A slow push in.", tokenizer, length - 1)


def test_the_sentence_about_the_shots_is_added_once(tokenizer):
    shots = (Shot("It rains."), Shot("It pours."))
    one, other = (
        tokenize_screenplay(Screenplay(c, shots), tokenizer) for c in ("A.", "A. This scene contains 2 shots.")
    )
    np.testing.assert_array_equal(one.ids_S, other.ids_S)
    assert tokenizer.decode(one.ids_S[: one.length].tolist()).count("this scene contains 2 shots.") == 1


def test_tokenizers_that_cut_or_lack_an_end_are_refused(tokenizer):
    cutting = Tokenizer.from_str(tokenizer.to_str())
    cutting.enable_truncation(8)
    with pytest.raises(ValueError, match="no_truncation"):
        tokenize_prompt("A slow push in.", cutting)
    endless = Tokenizer.from_str(tokenizer.to_str().replace("<eos>", "<stop>"))
    with pytest.raises(ValueError, match="has no </s> or <eos>"):
        tokenize_prompt("A slow push in.", endless)
