"""The planner: what its codes see, how they are laid out, its loss, its ablations, adapters."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotverse_jax import lora
from shotverse_jax.config import Execution, LoraConfig, planner_nano
from shotverse_jax.models.planner import Planner
from shotverse_jax.models.qwen3_vl import Qwen3VLText
from shotverse_jax.train.tasks.planner import planner_loss

NANO = planner_nano()
M, S = NANO.num_queries, 14
ABLATIONS = [
    {"encoder": "queries", "decoder_kind": "opt"},
    {"encoder": "text", "decoder_kind": "opt"},
    {"encoder": "none", "decoder_kind": "opt"},
    {"encoder": "queries", "decoder_kind": "native"},
    {"encoder": "text", "decoder_kind": "native"},
]


def make_batch(queries=True):
    """Two screenplays of two shots, of 14 and 11 places; shot 1's words are places 0..4, its queries 5 and 6."""
    rng = np.random.default_rng(0)
    slots = [[-1] * 5 + [0, 1] + [-1] * 5 + [2, 3], [-1] * 5 + [0, 1] + [-1] * 2 + [2, 3] + [-1] * 3]
    slot_BS = np.array(slots if queries else [[-1] * S] * 2, np.int32)
    real_BS = np.arange(S) < np.array([[14], [11]])
    words_BS = rng.integers(5, 500, (2, S))
    poses_BN = np.concatenate([np.ones((2, 1)), rng.integers(3, 259, (2, 7)), [[2, 0], [5, 2]]], axis=1)
    return {
        "text_ids_BS": jnp.asarray(np.where((slot_BS < 0) & real_BS, words_BS, 0), jnp.int32),
        "slot_BS": jnp.asarray(slot_BS),
        "real_BS": jnp.asarray(real_BS),
        "pose_ids_BN": jnp.asarray(poses_BN, jnp.int32),
    }


@functools.cache
def make(**changes):
    config = dataclasses.replace(NANO, **changes)
    planner, batch = Planner(config, Execution()), make_batch(config.encoder == "queries")
    return planner, jax.jit(planner.init, static_argnums=2)(jax.random.key(0), batch, 2), batch


def changed_word(batch, row, place):
    ids_BS = batch["text_ids_BS"]
    return {**batch, "text_ids_BS": ids_BS.at[row, place].set((ids_BS[row, place] + 7) % 500)}


@pytest.mark.parametrize("ablation", ABLATIONS, ids=lambda a: "-".join(a.values()))
def test_shapes_and_parameters(ablation):
    planner, variables, batch = make(**ablation)
    logits, codes = planner.apply(variables, batch, 2)
    queries, native = ablation["encoder"] == "queries", ablation["decoder_kind"] == "native"
    assert logits.shape == (2, 10, 260) and logits.dtype == jnp.float32
    assert codes.shape == (2, 2 * M + 1 if queries else S, 32) and codes.dtype == jnp.float32
    names = {"embedding"} if ablation["encoder"] == "none" else {"vlm"}
    names |= {"queries", "separator"} if queries else set()
    names |= {"codebook", "head"} if native else {"project", "decoder"}
    assert set(variables["params"]) == names


def test_codes_are_the_states_at_the_queries_with_separators_between_shots():
    planner, variables, batch = make()
    params = variables["params"]
    codes = planner.apply(variables, batch, 2, method="encode")
    vlm = Qwen3VLText(NANO.text, Execution())
    for row, places in enumerate([[5, 6, 12, 13], [5, 6, 9, 10]]):
        length = places[-1] + 1
        x_SD = np.array(params["vlm"]["embedding"])[batch["text_ids_BS"][row, :length]]
        x_SD[places] = np.tile(params["queries"], (2, 1))
        states_SD = vlm.apply({"params": params["vlm"]}, x_SD[None])[0]
        want = np.stack([*states_SD[np.array(places[:2])], params["separator"], *states_SD[np.array(places[2:])]])
        np.testing.assert_allclose(codes[row], want, atol=2e-5)


def test_a_shot_sees_its_own_and_earlier_captions_only():
    planner, variables, batch = make()
    base = planner.apply(variables, batch, 2, method="encode")
    late = planner.apply(variables, changed_word(batch, 0, 8), 2, method="encode")
    np.testing.assert_allclose(late[0, : M + 1], base[0, : M + 1], atol=1e-6)
    assert (np.abs(late - base)[0, M + 1 :].max(axis=-1) > 1e-4).all()
    early = planner.apply(variables, changed_word(batch, 0, 2), 2, method="encode")
    assert (np.abs(early - base)[0, [0, 1, 3, 4]].max(axis=-1) > 1e-4).all()
    np.testing.assert_array_equal(early[1], base[1])


@pytest.mark.parametrize("ablation", ABLATIONS, ids=lambda a: "-".join(a.values()))
def test_padding_text_changes_nothing_that_is_predicted(ablation):
    planner, variables, batch = make(**ablation)
    base, _ = planner.apply(variables, batch, 2)
    padding = {**batch, "text_ids_BS": batch["text_ids_BS"].at[1, 11:].set(99)}
    np.testing.assert_allclose(planner.apply(variables, padding, 2)[0], base, atol=1e-6)
    word = planner.apply(variables, changed_word(batch, 1, 3), 2)[0]
    assert (np.abs(word - base)[1].max(axis=-1) > 1e-6).all()


def test_native_logits_do_not_depend_on_how_much_padding_precedes_the_poses():
    planner, variables, batch = make(decoder_kind="native")
    wide = {name: jnp.pad(batch[name], ((0, 0), (0, 5)), constant_values=fill) for name, fill in PADDING.items()}
    base, _ = planner.apply(variables, batch, 2)
    got, _ = planner.apply(variables, {**wide, "pose_ids_BN": batch["pose_ids_BN"]}, 2)
    np.testing.assert_allclose(got, base, atol=1e-5)


PADDING = {"text_ids_BS": 0, "slot_BS": -1, "real_BS": False}


def test_logits_predict_the_next_token_and_never_look_ahead():
    planner, variables, batch = make()
    base, _ = planner.apply(variables, batch, 2)
    ids_BN = batch["pose_ids_BN"]
    got, _ = planner.apply(variables, {**batch, "pose_ids_BN": ids_BN.at[:, 4].set(200)}, 2)
    np.testing.assert_array_equal(got[:, :4], base[:, :4])
    assert np.abs(got - base)[:, 4].max() > 1e-4


def test_loss_is_the_mean_over_real_targets_plus_the_penalty():
    rng = np.random.default_rng(1)
    logits, codes = rng.normal(size=(2, 10, 260)) * 3, rng.normal(size=(2, 5, 32))
    ids_BN = np.array(make_batch()["pose_ids_BN"])
    logits[0, 3, ids_BN[0, 4]] = 50.0
    losses, hits = [], []
    for row in range(2):
        for j in range(9):
            if ids_BN[row, j + 1] != 0:
                losses.append(np.log(np.exp(logits[row, j]).sum()) - logits[row, j, ids_BN[row, j + 1]])
                hits.append(logits[row, j].argmax() == ids_BN[row, j + 1])
    loss, metrics = planner_loss(jnp.asarray(logits), jnp.asarray(codes), jnp.asarray(ids_BN), 0.25)
    assert len(losses) == 17 and metrics["tokens"] == 17 and 0 < np.mean(hits) < 1
    assert float(metrics["ce"]) == pytest.approx(np.mean(losses), rel=1e-5)
    assert float(metrics["accuracy"]) == pytest.approx(np.mean(hits), rel=1e-5)
    assert float(metrics["code_penalty"]) == pytest.approx(np.square(codes).mean(), rel=1e-5)
    assert float(loss) == pytest.approx(np.mean(losses) + 0.25 * np.square(codes).mean(), rel=1e-5)


def gradients(planner, variables, batch, key=None):
    def loss_fn(trained):
        rngs = None if key is None else {"dropout": key}
        logits, codes = planner.apply({**variables, **trained}, batch, 2, key is None, rngs=rngs)
        return planner_loss(logits, codes, batch["pose_ids_BN"], 1e-4)[0]

    return jax.grad(loss_fn)({name: variables[name] for name in variables})


@pytest.mark.parametrize("ablation", ABLATIONS, ids=lambda a: "-".join(a.values()))
def test_every_parameter_is_trained(ablation):
    found = gradients(*make(**ablation))["params"]
    idle = [jax.tree_util.keystr(p) for p, g in jax.tree_util.tree_leaves_with_path(found) if not np.abs(g).max() > 0]
    assert idle == []


def test_an_adapter_that_is_zero_changes_nothing_and_then_learns():
    planner, variables, batch = make()
    config = LoraConfig(rank=4, alpha=8.0)
    adapted = {**variables, "lora": {"vlm": lora.init(jax.random.key(3), variables["params"]["vlm"], config)}}
    base, _ = planner.apply(variables, batch, 2)
    np.testing.assert_array_equal(planner.apply(adapted, batch, 2)[0], base)
    found = gradients(planner, adapted, batch)["lora"]
    stepped = jax.tree.map(lambda x, g: x - 10.0 * g, adapted["lora"], found)
    moved, _ = planner.apply({**adapted, "lora": stepped}, batch, 2)
    assert np.abs(moved - base).max() > 1e-4
    merged = {**variables["params"], "vlm": lora.merge(variables["params"]["vlm"], stepped["vlm"])}
    np.testing.assert_allclose(planner.apply({"params": merged}, batch, 2)[0], moved, atol=1e-5)


def test_a_native_decoder_without_a_text_model_is_refused():
    with pytest.raises(ValueError, match="native decoder"):
        make(encoder="none", decoder_kind="native")
