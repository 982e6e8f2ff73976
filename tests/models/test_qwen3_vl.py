"""Qwen3-VL text: the records of transformers, cached decoding, and what holds whatever the weights."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotverse_jax import lora
from shotverse_jax.config import Execution, LoraConfig, Qwen3VLTextConfig, planner_nano
from shotverse_jax.conversion import core, qwen3_vl
from shotverse_jax.conversion.networks import NETWORKS
from shotverse_jax.models.qwen3_vl import Qwen3VLText

CONFIG = planner_nano().text
MODEL = Qwen3VLText(CONFIG)
APPLY = jax.jit(MODEL.apply)


@pytest.fixture(scope="module")
def golden(reference):
    """(config, variables, inputs and outputs) of a 4-layer model that transformers ran."""
    folder = reference / "golden" / "qwen3vl_tiny"
    config = qwen3_vl.config_from_hf(json.loads((folder / "tiny" / "config.json").read_text()))
    params = NETWORKS["qwen3-vl-text"].from_torch(core.read_safetensors(folder / "tiny"), config)
    return config, {"params": params}, core.read_safetensors(folder / "io.safetensors")


def logits(golden, ids_BT, real_BT=None, execution=None):
    config, variables, _ = golden
    model = Qwen3VLText(config, execution or Execution())

    @jax.jit
    def run(variables):
        hidden_BTD = model.apply(variables, model.apply(variables, ids_BT, method="embed"), None, real_BT)
        return model.apply(variables, hidden_BTD, method="logits")

    return np.asarray(run(variables))


def test_golden_text(golden):
    record = golden[2]
    np.testing.assert_allclose(logits(golden, record["text.input_ids"]), record["text.logits"], atol=1e-5)


def test_golden_padded(golden):
    record = golden[2]
    real_BT = record["textpad.attention_mask"].astype(bool)
    ours = logits(golden, record["text.input_ids"], real_BT)
    np.testing.assert_allclose(ours[real_BT], record["textpad.logits"][real_BT], atol=1e-5)


def test_golden_query_embeddings(golden):
    config, variables, record = golden
    ours = jax.jit(Qwen3VLText(config).apply)(variables, record["query.inputs_embeds"])
    np.testing.assert_allclose(ours, record["query.last_hidden"], atol=1e-5)


def test_golden_bfloat16(golden):
    """transformers itself is 2.6e-2 away from float32 here, on numbers of size 2."""
    ours = logits(golden, golden[2]["text.input_ids"], execution=Execution(dtype="bfloat16"))
    assert ours.dtype == np.float32  # the head accumulates in float32
    np.testing.assert_allclose(ours, golden[2]["text.logits_bf16"], atol=5e-2)


@pytest.fixture(scope="module")
def x_BTD():
    return jax.random.normal(jax.random.key(0), (2, 9, CONFIG.hidden_size))


@pytest.fixture(scope="module")
def variables(x_BTD):
    return jax.jit(MODEL.init)(jax.random.key(1), x_BTD)


def test_scanned_equals_unrolled(variables, x_BTD):
    unrolled = Qwen3VLText(CONFIG, Execution(unroll=True))
    np.testing.assert_allclose(jax.jit(unrolled.apply)(variables, x_BTD), APPLY(variables, x_BTD), atol=1e-6)


@pytest.mark.parametrize("unroll", [False, True])
def test_cached_decoding_equals_the_whole_sequence(variables, x_BTD, unroll):
    """A prompt of five tokens, then one at a time; the cache has room to spare."""
    model = Qwen3VLText(CONFIG, Execution(unroll=unroll))
    extend = jax.jit(lambda *args: model.apply(variables, *args, method="extend"))
    whole_BTD = APPLY(variables, x_BTD)
    prompt_BTD, cache = extend(x_BTD[:, :5], MODEL.empty_cache(2, 12), 0)
    np.testing.assert_allclose(prompt_BTD, whole_BTD[:, :5], atol=2e-6)
    for t in range(5, 9):
        state_BTD, cache = extend(x_BTD[:, t : t + 1], cache, t)
        np.testing.assert_allclose(state_BTD[:, 0], whole_BTD[:, t], atol=2e-6)


def test_cached_decoding_after_padding(variables, x_BTD):
    """Three real tokens, two of padding, two more: as five tokens without the padding."""
    extend = jax.jit(lambda *args: MODEL.apply(variables, *args, method="extend"))
    expected_BTD = APPLY(variables, x_BTD[:, [0, 1, 2, 5, 6]])
    real_BS = jnp.array([[1, 1, 1, 0, 0, 1, 1]] * 2, bool)
    _, cache = extend(x_BTD[:, :5], MODEL.empty_cache(2, 7), 0, None, real_BS)
    positions_3BT = jnp.broadcast_to(jnp.array([3, 4]), (3, 2, 2))
    states_BTD, _ = extend(x_BTD[:, 5:7], cache, 5, positions_3BT, real_BS)
    np.testing.assert_allclose(states_BTD, expected_BTD[:, 3:], atol=2e-6)


def test_the_future_and_padding_are_not_seen(variables, x_BTD):
    before, after = APPLY(variables, x_BTD), APPLY(variables, x_BTD.at[:, 6:].add(1.0))
    np.testing.assert_array_equal(before[:, :6], after[:, :6])
    assert not np.allclose(before[:, 6:], after[:, 6:])
    real_BT = np.ones((2, 9), bool)
    real_BT[:, 2] = False
    hidden = [APPLY(variables, x, None, real_BT) for x in (x_BTD, x_BTD.at[:, 2].add(1.0))]
    np.testing.assert_array_equal(np.delete(hidden[0], 2, 1), np.delete(hidden[1], 2, 1))


def test_positions_are_relative_and_every_row_matters(variables, x_BTD):
    variables = jax.tree.map(lambda leaf: leaf * 5 if leaf.ndim == 3 else leaf, variables)  # attention that looks
    shifted_3BT = jnp.broadcast_to(jnp.arange(9) + 100, (3, 2, 9))
    plain = APPLY(variables, x_BTD)
    np.testing.assert_allclose(APPLY(variables, x_BTD, shifted_3BT), plain, atol=1e-4)
    for row in range(3):
        moved = APPLY(variables, x_BTD, shifted_3BT.at[row, :, 4:].add(5))
        np.testing.assert_allclose(moved[:, :4], plain[:, :4], atol=1e-4)
        assert np.abs(moved - plain).max() > 1e-3


@pytest.mark.parametrize("remat", ["full", "save_attention"])
def test_remat_gives_equal_gradients(variables, x_BTD, remat):
    def grad(execution):
        model = Qwen3VLText(CONFIG, execution)
        return jax.jit(jax.grad(lambda v, x: jnp.sum(model.apply(v, x) ** 2), argnums=(0, 1)))(variables, x_BTD)

    pairs = jax.tree.map(lambda a, b: np.max(np.abs(a - b)), grad(Execution()), grad(Execution(remat=remat)))
    assert max(jax.tree.leaves(pairs)) < 1e-5


def test_ids_outside_the_table_are_not_clipped(variables):
    rows = MODEL.apply(variables, jnp.array([[0, CONFIG.vocab_size]]), method="embed")
    assert np.isfinite(rows[0, 0]).all() and np.isnan(rows[0, 1]).all()


def test_parameter_count_of_the_2b_model():
    leaves = jax.tree.leaves(NETWORKS["qwen3-vl-text"].abstract(Qwen3VLTextConfig()))
    assert sum(int(np.prod(leaf.shape)) for leaf in leaves) == 1_720_574_976


def test_adapter_count_of_the_2b_model():
    params = NETWORKS["qwen3-vl-text"].abstract(Qwen3VLTextConfig())
    adapter = jax.eval_shape(lambda p: lora.init(jax.random.key(0), p, LoraConfig(rank=32, alpha=32.0)), params)
    assert sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(adapter)) == 1_089_536 * 32
