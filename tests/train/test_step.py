"""The training step: what a bad batch leaves alone, what moves, and what the average is."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from shotverse_jax.config import TrainConfig
from shotverse_jax.train.state import init_state, make_optimizer, merge, split_frozen
from shotverse_jax.train.step import make_eval_step, make_train_step

RUN = TrainConfig(steps=20, warmup=2, lr=0.1, ema=0.5)
KEY = 0


def loss_fn(variables, batch, bucket, key):
    """A linear model; the `bad` entry poisons the loss. With a key some noise is added to the prediction."""
    w, b, base = (variables["params"][name] for name in ("w", "b", "base"))
    noise = 0.0 if key is None else 0.01 * jax.random.normal(key)
    error = batch["x"] @ (w + base) + b + noise - bucket
    loss = jnp.mean(error**2) + batch["bad"].sum()
    return loss, {"noise": jnp.asarray(noise, jnp.float32)}


@pytest.fixture
def setup():
    params = {"params": {"w": jnp.ones((3, 1)), "b": jnp.zeros(1)}}
    frozen = {"params": {"base": jnp.full((3, 1), 0.5)}}
    optimizer, schedule = make_optimizer(RUN)
    state = init_state(params, optimizer, ema=True)
    return state, frozen, make_train_step(loss_fn, optimizer, schedule, RUN.ema)


def batch(bad=0.0):
    return {"x": np.eye(3, dtype=np.float32), "bad": np.full(2, bad, np.float32)}


def values(tree):
    return [np.asarray(leaf).copy() for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_step_that_is_not_finite_changes_nothing_but_the_count(setup, bad):
    state, frozen, step = setup
    for _ in range(3):
        state, _ = step(state, frozen, batch(), jax.random.key(KEY), bucket=2)
    before = values((state.params, state.opt_state, state.ema))
    for count in (1, 2):
        state, metrics = step(state, frozen, batch(bad), jax.random.key(KEY), bucket=2)
        assert int(state.bad_steps) == int(metrics["bad_steps"]) == count
    after = values((state.params, state.opt_state, state.ema))
    assert all((a == b).all() for a, b in zip(before, after, strict=True))
    assert int(state.step) == 5
    state, metrics = step(state, frozen, batch(), jax.random.key(KEY), bucket=2)
    assert int(state.bad_steps) == 0 and np.isfinite(metrics["loss"])
    assert not all(
        (a == b).all() for a, b in zip(before, values((state.params, state.opt_state, state.ema)), strict=True)
    )


def test_the_first_bad_gradient_is_named(setup):
    state, frozen, _ = setup

    def poison(variables, batch, bucket, key):
        w = variables["params"]["w"]  # sqrt has an infinite gradient at zero
        return loss_fn(variables, batch, bucket, key)[0] + jnp.sqrt(w - w).sum() * batch["bad"][0], {}

    optimizer, schedule = make_optimizer(RUN)
    _, metrics = make_train_step(poison, optimizer, schedule, 0.0)(
        state, frozen, batch(1.0), jax.random.key(KEY), bucket=2
    )
    assert int(metrics["bad_leaf"]) == 1  # leaves in order: b, w


def test_randomness_is_a_function_of_key_and_step(setup):
    state, frozen, step = setup
    noise = []
    for _ in range(3):
        state, metrics = step(state, frozen, batch(), jax.random.key(KEY), bucket=2)
        noise.append(float(metrics["noise"]))
    expected = [float(0.01 * jax.random.normal(jax.random.fold_in(jax.random.key(KEY), i))) for i in range(3)]
    np.testing.assert_allclose(noise, expected, rtol=1e-6)


def test_average_and_learning_rate(setup):
    state, frozen, step = setup
    average, rates = np.ones((3, 1)), []
    for i in range(6):
        state, metrics = step(state, frozen, batch(), jax.random.key(KEY), bucket=2)
        decay = min(0.5, (1 + i) / (10 + i))
        average = decay * average + (1 - decay) * np.asarray(state.params["params"]["w"])
        rates.append(float(metrics["lr"]))
    np.testing.assert_allclose(state.averaged["params"]["w"], average, rtol=1e-5)
    np.testing.assert_allclose(rates[:3], [0.0, 0.05, 0.1], rtol=1e-6)
    cosine = 0.01 + 0.09 * 0.5 * (1 + np.cos(np.pi * np.arange(1, 4) / 18))
    np.testing.assert_allclose(rates[3:], cosine, rtol=1e-5)


def test_weight_decay_acts_on_matrices_only():
    optimizer, _ = make_optimizer(TrainConfig(steps=10, warmup=0, lr=1.0, weight_decay=0.5))
    params = {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    np.testing.assert_allclose(updates["w"], -0.5)
    np.testing.assert_allclose(updates["b"], 0.0)


def test_evaluation_is_deterministic_and_sees_frozen_leaves(setup):
    state, frozen, _ = setup
    metrics = make_eval_step(loss_fn)(state.params, frozen, batch(), bucket=2)
    np.testing.assert_allclose(metrics["loss"], 0.25, rtol=1e-6)
    assert metrics["noise"] == 0


def test_with_adapters_the_language_model_is_frozen():
    variables = {"params": {"vlm": {"k": 1}, "queries": 2}, "lora": {"vlm": {"a": 3}}}
    trainable, frozen = split_frozen(variables)
    assert trainable == {"params": {"queries": 2}, "lora": {"vlm": {"a": 3}}}
    assert frozen == {"params": {"vlm": {"k": 1}}}
    assert merge(trainable, frozen) == variables
    assert split_frozen({"params": variables["params"]}) == ({"params": variables["params"]}, {})


def test_muon_turns_each_kernel_of_a_stack_into_an_orthogonal_update_and_leaves_the_rest_to_adamw():
    shapes = {"layers": {"kernel": (2, 8, 16), "bias": (2, 16)}, "conv": {"kernel": (3, 3, 4, 8), "scale": (8,)}}
    keys = iter(jax.random.split(jax.random.key(0), 8))
    draw = lambda: jax.tree.map(lambda s: jax.random.normal(next(keys), s), shapes, is_leaf=lambda s: type(s) is tuple)  # noqa: E731
    params, grads = draw(), draw()
    common = dict(steps=10, warmup=0, lr=1.0, clip=1e9, weight_decay=0.0)
    muon, schedule = make_optimizer(TrainConfig(optimizer="muon", **common))
    adamw = optax.nadamw(schedule, b1=0.9, b2=0.95, weight_decay=0.0)
    (updates, _), (expected, _) = (o.update(grads, o.init(params), params) for o in (muon, adamw))
    for matrix in (*updates["layers"]["kernel"], updates["conv"]["kernel"].reshape(36, 8)):
        values = np.linalg.svd(matrix, compute_uv=False)
        # five Newton-Schulz steps bring every singular value near 1; the scale makes the root mean square 0.2
        np.testing.assert_allclose(values, 0.2 * max(matrix.shape) ** 0.5, rtol=0.35)
    for layer, name in (("layers", "bias"), ("conv", "scale")):
        np.testing.assert_allclose(updates[layer][name], expected[layer][name], rtol=1e-5)


def accumulated(parts, size=12, samples=None, steps=5):
    """(losses, parameters) of some steps on batches of `size` samples."""

    def quiet(variables, batch, bucket, key):
        squares = jnp.square(batch["x"] @ variables["params"]["w"])[:, 0]
        known = batch["known"]
        return jnp.mean(squares), {"known": jnp.sum(jnp.where(known, squares, 0)) / known.sum()}

    optimizer, schedule = make_optimizer(RUN)
    step = make_train_step(quiet, optimizer, schedule, RUN.ema, accumulate=parts)
    state = init_state({"params": {"w": jnp.ones((3, 1))}}, optimizer, ema=True)
    rng, found = np.random.default_rng(0), []
    for _ in range(steps):
        x = rng.normal(size=(size, 3)).astype(np.float32)
        inputs = {"x": x, "known": np.arange(size) % 4 == 1}
        state, metrics = step(state, {}, inputs, jax.random.key(KEY), bucket=None)
        found.append(jax.device_get(metrics))
    return found, values((state.params, state.ema, state.opt_state))


def test_accumulated_parts_are_one_large_batch():
    whole, split = accumulated(1), accumulated(4)
    for one, other in zip(whole[0], split[0], strict=True):
        for name in ("loss", "grad_norm", "known"):  # "known" is NaN, nothing to say, in three parts of four
            np.testing.assert_allclose(other[name], one[name], rtol=1e-6)
    for one, other in zip(whole[1], split[1], strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6)


def test_a_batch_that_does_not_divide_into_parts_is_refused():
    with pytest.raises(ValueError, match="a batch of 12 does not divide into accumulate=5 parts"):
        accumulated(5)


def test_a_bad_part_makes_a_bad_step(setup):
    state, frozen, _ = setup
    optimizer, schedule = make_optimizer(RUN)
    step = make_train_step(loss_fn, optimizer, schedule, RUN.ema, accumulate=2)
    before = values(state.params)
    inputs = {"x": np.ones((4, 3), np.float32), "bad": np.array([0, 0, 0, np.nan], np.float32)}
    state, metrics = step(state, frozen, inputs, jax.random.key(KEY), bucket=2)
    assert int(metrics["bad_steps"]) == 1
    assert all((a == b).all() for a, b in zip(before, values(state.params), strict=True))
