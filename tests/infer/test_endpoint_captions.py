"""Captions by a model behind an endpoint: what it is shown, and what is refused."""

import io

import numpy as np
import pytest
from PIL import Image

from shotverse_jax.infer.captions import EndpointCaptioner

CLIP = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.ones((1, 6, 8, 3), np.uint8)


def test_an_endpoint_sees_frames_in_order_and_says_when():
    got = []

    def ask(prompt, pictures=(), **options):
        got.append((prompt, pictures, options))
        return f" A\n caption {len(got)}. "

    captions = EndpointCaptioner(ask, "What?", pictures=3).captions([CLIP, CLIP], samples=2, seed=7, fps=4.0)
    assert captions == [["A caption 1.", "A caption 2."], ["A caption 3.", "A caption 4."]]
    prompt, pictures, options = got[1]
    assert prompt == "These are 3 frames of one shot, in order, at 0.0, 2.5, 4.8 seconds. What?"
    assert [np.asarray(Image.open(io.BytesIO(png)))[0, 0, 0] for png in pictures] == [0, 10, 19]
    assert options == {"temperature": 0.7, "seed": 8}


def test_nonsense_is_no_caption():
    with pytest.raises(ValueError, match="gave no caption, but '#!'"):
        EndpointCaptioner(lambda *args, **options: "#!").captions([CLIP])


def test_a_question_about_two_clips_names_their_pictures():
    got = []

    def ask(prompt, pictures=(), **options):
        got.append((prompt, pictures, options))
        return "B"

    other = CLIP[::-1]
    assert EndpointCaptioner(ask, pictures=2).answer([("A:", CLIP), ("B:", other)], "Which?") == "B"
    [(prompt, pictures, options)] = got
    assert prompt == "A: pictures 1 to 2; B: pictures 3 to 4. Which?" and options == {"temperature": 0.0}
    assert [np.asarray(Image.open(io.BytesIO(png)))[0, 0, 0] for png in pictures] == [0, 19, 19, 0]
