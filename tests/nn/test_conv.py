"""Convolutions over videos: every form of one against a plain sum, and their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotverse_jax.nn import conv


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, shape), jnp.float32)


@pytest.mark.parametrize("size, stride", [((3, 3, 3), 1), ((3, 1, 1), 1), ((3, 1, 1), 2)])
def test_both_forms_of_a_convolution(size, stride):
    """Against the sum over the kernel in float64, and their gradients against each other."""
    x_BTHWC, kernel = draw(1, 2, 7, 4, 5, 3), draw(2, *size, 3, 6)
    edge = size[1] // 2
    padded = np.pad(np.asarray(x_BTHWC, np.float64), ((0, 0), (0, 0), (edge, edge), (edge, edge), (0, 0)))
    last = x_BTHWC.shape[1] - size[0] + 1
    expected = sum(
        padded[:, t : t + last : stride, i : i + 4, j : j + 5] @ np.asarray(kernel[t, i, j], np.float64)
        for t, i, j in np.ndindex(*size)
    )
    forms = (conv._convolve_3d, conv._convolve_stacked, conv.convolve)
    for form in forms:
        np.testing.assert_allclose(form(x_BTHWC, kernel, stride), expected, atol=1e-5)
    grads = [jax.grad(lambda x, k, f=f: jnp.sum(jnp.sin(f(x, k, stride))), (0, 1))(x_BTHWC, kernel) for f in forms]
    for grad in grads[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), grad, grads[0])


@pytest.mark.parametrize("size", [(3, 3), (1, 1), (5, 1)])
def test_gradients_of_a_convolution_of_frames(size):
    """The hand-written gradient of the kernel against XLA's own."""
    x_BTHWC, kernel = draw(1, 2, 3, 5, 6, 3), draw(2, *size, 3, 4)
    loss = {form: jax.grad(lambda x, k, f=form: jnp.sum(jnp.sin(f(x, k))), (0, 1)) for form in FRAME_FORMS}
    ours, plain = (jax.jit(loss[form])(x_BTHWC, kernel) for form in FRAME_FORMS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=3e-5), ours, plain)
    half = [x.astype(jnp.bfloat16) for x in (x_BTHWC, kernel)]
    rounded = jax.jit(loss[FRAME_FORMS[0]])(*half)
    assert {x.dtype for x in rounded} == {jnp.dtype(jnp.bfloat16)}
    np.testing.assert_allclose(rounded[1].astype(jnp.float32), plain[1], atol=0.2)


FRAME_FORMS = (conv.convolve_frames, conv._convolve_2d)
