"""Preference optimisation: log-probabilities, the first step, what a pair of one shot counts, and a few steps."""

import dataclasses

import jax
import numpy as np
import pytest
import small_models

from shotverse_jax import weights
from shotverse_jax.camera.tokens.shotverse import PoseTokenizer, separator
from shotverse_jax.config import LoraConfig, PreferenceTrainConfig
from shotverse_jax.data.pair_source import GenDoPPairs, PlannerPairs
from shotverse_jax.data.pairs import Pair, read_pairs, write_pairs
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.infer.plan import Director, sample_ids
from shotverse_jax.train import build, export, read_config, train
from shotverse_jax.train.state import merge
from shotverse_jax.train.tasks import preference

PAIRS = 12


@pytest.fixture(scope="module")
def planner(tmp_path_factory):
    return small_models.planner(tmp_path_factory.mktemp("planner"))


@pytest.fixture(scope="module")
def sampled(planner):
    """(screenplays of one and two shots, two samples of each)."""
    plays = [sample_example(i, num_shots=1 + i % 2).screenplay for i in range(PAIRS)]
    plays = [dataclasses.replace(play, caption="She waits.", shots=tuple(map(short, play.shots))) for play in plays]
    return plays, sample_ids(Director.load(str(planner)), plays, samples=2)


def short(shot):
    return dataclasses.replace(shot, caption=shot.caption[:40])


@pytest.fixture(scope="module")
def pairs(sampled, tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    write_pairs(
        [
            Pair(f"p{i}", play, found.ids_JN[0], found.ids_JN[1], 1.0, 0.5)
            for i, (play, found) in enumerate(zip(*sampled, strict=True))
        ],
        path,
    )
    return path


@pytest.fixture(scope="module")
def singles(pairs):
    """Those of one shot: one program fewer is compiled."""
    path = pairs.with_name("singles.jsonl")
    write_pairs([pair for pair in read_pairs(pairs) if len(pair.screenplay.shots) == 1], path)
    return path


def run_of(planner, pairs, **values):
    values = {"steps": 4, "batch": 4, "ema": 0.0, "warmup": 0, "lr": 1e-3, "test_share": 0.2} | values
    return read_config(dataclasses.asdict(PreferenceTrainConfig(base_weights=str(planner), pairs=str(pairs), **values)))


def test_log_probs_are_those_of_the_decoder(planner, sampled, pairs, tmp_path):
    """Teacher forcing over both plans gives the numbers that decoding wrote beside every token."""
    task = build(run_of(planner, pairs, test_pairs=str(pairs)), tmp_path)
    found = np.load(tmp_path / "test_reference.npz")["log_probs"]
    expected = [drawn.log_probs_JN.sum(axis=1) for drawn in sampled[1]]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert task.source("test", 1).reference_P2.shape == (PAIRS, 2)


@pytest.mark.parametrize("kind", ["planner", "gendop"])
def test_the_first_step(kind, planner, pairs, tmp_path, request):
    """Policy and reference agree: DPO's loss is log 2, and so it stays with any beta."""
    folder, pairs = (planner, pairs) if kind == "planner" else request.getfixturevalue("gendop")
    task = build(run_of(folder, pairs, sft_weight=0.0), tmp_path)
    for bucket, batch in task.batches("test"):
        value, metrics = jax.jit(task.loss, static_argnums=2)(task.trainable, batch, bucket, None)
        assert float(value) == pytest.approx(np.log(2), abs=1e-6)
        assert float(metrics["chosen_moved"]) == pytest.approx(0, abs=1e-4)


@pytest.fixture(scope="module")
def gendop(tmp_path_factory):
    """A GenDoP that reads captions, and pairs of the stage's shots for it."""
    from shotverse_jax.config import CLIPTextConfig, GenDoPConfig, GenDoPTokenConfig, OPTConfig
    from shotverse_jax.inputs.clip import SPECIAL_TOKENS
    from shotverse_jax.inputs.tokenizer import train_text_tokenizer

    folder = tmp_path_factory.mktemp("gendop")
    text = CLIPTextConfig(vocab_size=300, hidden_size=16, num_layers=1, num_heads=2, mlp_size=32, max_positions=24)
    decoder = OPTConfig(hidden_size=16, num_layers=1, num_heads=2, max_positions=400, dropout=0.1)
    config = GenDoPConfig(text, None, decoder)
    train_text_tokenizer(["the camera pans left"], 290, SPECIAL_TOKENS).save(str(folder / "text.json"))
    params = small_models.drawn(weights.abstract("gendop", config), 0)
    weights.export("gendop", params, config, folder / "net", tokenizer_file=folder / "text.json")
    from shotverse_jax.camera.tokens.gendop import GenDoPTokenizer

    rows = []
    for i in range(8):
        better, worse = (sample_example(2 * i + j, num_shots=1) for j in range(2))
        ids = [GenDoPTokenizer(GenDoPTokenConfig()).encode(example.trajectory) for example in (better, worse)]
        rows.append(Pair(f"g{i}", better.screenplay, *ids))
    write_pairs(rows, folder / "pairs.jsonl")
    return folder / "net", folder / "pairs.jsonl"


def test_a_pair_of_one_shot_counts_that_shot(planner, sampled):
    config, _, tokenizer = weights.load("planner", planner)
    play, found = next((play, drawn) for play, drawn in zip(*sampled, strict=True) if len(play.shots) == 2)
    reader, (first, second) = PlannerPairs(config, tokenizer), found.ids_JN
    whole = reader.encode(Pair("", play, first, second))
    parts = [reader.encode(Pair("", play, first, second, shot=shot)) for shot in range(2)]
    counts = [pair.counts_2[0] for pair in parts]
    assert not (counts[0] & counts[1]).any()
    # What both leave out is BOS and the header, which no shot owns.
    np.testing.assert_array_equal(np.flatnonzero(whole.counts_2[0] & ~(counts[0] | counts[1])), np.arange(1, 14))
    ids_N = parts[0].ids_2[0]
    assert ids_N[counts[0]][-1] == separator(config.tokens.bins) and ids_N[counts[1]][-1] == 2
    shots = PoseTokenizer(config.tokens).parse(ids_N).shots
    assert [int(count.sum()) for count in counts] == [12 * len(shot) + 1 for shot in shots]


@pytest.mark.parametrize(
    "changes", [{}, {"learns": "adapter", "lora": LoraConfig(rank=2, alpha=4.0, targets=("q_proj", "fc1"))}]
)
def test_it_learns_to_prefer(changes, planner, singles, tmp_path):
    config = run_of(planner, singles, steps=30, log_every=30, test_pairs=str(singles), lr=3e-3, **changes)
    task = build(config, tmp_path)
    before = [np.array(leaf) for leaf in jax.tree.leaves(task.frozen)]
    state = train(task, tmp_path)
    for bucket, batch in task.batches("test"):
        _, metrics = jax.jit(task.loss, static_argnums=2)(merge(state.params, task.frozen), batch, bucket, None)
        assert float(metrics["preferred"]) == 1.0 and float(metrics["reward_margin"]) > 0.1
    for leaf, old in zip(jax.tree.leaves(task.frozen), before, strict=True):
        np.testing.assert_array_equal(leaf, old)
    export(task, state, tmp_path / "export")
    assert Director.load(str(tmp_path / "export")).config.lora is None


def test_batches_follow_from_seed_and_step(planner, pairs, tmp_path):
    task = build(run_of(planner, pairs, steps=40), tmp_path)
    source = task.source("train", 40)
    seen = [number for step in range(source.batches_per_epoch) for number in source.chosen(step)[1]]
    assert set(seen) == set(range(len(source.pairs)))
    assert source.chosen(3) == task.source("train", 40).chosen(3)
    assert [source.chosen(step) for step in range(9)] != [
        source.chosen(step + source.batches_per_epoch) for step in range(9)
    ]
    halves = [dataclasses.replace(source, host=host, num_hosts=2)[0][1] for host in range(2)]
    for name, value in source[0][1].items():
        np.testing.assert_array_equal(np.concatenate([half[name] for half in halves]), value)
    shots, batch = source[0]
    assert all(source.pairs[number].bucket == shots for number in source.chosen(0)[1])
    assert batch["ids_B2N"].shape[:2] == (4, 2)


def test_what_is_left_out(planner, sampled, tmp_path, caplog):
    play, found = sampled[0][0], sampled[1][0]
    two = next(play for play in sampled[0] if len(play.shots) == 2)
    ids = found.ids_JN[0]
    rows = [
        Pair("same", play, ids, ids),
        Pair("other", two, ids, found.ids_JN[1]),
        Pair("broken", play, ids, ids[:5]),
        Pair("good", play, ids, found.ids_JN[1]),
    ]
    write_pairs(rows, tmp_path / "pairs.jsonl")
    task = build(run_of(planner, tmp_path / "pairs.jsonl", test_pairs=str(tmp_path / "pairs.jsonl")), tmp_path / "run")
    assert len(task.source("train", 1).pairs) == 1
    for name in ("same", "other", "broken"):
        assert f"left out: {name}: " in caplog.text
    write_pairs(rows[:1], tmp_path / "none.jsonl")
    with pytest.raises(ValueError, match="no pairs that can be used: same"):
        build(run_of(planner, tmp_path / "none.jsonl"), tmp_path / "run")


def test_gendop_needs_its_pictures(gendop):
    folder, _ = gendop
    config, _, tokenizer = weights.load("gendop", folder)
    play = sample_example(0, num_shots=2).screenplay
    with pytest.raises(ValueError, match="one shot"):
        GenDoPPairs(config, tokenizer).encode(Pair("", play, np.array([1, 2]), np.array([1, 2])))


def test_outline_has_the_shapes_of_the_run(planner, pairs, tmp_path):
    from shotverse_jax.parallel.mesh import make_mesh

    config = run_of(planner, pairs)
    outline, task = preference.outline(config, make_mesh(config.mesh)), build(config, tmp_path)
    shapes = [jax.tree.map(lambda x: (x.shape, str(x.dtype)), each.trainable) for each in (outline, task)]
    assert shapes[0] == shapes[1]
    _, batch = task.source("train", 1)[0]
    assert {name: x.dtype for name, x in batch.items()} == {name: x.dtype for name, x in outline.batch.items()}
    assert {name: x.ndim for name, x in batch.items()} == {name: x.ndim for name, x in outline.batch.items()}
