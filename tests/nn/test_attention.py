"""Attention against a float64 loop, and the TPU kernel (interpreted) against the plain one."""

import subprocess
import sys
import typing
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotverse_jax.config import Execution
from shotverse_jax.nn import attention, attention_chunks
from shotverse_jax.nn.attention import KERNELS, attend, kernels_on


def reference(q, k, v, allowed, scale):
    """One query at a time in float64; allowed: bool [B, T, S]."""
    out = np.zeros(q.shape)
    for b, t, n in np.ndindex(q.shape[:3]):
        kv = n // (q.shape[2] // k.shape[2])
        seen = np.flatnonzero(allowed[b, t])
        scores = scale * k[b, seen, kv].astype(np.float64) @ q[b, t, n].astype(np.float64)
        weights = np.exp(scores - scores.max())
        out[b, t, n] = weights @ v[b, seen, kv].astype(np.float64) / weights.sum()
    return out


def draw(batch=2, queries=7, keys=7, heads=4, kv_heads=2, width=8):
    rng = np.random.default_rng(0)
    shapes = [(batch, queries, heads, width), (batch, keys, kv_heads, width), (batch, keys, kv_heads, width)]
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_grouped_causal_padded(kv_heads):
    q, k, v = draw(kv_heads=kv_heads)
    lengths = np.array([3, 7])
    allowed = np.tril(np.ones((7, 7), bool)) & (np.arange(7) < lengths[:, None, None])
    expected = reference(q, k, v, allowed, 8**-0.5)
    np.testing.assert_allclose(attend(q, k, v, causal=True, kv_lengths=lengths), expected, atol=2e-6)
    key_mask = np.arange(7) < lengths[:, None, None]
    np.testing.assert_allclose(attend(q, k, v, causal=True, mask_BTS=key_mask), expected, atol=2e-6)
    np.testing.assert_allclose(attend(q, k, v, mask_BTS=allowed), expected, atol=2e-6)


def test_more_keys_than_queries_and_scale():
    q, k, v = draw(queries=3, keys=9)
    expected = reference(q, k, v, np.ones((2, 3, 9), bool), 0.3)
    np.testing.assert_allclose(attend(q, k, v, scale=0.3), expected, atol=2e-6)


def test_a_query_that_sees_nothing_is_finite_and_its_gradient_too():
    q, k, v = draw()
    mask = np.ones((2, 7, 7), bool)
    mask[:, 2] = False
    out, grads = jax.value_and_grad(lambda *x: attend(*x, mask_BTS=mask).sum(), argnums=(0, 1, 2))(q, k, v)
    assert np.isfinite(out) and all(np.isfinite(g).all() for g in grads)


def test_softmax_is_float32_for_bfloat16_inputs():
    """With 4096 equal keys a bfloat16 sum of weights would stall at 256; the mean of v must come out right."""
    q, k = jnp.zeros((1, 1, 1, 8), jnp.bfloat16), jnp.zeros((1, 4096, 1, 8), jnp.bfloat16)
    v = jnp.ones((1, 4096, 1, 8), jnp.bfloat16)
    out = attend(q, k, v)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(out.astype(np.float32), 1.0, atol=1e-2)


@pytest.fixture
def chunked(monkeypatch):
    """attend in chunks however small it is, of 2 queries at least."""
    monkeypatch.setattr(attention_chunks, "CHUNK_FROM", 0)
    monkeypatch.setattr(attention_chunks, "CHUNK_SCORES", 32)
    monkeypatch.setattr(attention_chunks, "CHUNK_QUERIES", 2)
    return lambda *arrays, **options: attend(*arrays, **options)  # its own, so that no trace of attend is reused


SEEN = np.random.default_rng(2).random((2, 7, 9)) < 0.6
SEEN[..., 0] = True
MASKS = {
    "none": {},
    "queries": {"mask_BTS": SEEN},
    "one mask for the batch": {"mask_BTS": SEEN[:1]},
    "keys": {"mask_BTS": SEEN[:, :1]},
    "keys of any sample": {"mask_BTS": SEEN[:1, :1], "kv_lengths": np.array([3, 9])},
}


@pytest.mark.parametrize(
    "mask, queries, kv_heads", [*((mask, 7, 2) for mask in MASKS), ("queries", 6, 1), ("queries", 1, 4)]
)
def test_chunks_are_the_whole(chunked, mask, queries, kv_heads):
    """Output and gradients; 7 queries come in 3 chunks of 3, the last one filled up."""
    arrays = draw(queries=queries, keys=9, kv_heads=kv_heads)
    options = {n: m[:, :queries] if n == "mask_BTS" else m for n, m in MASKS[mask].items()}
    allowed = np.broadcast_to(options.get("mask_BTS", True), (2, queries, 9))
    allowed = allowed & (np.arange(9) < options.get("kv_lengths", np.full(2, 9))[:, None, None])
    out_grad = np.random.default_rng(1).normal(size=arrays[0].shape).astype(np.float32)

    @partial(jax.jit, static_argnums=0)
    def run(attend, *arrays):
        out, vjp = jax.vjp(attend, *arrays)
        return out, vjp(out_grad)

    ours, grads = run(partial(chunked, **options), *arrays)
    np.testing.assert_allclose(ours, reference(*arrays, allowed, 8**-0.5), atol=2e-6)
    for a, b in zip(grads, run(partial(dense, allowed=allowed), *arrays)[1], strict=True):
        np.testing.assert_allclose(a, b, atol=5e-6)


def dense(q_BTNH, k_BSNH, v_BSNH, allowed):
    """Plain softmax attention, for gradients."""
    k, v = (jnp.repeat(x, q_BTNH.shape[2] // x.shape[2], axis=2) for x in (k_BSNH, v_BSNH))
    scores = jnp.einsum("btnh,bsnh->bnts", q_BTNH, k) / np.sqrt(q_BTNH.shape[3])
    weights = jax.nn.softmax(scores, axis=-1, where=jnp.asarray(allowed)[:, None])
    return jnp.einsum("bnts,bsnh->btnh", weights, v)


def test_causal_chunks(chunked):
    q, k, v = draw()
    expected = reference(q, k, v, np.broadcast_to(np.tril(np.ones((7, 7), bool)), (2, 7, 7)), 8**-0.5)
    np.testing.assert_allclose(chunked(q, k, v, causal=True), expected, atol=2e-6)


def test_chunks_inside_vmap_scan_and_remat(chunked):
    q, *kv = draw(kv_heads=4)
    kv_of_layers = [np.stack([x, 2 * x]) for x in kv]

    def loss(attend, qs):
        @jax.checkpoint
        def layers(q):
            return jax.lax.scan(lambda q, kv: (q + attend(q, *kv), None), q, kv_of_layers)[0]

        return jnp.sum(jax.vmap(layers)(qs) ** 2)

    plain = partial(dense, allowed=np.ones((2, 7, 7), bool))
    ours, theirs = (jax.jit(jax.value_and_grad(partial(loss, f)))(np.stack([q, q + 1])) for f in (chunked, plain))
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-6)
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-5, atol=2e-5)


def test_a_cpu_holds_a_chunk_of_the_scores_and_accelerators_get_the_plain_form():
    """1280 tokens of a video: all scores of 8 heads are 52 MB, and a training pass would hold three times that."""
    q = jax.ShapeDtypeStruct((1, 1280, 8, 16), np.float32)
    grad = jax.jit(jax.grad(lambda q: attend(q, q, q).sum()))
    assert grad.lower(q).compile().memory_analysis().temp_size_in_bytes < 30e6
    for platform, loops in (("cpu", True), ("cuda", False), ("tpu", False)):
        assert ("while" in grad.trace(q).lower(lowering_platforms=(platform,)).as_text()) == loops


SHARDED = """
import jax, re
jax.config.update("jax_num_cpu_devices", 2)
from shotverse_jax.nn.attention import KERNELS, attend, kernels_on
mesh = jax.make_mesh((2,), ("data",), (jax.sharding.AxisType.Auto,))
sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
q = jax.ShapeDtypeStruct((2, 1280, 8, 16), jax.numpy.float32, sharding=sharding)
text = jax.jit(jax.grad(lambda q: attend(q, q, q).sum())).lower(q).compile().as_text()
assert "f32[1,1280,8,16]" in text and "while" in text
assert not re.search("all-gather|all-reduce|all-to-all|collective-permute", text)
"""


def test_chunks_leave_a_sharded_batch_where_it_is():
    subprocess.run([sys.executable, "-c", SHARDED], check=True)


def splash_and_xla(causal, mask, lengths):
    return (
        lambda q, k, v: attention._attend_splash(q, k, v, causal, mask, lengths, 0.1, interpret=True),
        lambda q, k, v: attend(q, k, v, causal=causal, mask_BTS=mask, kv_lengths=lengths, scale=0.1),
    )


def test_splash_equals_xla():
    arrays = draw(batch=1, queries=128, keys=256, width=64)
    splash, xla = splash_and_xla(causal=False, mask=None, lengths=None)
    np.testing.assert_allclose(splash(*arrays), xla(*arrays), atol=2e-6)


@pytest.mark.parametrize(("queries", "keys"), [(100, 200), (130, 128), (128, 40)])
def test_splash_fills_up_to_its_blocks(queries, keys):
    """As do the 98,280 tokens of the large controller."""
    arrays = draw(queries=queries, keys=keys, width=64)
    splash, xla = splash_and_xla(causal=False, mask=None, lengths=None)
    np.testing.assert_allclose(splash(*arrays), xla(*arrays), atol=2e-6)
    mask = np.arange(keys) >= np.array([5, 0])[:, None]
    lengths = np.array([keys - 3, keys])
    splash, xla = splash_and_xla(causal=False, mask=mask[:, None], lengths=lengths)
    np.testing.assert_allclose(splash(*arrays), xla(*arrays), atol=2e-6)


def test_windows_go_past_splash():
    arrays, mask = draw(queries=7, keys=9), np.random.default_rng(2).random((2, 7, 9)) < 0.7
    mask[:, :, 0] = True
    _, xla = splash_and_xla(causal=False, mask=mask, lengths=None)
    np.testing.assert_array_equal(attend(*arrays, kernel="splash", mask_BTS=mask, scale=0.1), xla(*arrays))


@pytest.mark.parametrize("length", [128, 100])
def test_splash_equals_xla_causal_padded_with_gradients(length):
    arrays = draw(queries=length, keys=length, width=64)
    out_weights = np.random.default_rng(1).normal(size=arrays[0].shape)
    mask = np.arange(length) >= np.array([3, 0])[:, None]
    mask[:, 0] = True  # every query sees something
    run = splash_and_xla(causal=True, mask=mask[:, None], lengths=np.array([90, length]))
    results = (jax.vjp(f, *arrays) for f in run)
    (ours, our_vjp), (theirs, their_vjp) = results
    np.testing.assert_allclose(ours, theirs, atol=2e-6)
    for a, b in zip(our_vjp(out_weights.astype(np.float32)), their_vjp(out_weights.astype(np.float32)), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


ODD = {
    "causal": {"causal": True},
    "nothing hidden": {},
    "keys hidden": {"mask_BTS": np.arange(7) >= np.array([[[2]], [[0]]])},
    "lengths": {"kv_lengths": np.array([3, 7])},
    "mask and lengths": {"mask_BTS": np.ones((2, 7, 7), bool), "kv_lengths": np.array([3, 7])},
}


@pytest.mark.parametrize("name", ODD)
def test_odd_lengths_are_filled_up_for_cudnn_without_a_trace(monkeypatch, name):
    """With JAX's plain attention in the place of cuDNN's, which takes the same arguments: output and gradients."""
    plain = jax.nn.dot_product_attention
    monkeypatch.setattr(jax.nn, "dot_product_attention", lambda *x, implementation, **options: plain(*x, **options))
    arrays, weight = draw(kv_heads=4), np.random.default_rng(1).normal(size=(2, 7, 4, 8)).astype(np.float32)

    def run(kernel):
        out, vjp = jax.vjp(lambda *x: attend(*x, kernel=kernel, **ODD[name]), *arrays)
        return out, *vjp(weight)

    for ours, theirs in zip(run("cudnn"), run("xla"), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=5e-6)


def test_the_table_has_the_kernels_of_the_config():
    assert typing.get_args(typing.get_type_hints(Execution)["attention"]) == tuple(KERNELS)
    best = {platform: kernels_on(platform)[0] for platform in ("cpu", "gpu", "tpu")}
    assert best == {"cpu": "xla", "gpu": "cudnn", "tpu": "splash"}


@pytest.mark.parametrize("causal, mask, lengths", [(True, False, False), (False, True, False), (False, False, True)])
def test_cudnn_trains_on_odd_lengths(cudnn_without_gpu, causal, mask, lengths):
    """Its backward pass takes even ones only. Traced, not run: 7 queries and keys are filled up, and cut off again."""
    arrays = [jnp.zeros((2, 7, 4, 8), jnp.bfloat16)] * 3
    options = {"mask_BTS": jnp.ones((2, 1, 7), bool)} if mask else {}
    options |= {"kv_lengths": jnp.array([3, 7])} if lengths else {}

    def loss(*arrays):
        return attend(*arrays, kernel="cudnn", causal=causal, **options).sum()

    text = str(jax.make_jaxpr(jax.grad(loss, (0, 1, 2)))(*arrays))
    assert "bf16[2,8,4,8]" in text
    assert [x.shape for x in jax.eval_shape(jax.grad(loss, (0, 1, 2)), *arrays)] == [(2, 7, 4, 8)] * 3


def test_errors():
    q, k, v = draw()
    with pytest.raises(ValueError, match="4 query heads cannot share 3"):
        attend(q, np.ones((2, 7, 3, 8)), np.ones((2, 7, 3, 8)))
    with pytest.raises(ValueError, match="as many queries as keys"):
        attend(q[:, :3], k, v, causal=True)
    with pytest.raises(ValueError, match="unknown kernel 'flash'"):
        attend(q, k, v, kernel="flash")
