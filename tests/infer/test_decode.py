"""Decoding: the grammar, the cache against teacher forcing, the sampling distributions, independence of rows."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shotverse_jax.camera.tokens.shotverse import BOS, EOS, FIRST_BIN, PAD, PoseTokenizer, sequence_length
from shotverse_jax.config import Execution, OPTConfig, planner_nano
from shotverse_jax.conversion import gendop_opt
from shotverse_jax.conversion.networks import NETWORKS
from shotverse_jax.infer.decode import GREEDY, Draw, Grammar, Sampling, decode_opt, sample
from shotverse_jax.infer.plan import Director, decode
from shotverse_jax.models import opt
from shotverse_jax.models.planner import Planner
from shotverse_jax.weights import init

NANO = planner_nano()
PLAIN = Execution()
prepare = opt.decode_weights
HOT = Sampling(temperature=3.0, top_p=1.0)


@functools.cache
def random_params(config=NANO):
    return jax.jit(lambda: init("planner", config, jax.random.key(0)))()


@functools.cache
def screenplays(rows, num_shots, queries=NANO.num_queries):
    """`rows` random screenplays: 4 words, then per shot 3 words and its query slots, 2 places of padding."""
    words = np.random.default_rng(rows).integers(5, 500, (rows, 4 + num_shots * (3 + queries) + 2)).astype(np.int32)
    slots = [np.full(4, -1)]
    for k in range(num_shots):
        slots += [np.full(3, -1), np.arange(queries) + k * queries]
    slot_S = np.concatenate([*slots, np.full(2, -1)]).astype(np.int32)
    mask_S = np.arange(len(slot_S)) < len(slot_S) - 2
    words = np.where((slot_S < 0) & mask_S, words, 0)
    return {
        "text_ids_BS": words,
        "slot_BS": np.broadcast_to(slot_S, words.shape),
        "real_BS": np.broadcast_to(mask_S, words.shape),
    }


def draw_of(counts_BK, key, sampling=HOT, *, max_tokens, config=NANO):
    """A draw of one row per row of counts, of sequences of at most `max_tokens` tokens with BOS."""
    counts_BK = np.asarray(counts_BK)
    grammar = Grammar.of_planner(config, counts_BK.shape[1])
    return Draw.of(grammar, key, len(counts_BK), sampling, counts_BK, max_tokens - 1)


def director(params=None, config=NANO, execution=PLAIN):
    return Director(config, params or random_params(config), None, execution)


def run(counts_BK, *, seed=0, sampling=HOT, max_tokens, config=NANO, params=None):
    draw = draw_of(counts_BK, jax.random.key(seed), sampling, max_tokens=max_tokens, config=config)
    return np.asarray(decode(director(params, config), screenplays(*draw.counts_BK.shape), draw).ids_BN)


def poses_per_shot(ids_N, config=NANO):
    """Counts of a row; the parser raises for anything that breaks the layout."""
    tokens = PoseTokenizer(config.tokens).parse(ids_N)
    end = int(np.flatnonzero(ids_N == EOS)[0])
    assert (ids_N[end + 1 :] == PAD).all()
    assert not np.isin(ids_N[1:end], (PAD, BOS, EOS)).any()
    return [len(shot) for shot in tokens.shots]


@settings(max_examples=12, deadline=None)
@given(counts=st.lists(st.integers(0, 4), min_size=6, max_size=6), seed=st.integers(0, 2**31 - 1))
def test_every_sequence_follows_the_grammar(counts, seed):
    counts_BK = np.array(counts).reshape(2, 3)
    ids_BN = run(counts_BK, seed=seed, max_tokens=sequence_length(NANO.tokens, [4] * 3))
    for wanted_K, ids_N in zip(counts_BK, ids_BN, strict=True):
        got_K = poses_per_shot(ids_N)
        assert len(got_K) == 3 and min(got_K) >= 1
        assert all(wanted in (0, got) for wanted, got in zip(wanted_K, got_K, strict=True))


@pytest.mark.parametrize("spare", [0, 11, 12])
def test_free_shots_fit_the_tightest_budget(spare):
    """A model that never wants to close a shot still writes exactly three shots; a spare pose goes to the first."""
    params = biased(FIRST_BIN)
    ids_BN = run(
        np.zeros((2, 3)), params=params, sampling=GREEDY, max_tokens=sequence_length(NANO.tokens, [1] * 3) + spare
    )
    assert [poses_per_shot(ids_N) for ids_N in ids_BN] == [[1 + spare // 12, 1, 1]] * 2


def biased(token):
    """Parameters whose logits always peak at `token`: the head reads the constant bias of the last norm."""
    params = jax.tree.map(jnp.asarray, random_params())
    norm = params["decoder"]["layers"]["final_norm"]
    layers = {**params["decoder"]["layers"], "final_norm": {"scale": norm["scale"] * 0, "bias": norm["bias"] + 1}}
    kernel = jnp.zeros_like(params["decoder"]["lm_head"]["kernel"]).at[:, token].set(10.0)
    return {**params, "decoder": {**params["decoder"], "layers": layers, "lm_head": {"kernel": kernel}}}


def test_a_model_that_always_closes_writes_the_fewest_poses():
    separator = FIRST_BIN + NANO.tokens.bins
    ids_BN = run([[0, 0, 2]], params=biased(separator), sampling=GREEDY, max_tokens=200)
    counts = poses_per_shot(ids_BN[0])
    assert counts[:2] == [1, 1] and counts[2] == 2


def test_no_stage_pose_means_a_header_of_one():
    config = dataclasses.replace(NANO, tokens=dataclasses.replace(NANO.tokens, origin="none"))
    ids_BN = run([[2, 1]], config=config, max_tokens=sequence_length(config.tokens, [2, 1]))
    assert poses_per_shot(ids_BN[0], config) == [2, 1] and ids_BN[0, -1] == EOS


@pytest.mark.parametrize("unroll", [False, True])
def test_greedy_decoding_is_the_argmax_of_teacher_forcing(unroll):
    batch, counts_BK = screenplays(3, 2), np.array([[2, 3], [3, 1], [1, 1]])
    execution = Execution(unroll=unroll)
    draw = draw_of(counts_BK, jax.random.key(0), GREEDY, max_tokens=90)
    ids_BN = decode(director(execution=execution), batch, draw).ids_BN
    planner = Planner(NANO, execution)
    logits_BNV, _ = planner.apply({"params": random_params()}, {**batch, "pose_ids_BN": ids_BN}, 2)
    values_BN = np.asarray(logits_BNV[..., FIRST_BIN : FIRST_BIN + NANO.tokens.bins].argmax(-1)) + FIRST_BIN
    ids_BN = np.asarray(ids_BN)
    is_value_BN = (ids_BN[:, 1:] >= FIRST_BIN) & (ids_BN[:, 1:] < FIRST_BIN + NANO.tokens.bins)
    assert is_value_BN.sum() == 3 * 13 + 12 * counts_BK.sum()
    np.testing.assert_array_equal(ids_BN[:, 1:][is_value_BN], values_BN[:, :-1][is_value_BN])


def test_native_decoder_is_the_argmax_of_teacher_forcing():
    config = dataclasses.replace(NANO, decoder_kind="native")
    batch = screenplays(2, 2)
    ids_BN = run([[2, 1], [1, 3]], config=config, sampling=GREEDY, max_tokens=70)
    assert [poses_per_shot(ids_N) for ids_N in ids_BN] == [[2, 1], [1, 3]]
    variables = {"params": random_params(config)}
    logits_BNV, _ = Planner(config, Execution()).apply(variables, {**batch, "pose_ids_BN": ids_BN}, 2)
    values_BN = np.asarray(logits_BNV[..., FIRST_BIN : FIRST_BIN + 256].argmax(-1)) + FIRST_BIN
    is_value_BN = (ids_BN[:, 1:] >= FIRST_BIN) & (ids_BN[:, 1:] < FIRST_BIN + 256)
    np.testing.assert_array_equal(ids_BN[:, 1:][is_value_BN], values_BN[:, :-1][is_value_BN])


@pytest.mark.parametrize("kind", ["opt", "native"])
def test_log_probabilities_are_those_of_teacher_forcing(kind):
    """Whatever the sampling: of the token that came, over the whole vocabulary; nothing at BOS and after EOS."""
    config = dataclasses.replace(NANO, decoder_kind=kind)
    batch, draw = screenplays(3, 2), draw_of([[2, 3], [0, 0], [1, 1]], jax.random.key(5), max_tokens=90, config=config)
    ids_BN, log_probs_BN = decode(director(config=config), batch, draw)
    variables = {"params": random_params(config)}
    logits_BNV, _ = Planner(config, Execution()).apply(variables, {**batch, "pose_ids_BN": ids_BN}, 2)
    forced_BN = jnp.take_along_axis(jax.nn.log_softmax(logits_BNV)[:, :-1], ids_BN[:, 1:, None], axis=-1)[..., 0]
    written_BN = np.asarray(ids_BN[:, 1:]) != PAD
    np.testing.assert_allclose(log_probs_BN[:, 1:], np.where(written_BN, forced_BN, 0.0), atol=2e-5)
    assert (log_probs_BN[:, 0] == 0).all() and (log_probs_BN[:, 1:][written_BN] < 0).all() and not written_BN.all()


def test_a_row_does_not_depend_on_the_rows_beside_it():
    keys_B = jax.random.split(jax.random.key(7), 3)
    batch, counts_BK = screenplays(3, 2), np.array([[2, 0], [0, 0], [1, 2]])
    together = decode(director(), batch, draw_of(counts_BK, keys_B, max_tokens=100)).ids_BN
    for b in (2, 0):
        row = {name: value[b : b + 1] for name, value in batch.items()}
        alone = decode(director(), row, draw_of(counts_BK[b : b + 1], keys_B[b : b + 1], max_tokens=100)).ids_BN
        np.testing.assert_array_equal(alone[0], together[b])
    assert not np.array_equal(together[0], together[1])


def test_one_key_gives_each_row_its_own_stream():
    batch = {name: np.repeat(value[:1], 2, axis=0) for name, value in screenplays(2, 2).items()}
    first, again, other = (
        decode(director(), batch, draw_of(np.full((2, 2), 2), jax.random.key(seed), max_tokens=70)).ids_BN
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first, other)


def test_a_director_prepares_its_decoder_once(monkeypatch):
    calls = []
    monkeypatch.setattr(opt, "decode_weights", lambda *args: calls.append(args) or prepare(*args))
    ours, draw = director(), draw_of([[2, 1]], jax.random.key(0), max_tokens=70)
    first, second = (decode(ours, screenplays(1, 2), draw).ids_BN for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert len(calls) == 1


def test_the_growing_cache_changes_nothing(monkeypatch):
    config = OPTConfig(hidden_size=16, num_layers=1, num_heads=2, max_positions=64)
    decoder = opt.OPTDecoder(config, Execution())
    prefix_BPD = jax.random.normal(jax.random.key(1), (2, 5, 16))
    params = jax.jit(decoder.init)(jax.random.key(0), prefix_BPD, jnp.zeros((2, 1), jnp.int32))["params"]
    draw = Draw.of(Grammar.of_gendop(30), jax.random.key(3), 2, HOT)
    arguments = opt.decode_weights(params, config), config, prefix_BPD, draw
    whole = decode_opt(*arguments)
    jax.clear_caches()
    monkeypatch.setattr("shotverse_jax.infer.decode.CACHE_STEP", 12)
    grown = decode_opt(*arguments)
    np.testing.assert_array_equal(grown.ids_BN, whole.ids_BN)
    np.testing.assert_allclose(grown.log_probs_BN, whole.log_probs_BN, atol=1e-5)


def test_greedy_tokens_equal_the_original_program(reference):
    record = np.load(reference / "golden" / "gendop_opt.npz")
    meta = json.loads(str(record["meta"]))
    tensors = {name.removeprefix("param/"): record[name] for name in record.files if name.startswith("param/")}
    config = gendop_opt.config_from_tensors(tensors, meta["num_heads"])
    params, prefix_BPD = NETWORKS["gendop-opt"].from_torch(tensors, config), jnp.asarray(record["cond_embeds"])
    draw = Draw.of(Grammar.of_gendop(10 * meta["pose_length"]), jax.random.key(0), len(prefix_BPD), GREEDY)
    ids_BN, _ = decode_opt(opt.decode_weights(params, config), config, prefix_BPD, draw)
    np.testing.assert_array_equal(ids_BN[:, 1:], record["greedy_token_ids"])


def draws(logits_V, sampling, count=20000):
    keys_B = jax.random.split(jax.random.key(0), count)
    ids_B = sample(jnp.broadcast_to(jnp.asarray(logits_V), (count, len(logits_V))), keys_B, sampling)
    return np.bincount(np.asarray(ids_B), minlength=len(logits_V)) / count


def test_top_k_keeps_k_ids_in_their_proportions():
    logits_V = np.random.default_rng(0).normal(size=40)
    shares_V = np.exp(logits_V / 0.7)
    kept_V = np.argsort(-logits_V)[:5]
    got_V = draws(logits_V, Sampling(temperature=0.7, top_k=5, top_p=1.0))
    assert set(np.flatnonzero(got_V)) == set(kept_V)
    np.testing.assert_allclose(got_V[kept_V], shares_V[kept_V] / shares_V[kept_V].sum(), atol=0.015)


def test_the_nucleus_is_the_smallest_set_that_holds_p():
    logits_V = np.random.default_rng(1).normal(size=40) * 2
    shares_V = np.exp(logits_V / 0.9) / np.exp(logits_V / 0.9).sum()
    order_V = np.argsort(-shares_V)
    size = int(np.searchsorted(np.cumsum(shares_V[order_V]), 0.8)) + 1
    kept_V = order_V[:size]
    assert 2 < size < 20
    got_V = draws(logits_V, Sampling(temperature=0.9, top_p=0.8))
    assert set(np.flatnonzero(got_V)) == set(kept_V)
    np.testing.assert_allclose(got_V[kept_V], shares_V[kept_V] / shares_V[kept_V].sum(), atol=0.015)


def test_forbidden_ids_are_never_drawn():
    logits_V = np.where(np.arange(30) % 3 == 0, 0.0, -np.inf)
    for sampling in (GREEDY, HOT, Sampling(), Sampling(top_k=25)):
        assert not draws(logits_V, sampling, 500)[np.arange(30) % 3 != 0].any()


@pytest.mark.parametrize("wrong", [{"temperature": -1.0}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.5}])
def test_impossible_sampling_is_refused(wrong):
    with pytest.raises(ValueError, match="sampling needs"):
        Sampling(**wrong)


def test_impossible_requests_are_refused():
    with pytest.raises(ValueError, match="there is room for 40"):
        run([[2, 2]], max_tokens=41)
    with pytest.raises(ValueError, match="rows of 2 numbers"):
        Draw.of(Grammar.of_planner(NANO, 2), jax.random.key(0), 2, HOT, [[1, 1]], 98)
    with pytest.raises(ValueError, match="positions"):
        run([[2, 2]], max_tokens=400)
    with pytest.raises(ValueError, match="one key or one per row"):
        draw_of([[1], [1]], jax.random.split(jax.random.key(0), 3), max_tokens=99)
