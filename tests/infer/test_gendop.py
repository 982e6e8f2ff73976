"""GenDoP's generation: whole sequences, the likeliest tokens where they are asked for, and what is refused."""

import dataclasses

import jax
import numpy as np
import pytest

from shotverse_jax.camera.tokens.gendop import GenDoPTokenizer
from shotverse_jax.camera.tokens.shotverse import BOS, EOS, FIRST_BIN
from shotverse_jax.config import CLIPTextConfig, CLIPVisionConfig, Execution, GenDoPConfig, OPTConfig
from shotverse_jax.infer.decode import GREEDY
from shotverse_jax.infer.gendop import generate
from shotverse_jax.models.gendop import GenDoP
from shotverse_jax.weights import abstract

CONFIG = GenDoPConfig(
    CLIPTextConfig(vocab_size=40, hidden_size=16, num_layers=1, num_heads=2, mlp_size=16, max_positions=6),
    CLIPVisionConfig(hidden_size=16, num_layers=1, num_heads=2, mlp_size=16, patch_size=4, image_size=8),
    OPTConfig(hidden_size=16, num_layers=1, num_heads=2, max_positions=340, dropout=0.0),
)
EXECUTION = Execution()


@pytest.fixture(scope="module")
def params():
    """Weights so large that the next token depends on all that came before."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        known = {"scale": np.ones, "bias": np.zeros}.get(path[-1].key)
        return (known(leaf.shape) if known else rng.normal(0, 0.5, leaf.shape)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, abstract("gendop", CONFIG))


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    text = rng.integers(1, 40, (2, 6)), np.ones((2, 6), bool)
    return *text, rng.normal(size=(2, 8, 8, 3)).astype(np.float32), rng.normal(size=(2, 8, 8)).astype(np.float32)


def test_the_likeliest_tokens(params):
    """What the network says of a whole sequence at once is what was chosen token by token, among the bins."""
    ids_BN = np.asarray(generate(params, CONFIG, EXECUTION, jax.random.key(0), *inputs(), sampling=GREEDY))
    assert ids_BN.shape == (2, 302) and (ids_BN[:, 0] == BOS).all() and (ids_BN[:, -1] == EOS).all()
    logits_BNV = jax.jit(GenDoP(CONFIG, EXECUTION).apply)({"params": params}, ids_BN, *inputs())
    chosen_BN = FIRST_BIN + np.argmax(logits_BNV[:, :300, FIRST_BIN:], axis=-1)
    np.testing.assert_array_equal(ids_BN[:, 1:-1], chosen_BN)
    other_BN = np.asarray(generate(params, CONFIG, EXECUTION, jax.random.key(0), *inputs(1), sampling=GREEDY))
    assert (other_BN != ids_BN).any()  # the conditions have a say


def test_random_sequences_are_whole_and_can_be_had_again(params):
    one, two, three = (np.asarray(generate(params, CONFIG, EXECUTION, jax.random.key(k), *inputs())) for k in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert (one != three).any()
    values_BN = one[:, 1:-1]
    assert (values_BN >= FIRST_BIN).all() and (values_BN < 260).all()
    assert len(GenDoPTokenizer().decode(one[0])) == 120


def test_pictures_where_there_are_no_towers_and_the_reverse(params):
    with pytest.raises(ValueError, match="got image: False, depth: False, vision towers: True"):
        generate(params, CONFIG, EXECUTION, jax.random.key(0), *inputs()[:2])
    blind = dataclasses.replace(CONFIG, vision=None)
    with pytest.raises(ValueError, match="got image: True, depth: True, vision towers: False"):
        generate(params, blind, EXECUTION, jax.random.key(0), *inputs())
    with pytest.raises(ValueError, match="got image: True, depth: False"):
        generate(params, CONFIG, EXECUTION, jax.random.key(0), *inputs()[:3])
    with pytest.raises(ValueError, match="the text tower reads 6 tokens, got 7"):
        ids = np.ones((2, 7), np.int32)
        generate(params, CONFIG, EXECUTION, jax.random.key(0), ids, ids > 0, *inputs()[2:])
    with pytest.raises(ValueError, match=r"reads pictures \[8, 8, 3\], got \[9, 8, 3\]"):
        ids, mask, image, depth = inputs()
        generate(
            params,
            CONFIG,
            EXECUTION,
            jax.random.key(0),
            ids,
            mask,
            np.pad(image, [(0, 0), (0, 1), *[(0, 0)] * 2]),
            depth,
        )
