"""GenDoP's generation: whole sequences, the likeliest tokens where they are asked for, and what is refused."""

import dataclasses
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from shotverse_jax.camera.tokens.gendop import GenDoPTokenizer
from shotverse_jax.camera.tokens.shotverse import BOS, EOS, FIRST_BIN
from shotverse_jax.config import CLIPTextConfig, CLIPVisionConfig, Execution, GenDoPConfig, GenDoPTokenConfig, OPTConfig
from shotverse_jax.infer.decode import GREEDY
from shotverse_jax.infer.gendop import GenDoPPlanner, Inputs, Picture, decode, plan, sample_ids
from shotverse_jax.inputs.clip import END
from shotverse_jax.models.gendop import GenDoP
from shotverse_jax.screenplay import Screenplay, Shot
from shotverse_jax.weights import abstract

CONFIG = GenDoPConfig(
    CLIPTextConfig(vocab_size=40, hidden_size=16, num_layers=1, num_heads=2, mlp_size=16, max_positions=6),
    CLIPVisionConfig(hidden_size=16, num_layers=1, num_heads=2, mlp_size=16, patch_size=4, image_size=8),
    OPTConfig(hidden_size=16, num_layers=1, num_heads=2, max_positions=340, dropout=0.0),
)


@pytest.fixture(scope="module")
def planner():
    """Weights so large that the next token depends on all that came before."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        known = {"scale": np.ones, "bias": np.zeros}.get(path[-1].key)
        return (known(leaf.shape) if known else rng.normal(0, 0.5, leaf.shape)).astype(np.float32)

    return GenDoPPlanner(CONFIG, jax.tree_util.tree_map_with_path(draw, abstract("gendop", CONFIG)), None)


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    text = rng.integers(1, 40, (2, 6)), np.ones((2, 6), bool)
    return Inputs(
        *text, rng.normal(size=(2, 8, 8, 3)).astype(np.float32), rng.normal(size=(2, 8, 8)).astype(np.float32)
    )


def ids(planner, key, inputs, **sampling):
    return np.asarray(decode(planner, inputs, jax.random.key(key), **sampling).ids_BN)


def test_the_likeliest_tokens(planner):
    """What the network says of a whole sequence at once is what was chosen token by token, among the bins."""
    ids_BN, log_probs_BN = decode(planner, inputs(), jax.random.key(0), sampling=GREEDY)
    ids_BN = np.asarray(ids_BN)
    assert ids_BN.shape == (2, 302) and (ids_BN[:, 0] == BOS).all() and (ids_BN[:, -1] == EOS).all()
    variables = {"params": planner.params}
    logits_BNV = jax.jit(GenDoP(CONFIG, Execution()).apply)(variables, ids_BN, *inputs())
    chosen_BN = FIRST_BIN + np.argmax(logits_BNV[:, :300, FIRST_BIN:], axis=-1)
    np.testing.assert_array_equal(ids_BN[:, 1:-1], chosen_BN)
    forced_BNV = jax.nn.log_softmax(logits_BNV[:, :300])
    forced_BN = np.take_along_axis(np.asarray(forced_BNV), ids_BN[:, 1:-1, None], axis=-1)[..., 0]
    np.testing.assert_allclose(log_probs_BN[:, 1:-1], forced_BN, atol=1e-4)
    assert (log_probs_BN[:, [0, -1]] == 0).all()
    assert (ids(planner, 0, inputs(1), sampling=GREEDY) != ids_BN).any()  # the conditions have a say


def test_random_sequences_are_whole_and_can_be_had_again(planner):
    one, two, three = (ids(planner, key, inputs()) for key in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert (one != three).any()
    values_BN = one[:, 1:-1]
    assert (values_BN >= FIRST_BIN).all() and (values_BN < 260).all()
    assert len(GenDoPTokenizer(GenDoPTokenConfig()).decode(one[0])) == 120


def test_pictures_where_there_are_no_towers_and_the_reverse(planner):
    blank = inputs()
    with pytest.raises(ValueError, match="has towers for text; it was given text and image and depth"):
        ids(dataclasses.replace(planner, config=dataclasses.replace(CONFIG, vision=None)), 0, blank)
    with pytest.raises(ValueError, match="has towers for text and image and depth; it was given nothing"):
        ids(planner, 0, Inputs())
    with pytest.raises(ValueError, match="the text tower reads 6 tokens, got 7"):
        words = np.ones((2, 7), np.int32)
        ids(planner, 0, blank._replace(text_ids_BT=words, real_BT=words > 0))
    with pytest.raises(ValueError, match=r"reads pictures \[8, 8, 3\], got \[9, 8, 3\]"):
        ids(planner, 0, blank._replace(image_BHWC=np.pad(blank.image_BHWC, [(0, 0), (0, 1), *[(0, 0)] * 2])))


class Words:
    """The part of a tokenizer that `inputs.clip.tokenize` uses; every word is the number of its letters."""

    def token_to_id(self, token):
        return 38 + (token == END)

    def encode(self, text, add_special_tokens):
        return SimpleNamespace(ids=[len(word) for word in text.split()])

    def no_truncation(self):
        pass

    no_padding = no_truncation


def test_plans_of_screenplays_in_the_form_of_the_director(planner):
    """Frames and captions are the screenplay's; a sample depends on its screenplay, picture and number."""
    planner = dataclasses.replace(planner, tokenizer=Words())
    plays = [Screenplay("a room", (Shot(f"pan {way}", 2.0),), fps=8.0) for way in ("left", "backwards")]
    rng = np.random.default_rng(0)
    pictures = [Picture(rng.integers(0, 255, (20, 30, 3)).astype(np.uint8), rng.random((20, 30))) for _ in plays]
    planned = plan(planner, plays, pictures, samples=2)
    for screenplay, trajectories in zip(plays, planned, strict=True):
        assert [t.spans for t in trajectories] == [list(screenplay.layout().spans)] * 2
        assert trajectories[0].captions == (screenplay.shots[0].caption,) and trajectories[0].fps == 8.0
        assert np.abs(trajectories[0].pose_T34 - trajectories[1].pose_T34).max() > 0
    [alone] = sample_ids(planner, plays[1:], pictures[1:])
    np.testing.assert_array_equal(sample_ids(planner, plays, pictures, samples=2)[1].ids_JN[:1], alone.ids_JN)
    np.testing.assert_array_equal(plan(planner, plays[1:], pictures[1:])[0][0].pose_T34, planned[1][0].pose_T34)
    with pytest.raises(ValueError, match="GenDoP plans one shot, the screenplay has 2"):
        plan(planner, [Screenplay("a room", (Shot("pan left"), Shot("pan right")))], pictures[:1])
    with pytest.raises(ValueError, match="2 screenplays and 1 pictures"):
        plan(planner, plays, pictures[:1])
