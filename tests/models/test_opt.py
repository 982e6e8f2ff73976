"""The OPT decoder: recorded outputs of the original program, causality, initialisation, cached decoding."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from shotverse_jax.config import Execution, OPTConfig
from shotverse_jax.conversion import gendop_opt
from shotverse_jax.conversion.networks import NETWORKS
from shotverse_jax.models.opt import OPTDecoder, decode_weights, prefill, step

CONFIG = OPTConfig(vocab_size=50, hidden_size=32, num_layers=3, num_heads=4, max_positions=40, dropout=0.1)


def make(execution=Execution(), config=CONFIG):  # noqa: B008
    prefix_BPD = jax.random.normal(jax.random.key(1), (2, 5, config.hidden_size))
    ids_BT = jax.random.randint(jax.random.key(2), (2, 9), 3, config.vocab_size)
    decoder = OPTDecoder(config, execution)
    return decoder, jax.jit(decoder.init)(jax.random.key(0), prefix_BPD, ids_BT), prefix_BPD, ids_BT


def test_logits_equal_the_recorded_gendop_decoder(reference):
    record = np.load(reference / "golden" / "gendop_opt.npz")
    tensors = {name.removeprefix("param/"): record[name] for name in record.files if name.startswith("param/")}
    config = gendop_opt.config_from_tensors(tensors, json.loads(str(record["meta"]))["num_heads"])
    variables = {"params": NETWORKS["gendop-opt"].from_torch(tensors, config)}
    logits = OPTDecoder(config, Execution()).apply(variables, record["cond_embeds"], record["input_ids"])
    np.testing.assert_allclose(logits, record["logits"], atol=1e-5)


def test_logits_and_loss_equal_the_tiny_record(reference):
    record = load_file(reference / "golden" / "opt_tiny_parity.safetensors")
    tensors = {name: value for name, value in record.items() if name.startswith("w.")}
    config = gendop_opt.config_from_tensors(tensors, 4)
    variables = {"params": NETWORKS["gendop-opt"].from_torch(tensors, config)}
    logits = OPTDecoder(config, Execution()).apply(variables, record["cond"], record["ids"])
    np.testing.assert_allclose(logits, record["logits"], atol=1e-5)
    places, targets_BT = record["cond"].shape[1], record["ids"][:, 1:]
    log_probs = jax.nn.log_softmax(logits[:, places:-1])
    loss = -jnp.take_along_axis(log_probs, targets_BT[..., None], axis=-1).mean()
    assert float(loss) == pytest.approx(float(record["loss"][0]), abs=1e-4)
    assert float(loss) == pytest.approx(6.2848, abs=1e-4)


def test_a_place_sees_only_what_is_before_it():
    decoder, variables, prefix_BPD, ids_BT = make()
    base = decoder.apply(variables, prefix_BPD, ids_BT)
    changed = decoder.apply(variables, prefix_BPD.at[:, 3].add(1.0), ids_BT)
    np.testing.assert_array_equal(base[:, :3], changed[:, :3])
    assert (np.abs(base - changed)[:, 3:].max(axis=-1) > 1e-4).all()
    changed = decoder.apply(variables, prefix_BPD, ids_BT.at[:, 4].set(ids_BT[:, 4] % 40 + 5))
    np.testing.assert_array_equal(base[:, :9], changed[:, :9])
    assert np.abs(base - changed)[:, 9].max() > 1e-4


def test_initialisation_is_gendops():
    config = OPTConfig(vocab_size=260, hidden_size=128, num_layers=8, num_heads=4, max_positions=64)
    _, variables, *_ = make(config=config)
    params = variables["params"]
    assert not params["embed"][0].any() and params["embed"][1].any()
    assert set(params) == {"embed", "positions", "layers", "lm_head"} and set(params["lm_head"]) == {"kernel"}
    for name in ("q_proj", "k_proj", "v_proj", "fc1", "fc2"):
        assert np.std(params["layers"][name]["kernel"]) == pytest.approx(0.02, rel=0.02)
        assert not params["layers"][name]["bias"].any()
    assert np.std(params["layers"]["out_proj"]["kernel"]) == pytest.approx(0.02 / 4, rel=0.02)


def test_scan_and_straight_code_agree_and_share_parameters():
    decoder, variables, prefix_BPD, ids_BT = make()
    straight, other, *_ = make(Execution(unroll=True))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), variables, other)
    got = straight.apply(variables, prefix_BPD, ids_BT)
    np.testing.assert_allclose(got, decoder.apply(variables, prefix_BPD, ids_BT), atol=1e-6)


def test_dropout_runs_in_training_only():
    decoder, variables, prefix_BPD, ids_BT = make()
    base = decoder.apply(variables, prefix_BPD, ids_BT)
    rngs = {"dropout": jax.random.key(5)}
    dropped = decoder.apply(variables, prefix_BPD, ids_BT, deterministic=False, rngs=rngs)
    assert np.abs(base - dropped).max() > 1e-3
    np.testing.assert_array_equal(base, decoder.apply(variables, prefix_BPD, ids_BT, rngs=rngs))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("bfloat16", 3e-2)])
def test_cached_steps_equal_the_whole_sequence(dtype, tolerance):
    decoder, variables, prefix_BPD, ids_BT = make()
    ids_BT = ids_BT.at[:, 0].set(1)
    want = decoder.apply(variables, prefix_BPD, ids_BT)
    weights = decode_weights(variables["params"], CONFIG, dtype)
    cache, got = prefill(weights, CONFIG, prefix_BPD, 14), []
    assert cache[0][0].dtype == dtype
    run = jax.jit(lambda ids_B, place, cache: step(weights, CONFIG, ids_B, place, cache))
    for t in range(9):
        logits_BV, cache = run(ids_BT[:, t], 5 + t, cache)
        got.append(logits_BV)
    np.testing.assert_allclose(np.stack(got, axis=1), want[:, 5:], atol=tolerance)


def test_too_long_a_sequence_is_refused():
    decoder, variables, prefix_BPD, _ = make()
    with pytest.raises(ValueError, match="40 positions, prefix and tokens need 41"):
        decoder.apply(variables, prefix_BPD, jnp.ones((2, 36), jnp.int32))
