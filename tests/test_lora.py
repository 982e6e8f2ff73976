"""Adapters: nothing at first, the same folded or not, trained alone, refused where they do not belong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotverse_jax import lora
from shotverse_jax.config import LoraConfig, planner_nano
from shotverse_jax.models.qwen3_vl import Qwen3VLText

CONFIG = planner_nano().text
MODEL = Qwen3VLText(CONFIG)
APPLY = jax.jit(MODEL.apply, static_argnames="deterministic")
LORA = LoraConfig(rank=4, alpha=8.0, targets=("q_proj", "down_proj"))


@pytest.fixture(scope="module")
def x_BTD():
    return jax.random.normal(jax.random.key(0), (2, 5, CONFIG.hidden_size))


@pytest.fixture(scope="module")
def params(x_BTD):
    return jax.jit(MODEL.init)(jax.random.key(1), x_BTD)["params"]


@pytest.fixture(scope="module")
def adapter(params):
    """Not at its start: B is drawn too."""
    start = lora.init(jax.random.key(2), params, LORA)
    return jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(jax.random.key(3), leaf.shape), start)


def test_tree(params):
    start = lora.init(jax.random.key(2), params, LORA)
    assert set(start["layers"]) == {"self_attn", "mlp"}
    assert set(start["layers"]["self_attn"]) == {"q_proj"}
    entry = start["layers"]["mlp"]["down_proj"]["adapter"]
    assert entry.a.shape == (2, 64, 4) and entry.b.shape == (2, 4, 32)
    assert entry.scale == 2.0
    assert np.abs(entry.a).max() <= 64**-0.5 and np.abs(entry.a).max() > 0.9 * 64**-0.5
    assert not entry.b.any()
    assert not np.allclose(entry.a[0], entry.a[1])
    assert len(jax.tree.leaves(start)) == 4  # scale and dropout are not leaves


def test_a_new_adapter_changes_no_bit(params, x_BTD):
    start = lora.init(jax.random.key(2), params, LORA)
    plain = APPLY({"params": params}, x_BTD)
    np.testing.assert_array_equal(APPLY({"params": params, "lora": start}, x_BTD), plain)


def test_merged_equals_side_path(params, adapter, x_BTD):
    side = APPLY({"params": params, "lora": adapter}, x_BTD)
    folded = APPLY({"params": lora.merge(params, adapter)}, x_BTD)
    assert np.abs(side - APPLY({"params": params}, x_BTD)).max() > 1e-2
    np.testing.assert_allclose(folded, side, atol=1e-5)


def test_merge_rounds_once_to_the_dtype_of_the_weight(params, adapter):
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    merged = lora.merge(half, adapter)
    assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(merged))
    path = ("layers", "self_attn", "q_proj")
    entry, kernel = adapter, half
    for name in path:
        entry, kernel, merged = entry[name], kernel[name], merged[name]
    entry = entry["adapter"]
    exact = np.asarray(kernel["kernel"], np.float64) + 2.0 * np.asarray(entry.a, np.float64) @ np.asarray(entry.b)
    spacing = 2.0**-8 * np.abs(exact) + 1e-6
    assert (np.abs(np.asarray(merged["kernel"], np.float64) - exact) <= spacing).all()


def test_gradients_reach_the_adapter_alone(params, adapter, x_BTD):
    grads = jax.grad(lambda a: jnp.sum(APPLY({"params": params, "lora": a}, x_BTD) ** 2))(adapter)
    assert jax.tree.structure(grads) == jax.tree.structure(adapter)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(grads))


def test_dropout_runs_only_in_training(params, x_BTD):
    config = LoraConfig(rank=4, alpha=8.0, dropout=0.5)
    adapter = jax.tree.map(lambda leaf: leaf + 0.1, lora.init(jax.random.key(2), params, config))
    variables = {"params": params, "lora": adapter}
    still = APPLY(variables, x_BTD)

    def train(seed):
        return APPLY(variables, x_BTD, deterministic=False, rngs={"dropout": jax.random.key(seed)})

    np.testing.assert_array_equal(train(0), train(0))
    assert not np.allclose(train(0), train(1)) and not np.allclose(train(0), still)


def test_errors(params, adapter):
    with pytest.raises(ValueError, match=r"\['qproj'\] name no linear"):
        lora.init(jax.random.key(0), params, LoraConfig(rank=4, alpha=8.0, targets=("q_proj", "qproj")))
    with pytest.raises(ValueError, match="layers/mlp/down_proj/kernel"):
        lora.merge({"layers": {"self_attn": params["layers"]["self_attn"]}}, adapter)
