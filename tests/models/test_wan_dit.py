"""The video transformer: shots, camera, sparse attention, adapters, and the ways to run it."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from jax.interpreters.partial_eval import dce_jaxpr

from shotverse_jax import lora
from shotverse_jax.config import ControllerConfig, Execution, WanDiTConfig
from shotverse_jax.models.camera_encoder import add_camera
from shotverse_jax.models.wan_dit import WanDiT
from shotverse_jax.nn.shot_attention import sparse_attend

CONFIG = WanDiTConfig(
    hidden_size=48,
    num_layers=2,
    num_heads=2,
    mlp_size=64,
    frequency_size=16,
    text_size=20,
    latent_channels=4,
    camera=False,
)
LENGTHS = (2, 3, 2, 1)
SHOT_T = np.repeat(np.arange(4), LENGTHS)
FRAME = 2 * 3  # tokens of a latent frame
TARGETS = ControllerConfig().lora.targets


def draw(seed=0, frames=8, text=9, batch=2):
    """latents, timestep, context, shots, windows and cameras; every shot sees two common tokens and two of its own."""
    rng = np.random.default_rng(seed)
    shot_BT = np.broadcast_to(SHOT_T[:frames], (batch, frames))
    window_KS = np.zeros((4, text), bool)
    window_KS[:, :1] = True
    for k in range(4):
        window_KS[k, 1 + 2 * k : 3 + 2 * k] = True
    return {
        "latents_BTHWC": rng.normal(size=(batch, frames, 4, 6, 4)).astype(np.float32),
        "timestep_B": rng.uniform(0, 1000, batch).astype(np.float32),
        "context_BSD": rng.normal(size=(batch, text, 20)).astype(np.float32),
        "shot_BT": shot_BT,
        "window_BKS": np.broadcast_to(window_KS, (batch, 4, text)),
        "camera_BTP": rng.normal(size=(batch, frames, 12)).astype(np.float32),
    }


def without(inputs, *names):
    return {name: array for name, array in inputs.items() if name not in names}


PLAIN = without(draw(), "camera_BTP")


def random_params(config, seed=1):
    """Weights large enough that every part of a block matters."""
    given = draw() if config.camera else PLAIN
    abstract = jax.eval_shape(WanDiT(replace(config, self_attention="full")).init, jax.random.key(0), **given)
    rng = np.random.default_rng(seed)

    def leaf(path, leaf):
        spread = 0.5 if "modulation" in str(path[-1]) else 1.5 * leaf.shape[-2] ** -0.5 if leaf.ndim > 1 else 0.1
        return (rng.normal(size=leaf.shape) * spread + ("scale" in str(path[-1]))).astype(np.float32)

    return jax.tree_util.tree_map_with_path(leaf, abstract["params"])


@pytest.fixture(scope="module")
def params():
    return random_params(CONFIG)


def run(config, params, inputs, execution=None, adapter=None, **static):
    variables = {"params": params} | ({} if adapter is None else {"lora": adapter})
    model = WanDiT(config, execution or Execution())
    return jax.jit(lambda v, i: model.apply(v, **i, **static))(variables, inputs)


def test_velocity_has_the_shape_of_the_latents_in_float32(params):
    out = run(CONFIG, params, PLAIN, Execution(dtype="bfloat16"))
    assert out.shape == PLAIN["latents_BTHWC"].shape and out.dtype == jnp.float32
    assert jnp.std(out) > 0.1


# ------------------------------------------------------------------------------------------------------------- shots


def test_windows_by_shot_lengths_are_windows_by_a_dense_mask(params):
    dense = run(CONFIG, params, PLAIN)
    by_shot = run(CONFIG, params, without(PLAIN, "shot_BT"), shot_lengths=LENGTHS)
    np.testing.assert_allclose(by_shot, dense, atol=2e-5)
    assert jnp.abs(run(CONFIG, params, without(PLAIN, "window_BKS")) - dense).max() > 1e-2


@pytest.mark.parametrize("static", [{}, {"shot_lengths": LENGTHS}])
def test_a_shot_reads_its_own_window_only(params, static):
    """One layer: self-attention comes first, so that a change of shot 1's text stays in the frames of shot 1."""
    config, one = replace(CONFIG, num_layers=1), {**params, "blocks": jax.tree.map(lambda w: w[:1], params["blocks"])}
    context_BSD = PLAIN["context_BSD"].copy()
    context_BSD[:, 3:5] += 1.0
    before = run(config, one, PLAIN, **static)
    after = run(config, one, PLAIN | {"context_BSD": context_BSD}, **static)
    changed_T = jnp.abs(after - before).max(axis=(0, 2, 3, 4))
    np.testing.assert_array_equal(changed_T[SHOT_T != 1], 0)
    assert (changed_T[SHOT_T == 1] > 1e-3).all()


def test_shots_turn_their_own_channels(params):
    moved = PLAIN | {"shot_BT": np.array([[0, 0, 0, 1, 1, 1, 2, 3]] * 2)}
    no_mask, moved = without(PLAIN, "window_BKS"), without(moved, "window_BKS")
    assert jnp.abs(run(CONFIG, params, moved) - run(CONFIG, params, no_mask)).max() > 1e-2
    wan = replace(CONFIG, rope="wan3d")
    np.testing.assert_array_equal(run(wan, params, moved), run(wan, params, no_mask))
    one_shot = no_mask | {"shot_BT": np.zeros((2, 8), int)}
    np.testing.assert_array_equal(run(CONFIG, params, one_shot), run(CONFIG, params, without(no_mask, "shot_BT")))


def test_a_shot_without_a_window_is_an_error_or_nan(params):
    shot_BT = np.array([SHOT_T, [0, 1, 2, 3, 4, 4, 4, 4]])
    with pytest.raises(ValueError, match="do not fit text windows of 4 shots"):
        WanDiT(CONFIG).apply({"params": params}, **PLAIN | {"shot_BT": shot_BT})
    out = run(CONFIG, params, PLAIN | {"shot_BT": shot_BT})  # traced: nothing can be raised
    assert jnp.isnan(out[1]).all()
    np.testing.assert_allclose(out[0], run(CONFIG, params, PLAIN)[0], atol=1e-6)
    assert jnp.isnan(run(CONFIG, params, PLAIN | {"shot_BT": shot_BT}, shot_lengths=LENGTHS)[1]).all()
    assert jnp.isnan(run(CONFIG, params, PLAIN | {"shot_BT": shot_BT - 1})).all()


@pytest.mark.parametrize(
    "change, static, message",
    [
        ({"shot_BT": None}, {}, "windows of 4 shots need shot_BT or shot_lengths"),
        ({"shot_BT": np.zeros((2, 7), int)}, {}, r"shot_BT has shape \(2, 7\), expected \(2, 8\)"),
        ({}, {"shot_lengths": (2, 3, 3)}, r"do not fit shot_lengths \(2, 3, 3\) and text windows of 4"),
        ({}, {"shot_lengths": (2, 3, 2)}, "sum to 8 latent frames"),
        ({}, {"shot_lengths": (8, 0)}, "must be positive"),
        ({"shot_BT": None}, {"shot_lengths": (2, 2, 1, 1, 2)}, "text windows of 4 shots"),
        ({"camera_BTP": np.zeros((2, 8, 12))}, {}, "has no camera encoder"),
        ({"window_BKS": np.ones((2, 4, 8), bool)}, {}, "window has shape"),
        ({"window_BKS": np.ones((1, 4, 9), bool)}, {}, "window has shape"),
        ({"context_BSD": np.zeros((2, 9, 21))}, {}, "context has shape"),
        ({"timestep_B": np.zeros(3)}, {}, "timestep has shape"),
        ({"latents_BTHWC": np.zeros((2, 8, 4, 6, 3))}, {}, r"must be \[B, T, H, W, 4\]"),
        ({"latents_BTHWC": np.zeros((2, 8, 4, 5, 4))}, {}, "multiples of the patch"),
    ],
)
def test_inputs_that_do_not_fit(params, change, static, message):
    with pytest.raises(ValueError, match=message):
        WanDiT(CONFIG).apply({"params": params}, **PLAIN | change, **static)


def test_configs_that_do_not_fit(params):
    for config, message in (
        (replace(CONFIG, self_attention="sparse"), "needs shot_lengths"),
        (replace(CONFIG, camera=True), "got no camera_BTP"),
        (replace(CONFIG, patch=(2, 2, 2)), "joins latent frames"),
    ):
        with pytest.raises(ValueError, match=message):
            WanDiT(config).apply({"params": params}, **PLAIN)


# -------------------------------------------------------------------------------------------------- sparse attention


def dense_with_bias(q, k, v, lengths, summary):
    """float64, all tokens against all: other shots hidden but for their first frame, the own first frame twice."""
    shot = np.repeat(np.arange(len(lengths)), lengths)
    first = np.concatenate([np.arange(n) < summary for n in lengths])
    own = shot[:, None] == shot
    bias = np.where(own & first, np.log(2.0), np.where(own | first, 0.0, -np.inf))
    scores = np.einsum("BTNH,BSNH->BNTS", q.astype(np.float64), k) / np.sqrt(q.shape[-1]) + bias
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.einsum("BNTS,BSNH->BTNH", weights / weights.sum(axis=-1, keepdims=True), v)


@pytest.mark.parametrize("lengths", [(8, 12, 8, 4), (4, 4, 4), (12,)])
def test_sparse_is_dense_with_a_mask(lengths):
    rng = np.random.default_rng(3)
    q, k, v = rng.normal(size=(3, 2, sum(lengths), 2, 8)).astype(np.float32)
    expected = dense_with_bias(q, k, v, lengths, 4)
    np.testing.assert_allclose(sparse_attend(q, k, v, lengths, 4), expected, atol=2e-6)


def test_sparse_needs_shots_that_fill_the_tokens():
    x = np.zeros((1, 12, 1, 8), np.float32)
    for lengths in ((8, 8), (9, 3)):
        with pytest.raises(ValueError, match="must fill 12 and each hold 4"):
            sparse_attend(x, x, x, lengths, 4)


def inner_jaxprs(eqn):
    return list(jaxprs_in_params(eqn.params))


def matmul_flops(jaxpr):
    """Of every product in a program, loops counted as often as they run."""
    total = 0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            lhs = eqn.invars[0].aval.shape
            total += 2 * eqn.outvars[0].aval.size * int(np.prod([lhs[axis] for axis in contracted]))
        total += eqn.params.get("length", 1) * sum(matmul_flops(inner) for inner in inner_jaxprs(eqn))
    return total


@pytest.mark.parametrize("lengths", [LENGTHS, (4, 4), (8,)])
def test_work_of_sparse_and_full_attention(params, lengths):
    """The formula: linear layers N (12 d^2 + 4 d f), attention 4 d N^2 or 4 d sum_s N_s (N_s + K g), a layer."""
    inputs = without(draw(batch=1), "camera_BTP", "window_BKS", "shot_BT")
    tokens, text, d, f = 8 * FRAME, 9, CONFIG.hidden_size, CONFIG.mlp_size

    def flops(attention, layers):
        config = replace(CONFIG, self_attention=attention, num_layers=layers)
        blocks = jax.tree.map(lambda w: np.resize(w, (layers, *w.shape[1:])), params["blocks"])
        apply = jax.make_jaxpr(lambda p, i: WanDiT(config).apply({"params": p}, **i, shot_lengths=lengths))
        return matmul_flops(apply({**params, "blocks": blocks}, inputs).jaxpr)

    linear = tokens * (12 * d * d + 4 * d * f) + 4 * text * d * d + 4 * d * text * tokens
    shots = np.array(lengths) * FRAME
    work = {"full": tokens**2, "sparse": int(np.sum(shots * (shots + len(lengths) * FRAME)))}
    for attention, pairs in work.items():
        assert flops(attention, 3) - flops(attention, 2) == linear + 4 * d * pairs


def test_sparse_network_differs_from_full_and_takes_windows(params):
    inputs = without(PLAIN, "shot_BT")
    sparse = replace(CONFIG, self_attention="sparse")
    out = run(sparse, params, inputs, shot_lengths=LENGTHS)
    assert jnp.isfinite(out).all()
    assert jnp.abs(out - run(CONFIG, params, inputs, shot_lengths=LENGTHS)).max() > 1e-2


# ------------------------------------------------------------------------------------------------- camera and adapters


def test_a_new_camera_encoder_changes_nothing(params):
    config, inputs = replace(CONFIG, camera=True), draw()
    with_camera = add_camera(params)
    initial = jax.eval_shape(WanDiT(config).init, jax.random.key(0), **inputs)["params"]
    assert jax.tree.map(jnp.shape, with_camera) == jax.tree.map(jnp.shape, initial)
    made = jax.jit(WanDiT(config).init)(jax.random.key(0), **inputs)["params"]["blocks"]["camera"]
    assert not any(leaf.any() for leaf in jax.tree.leaves(made))
    np.testing.assert_allclose(run(config, with_camera, inputs), run(CONFIG, params, PLAIN), atol=5e-6)


def test_a_camera_reaches_the_output_and_its_encoder_learns(params):
    config, inputs = replace(CONFIG, camera=True), draw()

    def loss(camera):
        blocks = {**params["blocks"], "camera": camera}
        return jnp.sum(WanDiT(config).apply({"params": {**params, "blocks": blocks}}, **inputs) ** 2)

    grads = jax.jit(jax.grad(loss))(add_camera(params)["blocks"]["camera"])
    assert all((jnp.abs(leaf).max(axis=-1) > 1e-4).all() for leaf in jax.tree.leaves(grads))


def test_adapters(params):
    """B = 0 changes nothing, and an adapter folded in is the adapter beside."""
    adapter = lora.init(jax.random.key(0), params, replace(ControllerConfig().lora, rank=4, alpha=8.0))
    adapted = {path[1].key + "/" + path[2].key for path, _ in jax.tree_util.tree_leaves_with_path(adapter)}
    attention = {f"{part}_attn/{name}_proj" for part in ("self", "cross") for name in "qkvo"}
    assert adapted == {*attention, "ffn_in/adapter", "ffn_out/adapter"}
    plain = run(CONFIG, params, PLAIN)
    np.testing.assert_allclose(run(CONFIG, params, PLAIN, adapter=adapter), plain, atol=5e-6)
    rng = np.random.default_rng(4)
    adapter = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape) * 0.05, jnp.float32), adapter)
    beside = run(CONFIG, params, PLAIN, adapter=adapter)
    assert jnp.abs(beside - plain).max() > 1e-2
    np.testing.assert_allclose(run(CONFIG, lora.merge(params, adapter), PLAIN), beside, atol=1e-4)


# --------------------------------------------------------------------------------------------------- ways to run it


@pytest.fixture(scope="module")
def loss_and_grad(params):
    config = replace(CONFIG, self_attention="sparse")

    def run(execution):
        def loss(params):
            out = WanDiT(config, execution).apply({"params": params}, **PLAIN, shot_lengths=LENGTHS)
            return jnp.mean(out**2)

        return jax.jit(jax.value_and_grad(loss))(params)

    return run


@pytest.fixture(scope="module")
def scanned(loss_and_grad):
    return loss_and_grad(Execution())


@pytest.mark.parametrize("remat, unroll", [("none", True), ("full", False), ("save_attention", False)])
def test_execution_changes_no_number(loss_and_grad, scanned, remat, unroll):
    value, grad = loss_and_grad(Execution(remat=remat, unroll=unroll))
    np.testing.assert_allclose(value, scanned[0], rtol=1e-5)
    errors = jax.tree.map(lambda a, b: jnp.abs(a - b).max() / jnp.abs(b).max(), grad, scanned[1])
    assert max(jax.tree.leaves(errors)) < 1e-4


@pytest.mark.parametrize("rounding", ["float32", "holocine"])
def test_bfloat16_is_near(params, rounding):
    config = replace(CONFIG, rounding=rounding)
    inputs = PLAIN | {"timestep_B": np.array([640.0, 996.0])}  # both have eight bits
    exact = run(config, params, inputs)
    error = run(config, params, inputs, Execution(dtype="bfloat16")) - exact
    assert 1e-4 < jnp.sqrt(jnp.mean(error**2) / jnp.mean(exact**2)) < 0.05


def test_float32_islands(params):
    """The timestep is not rounded and what leaves the head is not either; under "holocine" both are."""
    for rounding, same in (("float32", False), ("holocine", True)):
        config, bfloat16 = replace(CONFIG, rounding=rounding), Execution(dtype="bfloat16")
        out, near = (run(config, params, PLAIN | {"timestep_B": np.full(2, t)}, bfloat16) for t in (996.0, 995.9))
        assert bool((out == near).all()) == same
        assert bool((out == out.astype(jnp.bfloat16)).all()) == same


def test_float32_islands_ask_for_float32_products(params):
    """The three layers of the time embedding and the head; TPUs would shorten them to bfloat16 otherwise."""
    for rounding, wanted in (("float32", 4), ("holocine", 0)):
        model = WanDiT(replace(CONFIG, rounding=rounding), Execution(dtype="bfloat16"))
        jaxpr = jax.make_jaxpr(lambda p, model=model: model.apply({"params": p}, **PLAIN))(params).jaxpr
        precisions = [eqn.params["precision"] for eqn in jaxpr.eqns if eqn.primitive.name == "dot_general"]
        assert len(precisions) == 7
        assert sum(p is not None and p[0] == jax.lax.Precision.HIGHEST for p in precisions) == wanted


def count(jaxpr, wanted):
    own = sum(eqn.primitive.name.startswith(wanted) for eqn in jaxpr.eqns)
    return own + sum(count(inner, wanted) for eqn in jaxpr.eqns for inner in inner_jaxprs(eqn))


@pytest.mark.parametrize("attention, kernels", [("full", 1 + 3), ("sparse", 3 + 3)])
def test_cudnn_runs_each_kernel_once(params, cudnn_without_gpu, attention, kernels):
    """A call for each length of shot; the masks of the windows have keys only. Traced, not run."""
    inputs = without(draw(text=10), "camera_BTP")  # with a mask, cuDNN's backward pass wants even lengths
    execution = Execution(attention="cudnn", remat="save_attention", dtype="bfloat16")
    model = WanDiT(replace(CONFIG, self_attention=attention), execution)

    def loss(params):
        return jnp.sum(model.apply({"params": params}, **inputs, shot_lengths=LENGTHS))

    jaxpr = jax.make_jaxpr(jax.grad(loss))(params).jaxpr
    jaxpr = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))[0]
    assert count(jaxpr, "dot_product_attention_fwd") == kernels
    assert count(jaxpr, "dot_product_attention_bwd") == kernels
