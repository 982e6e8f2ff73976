"""Batches are functions of (seed, step): whatever the hosts, workers or place of resumption."""

import dataclasses
import pickle

import numpy as np
import pytest

from shotverse_jax.camera.tokenizer import sequence_length
from shotverse_jax.config import planner_nano
from shotverse_jax.data.bpe import stage_captions, train_text_tokenizer
from shotverse_jax.data.loader import batches
from shotverse_jax.data.planner_source import PlannerSource
from shotverse_jax.stage.grammar import sample_example

CONFIG = planner_nano()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "tokenizer.json"
    train_text_tokenizer(stage_captions(sample_example, 50), CONFIG.text.vocab_size).save(str(path))
    return PlannerSource(
        config=CONFIG,
        tokenizer_file=str(path),
        sample=sample_example,
        split="train",
        seed=3,
        global_batch=4,
        num_steps=8,
        shot_weights=(1.0, 1.0),
        text_lengths=(120, 200),
    )


def same(one, other):
    return one[0] == other[0] and all((one[1][name] == other[1][name]).all() for name in one[1])


def test_shapes_depend_on_the_number_of_shots_alone(source):
    seen = set()
    for step in range(len(source)):
        shots, batch = source[step]
        seen.add(shots)
        assert batch["text_ids_BS"].shape == (4, source.text_lengths[shots - 1])
        assert batch["pose_ids_BN"].shape == (4, sequence_length(CONFIG.tokens, [CONFIG.tokens.count] * shots))
        assert (batch["slot_BS"].max(axis=1) == shots * CONFIG.num_queries - 1).all()
    assert seen == {1, 2}


def test_shot_counts_follow_the_weights(source):
    many = dataclasses.replace(source, shot_weights=(0.15, 0.51, 0.255, 0.085), text_lengths=(1, 1, 1, 1))
    share = np.bincount([many.num_shots(step) for step in range(2000)], minlength=5)[1:] / 2000
    np.testing.assert_allclose(share, many.shot_weights, atol=0.035)


def test_steps_elements_and_seeds_differ_and_repeat(source):
    again = pickle.loads(pickle.dumps(source))
    assert same(source[5], again[5])
    ids = [tuple(source.example(step, i, 1).pose_ids_N) for step in range(4) for i in range(4)]
    assert len(set(ids)) == len(ids)
    assert tuple(dataclasses.replace(source, seed=4).example(0, 0, 1).pose_ids_N) not in ids
    assert tuple(dataclasses.replace(source, split="test").example(0, 0, 1).pose_ids_N) not in ids


@pytest.mark.parametrize("hosts", [2, 4])
def test_hosts_share_one_global_batch(source, hosts):
    parts = [dataclasses.replace(source, host=h, num_hosts=hosts)[2] for h in range(hosts)]
    joined = {name: np.concatenate([part[1][name] for part in parts]) for name in parts[0][1]}
    assert same(source[2], (parts[0][0], joined))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_keeps_the_order_from_any_start(source, workers):
    loaded = list(batches(source, start=2, workers=workers))
    assert len(loaded) == 6
    assert all(same(batch, source[2 + i]) for i, batch in enumerate(loaded))


def test_overlong_captions_are_drawn_again(source):
    lengths = [len(source.example(0, i, 1).text_ids_S) for i in range(30)]
    short = dataclasses.replace(source, text_lengths=(int(np.median(lengths)), 200))
    assert all(len(short.example(0, i, 1).text_ids_S) <= short.text_lengths[0] for i in range(30))
    with pytest.raises(ValueError, match="raise text_lengths"):
        dataclasses.replace(source, text_lengths=(3, 3)).example(0, 0, 1)


def test_settings_that_cannot_work(source):
    with pytest.raises(ValueError, match="does not divide over 3 hosts"):
        dataclasses.replace(source, num_hosts=3)
    with pytest.raises(ValueError, match="2 shot weights but 1 text lengths"):
        dataclasses.replace(source, text_lengths=(3,))
