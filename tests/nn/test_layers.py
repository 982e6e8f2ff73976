"""Linear, norms and rotary tables against formulas written out in float64 numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotverse_jax.nn.linear import Adapter, Linear
from shotverse_jax.nn.norm import LayerNorm, RMSNorm
from shotverse_jax.nn.rope import mrope_axes, mrope_table, rotate_halves

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 5, 6)).astype(np.float32)


def test_linear():
    kernel, bias = RNG.normal(size=(6, 4)), RNG.normal(size=4)
    out = Linear(4, use_bias=True).apply({"params": {"kernel": kernel, "bias": bias}}, X)
    np.testing.assert_allclose(out, X @ kernel + bias, atol=1e-5)


def test_linear_with_adapter_is_the_written_formula():
    kernel, a, b = RNG.normal(size=(6, 4)), RNG.normal(size=(6, 2)), RNG.normal(size=(2, 4))
    variables = {"params": {"kernel": kernel}, "lora": {"adapter": Adapter(jnp.array(a), jnp.array(b), scale=0.5)}}
    np.testing.assert_allclose(Linear(4).apply(variables, X), X @ kernel + 0.5 * (X @ a @ b), atol=1e-5)


def test_adapter_dropout_drops_only_the_side_path():
    kernel, eye = np.eye(6), np.eye(6, dtype=np.float32)
    variables = {"params": {"kernel": kernel}, "lora": {"adapter": Adapter(eye, eye, scale=1.0, dropout=0.5)}}
    ones = np.ones((100, 6), np.float32)
    out = Linear(6).apply(variables, ones, deterministic=False, rngs={"dropout": jax.random.key(0)})
    assert set(np.unique(out)) == {1.0, 3.0}  # the base alone, or the base and twice the kept side
    assert 0.4 < np.mean(np.asarray(out) == 3.0) < 0.6


def test_activations_keep_their_dtype():
    x = X.astype(jnp.bfloat16)
    for layer in (Linear(4, use_bias=True), RMSNorm(), LayerNorm()):
        out, variables = layer.init_with_output(jax.random.key(0), x)
        assert out.dtype == jnp.bfloat16
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))


def test_norms():
    scale, bias = RNG.normal(size=6), RNG.normal(size=6)
    x = X.astype(np.float64)
    rms = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-2) * scale
    np.testing.assert_allclose(RMSNorm(1e-2).apply({"params": {"scale": scale}}, X), rms, atol=1e-5)
    normal = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-2) * scale + bias
    np.testing.assert_allclose(LayerNorm(1e-2).apply({"params": {"scale": scale, "bias": bias}}, X), normal, atol=1e-5)


def test_rms_norm_rounds_before_it_scales():
    """As transformers does in bfloat16: the two orders differ for some of these numbers."""
    x, scale = RNG.normal(size=(1, 256)).astype(jnp.bfloat16), RNG.uniform(0.5, 1.5, 256).astype(np.float32)
    wide = np.asarray(x, np.float32)
    normed = wide / np.sqrt((wide**2).mean())
    expected = normed.astype(jnp.bfloat16) * scale.astype(jnp.bfloat16)
    assert (expected != (normed * scale).astype(jnp.bfloat16)).any()
    np.testing.assert_array_equal(RMSNorm(0.0).apply({"params": {"scale": scale}}, x), expected)


def test_mrope_axes_of_the_2b_model():
    axes = mrope_axes((24, 20, 20))
    np.testing.assert_array_equal(axes[:60], np.tile([0, 1, 2], 20))
    np.testing.assert_array_equal(axes[60:], 0)


def test_mrope_table_of_the_2b_model():
    """Numbers of transformers' rotary embedding with theta 5e6 and sections 24, 20, 20."""
    cos, _ = mrope_table(jnp.full((3, 1, 1), 7), (24, 20, 20), 5e6)
    expected = [0.7539022564888, 0.7092411518096924, -0.3798998296260834]
    np.testing.assert_allclose(cos[0, 0, 0, :3], expected, atol=1e-6)
    cos, sin = mrope_table(jnp.array([3, 4, 5])[:, None, None], (24, 20, 20), 5e6)
    angles = np.arctan2(sin, cos)[0, 0, 0, :6]
    np.testing.assert_allclose(angles, [3.0, -3.13986540, 3.08764362, 1.45581782, 1.52536702, 1.49834895], atol=2e-6)


@pytest.mark.parametrize("shift", [0, 1000])
def test_rotation_is_complex_multiplication_and_relative(shift):
    table = mrope_table(jnp.broadcast_to(shift + jnp.arange(5), (3, 2, 5)), (1, 1, 1), 100.0)
    x = RNG.normal(size=(2, 5, 3, 6)).astype(np.float32)
    angle = (shift + np.arange(5))[:, None] * 100.0 ** -(np.arange(3) / 3)
    turned = (x[..., :3] + 1j * x[..., 3:]) * np.exp(1j * angle)[:, None]
    np.testing.assert_allclose(
        rotate_halves(x, table), np.concatenate([turned.real, turned.imag], -1), atol=1e-6 + shift * 2e-7
    )
