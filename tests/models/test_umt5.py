"""UMT5's encoder without its original: padding, relative positions, straight code, remat, initial scales."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotverse_jax.config import Execution, UMT5Config
from shotverse_jax.models.umt5 import UMT5Encoder, relative_buckets

CONFIG = UMT5Config(
    vocab_size=40, hidden_size=16, num_layers=2, num_heads=2, head_dim=8, mlp_size=32, buckets=8, max_distance=12
)


@pytest.fixture(scope="module")
def variables():
    ids_BS = jnp.zeros((1, 3), jnp.int32)
    return jax.jit(UMT5Encoder(CONFIG).init)(jax.random.key(0), ids_BS, jnp.ones((1, 3), bool))


def encode(variables, ids_BS, real_BS, execution=Execution()):  # noqa: B008
    return UMT5Encoder(CONFIG, execution).apply(variables, jnp.asarray(ids_BS), jnp.asarray(real_BS))


def test_padding_is_zero_and_changes_nothing(variables):
    ids_BS = np.random.default_rng(0).integers(1, 40, (2, 9))
    real_BS = np.arange(9) < np.array([[9], [5]])
    states_BSD = encode(variables, ids_BS, real_BS)
    assert states_BSD.shape == (2, 9, 16) and states_BSD.dtype == jnp.float32
    assert not states_BSD[1, 5:].any() and (jnp.abs(states_BSD[1, :5]).max(axis=-1) > 0).all()
    np.testing.assert_array_equal(states_BSD[1], encode(variables, np.where(real_BS, ids_BS, 7), real_BS)[1])
    np.testing.assert_allclose(states_BSD[1:, :5], encode(variables, ids_BS[1:, :5], real_BS[1:, :5]), atol=1e-5)


def test_an_empty_sample_is_finite(variables):
    states_BSD = encode(variables, np.zeros((1, 4), int), np.zeros((1, 4), bool))
    assert not states_BSD.any()


def test_order_matters(variables):
    """Without the relative bias, attention would not see the order of the tokens."""
    forward, real_BS = np.array([[5, 6, 7, 8]]), np.ones((1, 4), bool)
    states, reverse = encode(variables, forward, real_BS), encode(variables, forward[:, ::-1], real_BS)
    assert np.abs(states - reverse[:, ::-1]).max() > 1e-3
    zero = jax.tree.map_with_path(
        lambda path, x: x * 0 if "relative_bias" in jax.tree_util.keystr(path) else x, variables
    )
    states, reverse = encode(zero, forward, real_BS), encode(zero, forward[:, ::-1], real_BS)
    np.testing.assert_allclose(states, reverse[:, ::-1], atol=1e-5)


def test_buckets_of_the_published_encoder():
    """32 rows, 128: every distance below 8 has its row, then rows begin at 12, 16, 23, 32, 46, 64, 91."""
    buckets = relative_buckets(300, 32, 128)
    assert buckets[0, 0] == 0 and list(buckets[8:0:-1, 0]) == [8, 7, 6, 5, 4, 3, 2, 1]
    backward = buckets[:, 0]
    assert list(np.flatnonzero(np.diff(backward[8:])) + 9) == [12, 16, 23, 32, 46, 64, 91] and backward[-1] == 15
    np.testing.assert_array_equal(buckets[0, 1:], backward[1:] + 16)
    np.testing.assert_array_equal(buckets[5:, 5:], buckets[:-5, :-5])


@pytest.mark.parametrize("execution", [Execution(unroll=True), Execution(remat="full")])
def test_execution_does_not_change_the_result(variables, execution):
    ids_BS, real_BS = np.arange(12).reshape(2, 6), np.arange(6) < np.array([[6], [4]])

    def loss(params, execution):
        return jnp.sum(encode({"params": params}, ids_BS, real_BS, execution) ** 3)

    ours, other = (jax.jit(jax.grad(loss), static_argnums=1)(variables["params"], x) for x in (Execution(), execution))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), ours, other)


def test_initial_scales_are_t5s():
    config = UMT5Config(vocab_size=300, hidden_size=64, num_layers=4, num_heads=8, head_dim=16, mlp_size=256)
    ids_BS = jnp.zeros((1, 2), jnp.int32)
    params = jax.jit(UMT5Encoder(config).init)(jax.random.key(0), ids_BS, jnp.ones((1, 2), bool))["params"]
    layers = params["layers"]
    scales = {
        "q_proj": (64 * 16) ** -0.5,
        "k_proj": 64**-0.5,
        "v_proj": 64**-0.5,
        "o_proj": 128**-0.5,
    }
    for name, std in scales.items():
        assert np.std(layers["attn"][name]["kernel"]) == pytest.approx(std, rel=0.05), name
    for name, std in {"gate_proj": 64**-0.5, "up_proj": 64**-0.5, "down_proj": 256**-0.5}.items():
        assert np.std(layers[name]["kernel"]) == pytest.approx(std, rel=0.05), name
    assert np.std(params["embedding"]) == pytest.approx(1.0, rel=0.05)
