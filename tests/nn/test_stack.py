"""One stack, several ways to run it: the same numbers, the same gradients, and remat that saves what it says."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from jax.interpreters.partial_eval import dce_jaxpr

from shotverse_jax.config import Execution
from shotverse_jax.nn.attention import attend
from shotverse_jax.nn.linear import Linear
from shotverse_jax.nn.norm import RMSNorm
from shotverse_jax.nn.stack import run_stack

LAYERS = 2


class Block(nn.Module):
    kernel: str = "xla"

    @nn.compact
    def __call__(self, x, gain, *, deterministic, layer=None):
        heads = (*x.shape[:2], 2, x.shape[2] // 2)
        q, k, v = (Linear(x.shape[-1], name=name)(RMSNorm()(x)).reshape(heads) for name in "qkv")
        y = attend(q, k, v, kernel=self.kernel, causal=True).reshape(x.shape)
        x = x + gain * jnp.tanh(nn.Dropout(0.5)(y, deterministic))
        return x if layer is None else (x + layer, x.mean())


class Toy(nn.Module):
    execution: Execution = Execution()

    @nn.compact
    def __call__(self, x, deterministic=True, per_layer=None):
        block = Block(self.execution.attention, name="layers")
        gain = x.dtype.type(2.0)
        return run_stack(block, LAYERS, self.execution, x, gain, per_layer=per_layer, deterministic=deterministic)


@pytest.fixture(scope="module")
def x():
    return jax.random.normal(jax.random.key(0), (2, 6, 16))


@pytest.fixture(scope="module")
def variables(x):
    return jax.jit(Toy().init)(jax.random.key(1), x)


def loss_and_grad(execution, variables, x):
    def loss(variables):
        out = Toy(execution).apply(variables, x, deterministic=False, rngs={"dropout": jax.random.key(2)})
        return jnp.mean(out**2)

    return jax.jit(jax.value_and_grad(loss))(variables)


def layer_of(variables, i):
    return {"params": jax.tree.map(lambda leaf: leaf[i], variables["params"]["layers"])}


def test_layers_are_stacked_and_start_different(variables):
    kernel = variables["params"]["layers"]["q"]["kernel"]
    assert kernel.shape == (LAYERS, 16, 16)
    assert not np.allclose(kernel[0], kernel[1])


def test_stack_is_the_blocks_in_order(variables, x):
    expected = x
    for i in range(LAYERS):
        expected = Block().apply(layer_of(variables, i), expected, 2.0, deterministic=True)
    np.testing.assert_allclose(Toy().apply(variables, x), expected, atol=1e-6)


def test_per_layer_inputs_and_outputs(variables, x):
    extra = jnp.arange(LAYERS, dtype=jnp.float32)
    expected, means = x, []
    for i in range(LAYERS):
        expected, mean = Block().apply(layer_of(variables, i), expected, 2.0, deterministic=True, layer=extra[i])
        means.append(mean)
    out, outputs = Toy().apply(variables, x, per_layer=extra)
    np.testing.assert_allclose(out, expected, atol=1e-6)
    np.testing.assert_allclose(outputs, means, atol=1e-6)


@pytest.fixture(scope="module")
def plain(variables, x):
    return loss_and_grad(Execution(), variables, x)


@pytest.mark.parametrize("remat, unroll", [("none", True), ("full", False), ("save_attention", True)])
def test_execution_changes_no_number(variables, x, plain, remat, unroll):
    """Value, gradient and dropout masks are those of the plain scan, and so are the initial parameters."""
    execution = Execution(remat=remat, unroll=unroll)
    expected, expected_grad = plain
    value, grad = loss_and_grad(execution, variables, x)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), grad, expected_grad)
    jax.tree.map(np.testing.assert_array_equal, jax.jit(Toy(execution).init)(jax.random.key(1), x), variables)


def live_jaxpr(execution, variables, x):
    """The program of value and gradient, traced only, without what nothing reads."""
    jaxpr = jax.make_jaxpr(lambda v: loss_and_grad(execution, v, x))(variables).jaxpr
    return dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))[0]


def count(jaxpr, wanted):
    """Equations of a jaxpr, inner ones included, whose primitive starts with `wanted`."""
    inner = (sub for eqn in jaxpr.eqns for sub in jaxprs_in_params(eqn.params))
    return sum(eqn.primitive.name.startswith(wanted) for eqn in jaxpr.eqns) + sum(count(sub, wanted) for sub in inner)


@pytest.mark.parametrize("remat, forwards", [("none", 1), ("full", 2), ("save_attention", 1)])
def test_save_attention_runs_the_cudnn_kernel_once(variables, cudnn_without_gpu, remat, forwards):
    """Full remat runs the forward kernel again in the backward pass; keeping its residuals does not."""
    execution = Execution(attention="cudnn", remat=remat, dtype="bfloat16")
    jaxpr = live_jaxpr(execution, variables, jnp.zeros((2, 64, 16), jnp.bfloat16))
    assert count(jaxpr, "dot_product_attention_bwd") == 1
    assert count(jaxpr, "dot_product_attention_fwd") == forwards


@pytest.mark.parametrize("remat, kernels", [("none", 3), ("full", 4), ("save_attention", 3)])
def test_save_attention_runs_the_splash_kernel_once(variables, remat, kernels):
    """Forward, dq and dkv, and a second forward only under full remat."""
    jaxpr = live_jaxpr(Execution(attention="splash", remat=remat), variables, jnp.zeros((2, 128, 16)))
    assert count(jaxpr, "pallas_call") == kernels
