"""Batches are functions of (seed, step): whatever the hosts, workers or place of resumption."""

import dataclasses
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shotverse_jax.camera.formats import write_trajectory
from shotverse_jax.camera.tokens.shotverse import PoseTokenizer, sequence_length
from shotverse_jax.config import PoseTokenConfig, planner_nano
from shotverse_jax.data.loader import batches
from shotverse_jax.data.planner_source import PlannerSource, RecordedScenes, _trajectory
from shotverse_jax.data.records import write_dataset
from shotverse_jax.data.scenes import SceneRecords, find_scenes
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.inputs.tokenizer import stage_captions, train_text_tokenizer
from shotverse_jax.screenplay import write_screenplay

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


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """A folder of five scenes of the stage, of one and of two shots, and one that cannot be used."""
    folder = tmp_path_factory.mktemp("scenes")
    for i, shots in enumerate((1, 2, 2, 1, 2)):
        example = sample_example(i, num_shots=shots)
        write_screenplay(example.screenplay, folder / f"{i}.yaml")
        write_trajectory(example.trajectory, folder / f"{i}.trajectory.json")
    (folder / "bad.yaml").write_text((folder / "0.yaml").read_text())
    (folder / "bad.json").write_text('{"frames": []}')
    return folder


def recorded(source, scenes, **options):
    config = dataclasses.replace(CONFIG, tokens=PoseTokenConfig(origin="none"), max_text_tokens=512)
    lengths = {"shot_weights": scenes.counts(2), "text_lengths": (256, 400)}
    return dataclasses.replace(source, config=config, sample=scenes, **lengths | options)


@pytest.mark.parametrize("stage", ["none", "world"])
def test_recorded_scenes_have_the_tokens_of_their_paths(scenes, stage, tmp_path, caplog):
    found = RecordedScenes(str(scenes))
    assert found.counts(4) == (2, 3, 0, 0) and found.has_stage() and "left out" in caplog.text
    with pytest.raises(ValueError, match="scenes of 2 shots, and 1 is the most"):
        found.counts(1)
    write_dataset(tmp_path, SceneRecords(find_scenes(scenes), videos=False), {})
    stored = RecordedScenes(str(tmp_path))
    tokenizer = PoseTokenizer(PoseTokenConfig(origin=stage))
    for shots, number in ((1, 3), (2, 1)):
        example, again = found(number // 2, num_shots=shots), stored(number // 2, num_shots=shots)
        true = sample_example(number, num_shots=shots)
        assert [s.caption for s in example.screenplay.shots] == [s.caption for s in true.screenplay.shots]
        frames = len(example.trajectory)
        layout = true.screenplay.layout().scaled(frames)
        assert frames == (81 if shots == 1 else 249) and example.trajectory.spans == list(layout.spans)
        ids, wanted = (
            tokenizer.encode(path) for path in (example.trajectory, true.trajectory.retimed(layout.spans, 16))
        )
        assert len(ids) == len(wanted) and np.abs(ids - wanted).max() <= 1  # records are float32
        np.testing.assert_array_equal(tokenizer.encode(again.trajectory), ids)
        np.testing.assert_allclose(
            again.trajectory.pose_T34, true.trajectory.retimed(layout.spans, 16).pose_T34, atol=1e-4
        )
        latents = {name: value for name, value in stored._scenes[shots][number // 2].items() if name != "path_F34"}
        np.testing.assert_array_equal(tokenizer.encode(_trajectory(latents)), ids)  # latent frames say as much
    assert sorted(found.captions()) == sorted(stored.captions()) and len(list(found.captions())) == 2 * 2 + 3 * 3


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**31), step=st.integers(0, 10**6), hosts=st.sampled_from([1, 2, 3, 6]))
def test_a_step_of_recorded_scenes_is_the_same_for_any_number_of_hosts(source, scenes, seed, step, hosts):
    whole = recorded(source, RecordedScenes(str(scenes)), seed=seed, global_batch=6, num_steps=step + 1)
    parts = [dataclasses.replace(whole, host=host, num_hosts=hosts)[step] for host in range(hosts)]
    joined = {name: np.concatenate([part[1][name] for part in parts]) for name in parts[0][1]}
    assert same(whole[step], (parts[0][0], joined))
    assert parts[0][0] in (1, 2)


def test_recorded_scenes_come_as_often_as_they_are_and_travel_to_workers(source, scenes):
    many = recorded(source, RecordedScenes(str(scenes)), num_steps=8)
    share = np.bincount([many.num_shots(step) for step in range(1000)], minlength=3)[1:] / 1000
    np.testing.assert_allclose(share, [0.4, 0.6], atol=0.05)
    assert len(pickle.dumps(many.sample)) < 1000  # workers read the scenes themselves
    loaded = list(batches(many, start=6, workers=0))
    assert all(same(batch, many[6 + i]) for i, batch in enumerate(loaded))


def test_datadop_teaches_single_shots(source, tmp_path):
    path = sample_example(0, num_shots=1).trajectory
    for split, name in (("train", "1/shot_1"), ("train", "1/shot_2"), ("test", "2/shot_1")):
        stem = tmp_path / split / name
        stem.parent.mkdir(parents=True, exist_ok=True)
        write_trajectory(path, f"{stem}_transforms_cleaning.json")
        caption = {"Movement": "It moves.", "Concise Interaction": f"{name} of {split}."}
        stem.with_name(f"{stem.name}_caption.json").write_text(json.dumps(caption))
    train, test = (RecordedScenes(str(tmp_path), split) for split in ("train", "test"))
    assert train.counts(2) == (2, 0) and test.counts(2) == (1, 0) and not train.has_stage()
    assert sorted(train.captions()) == ["", "", "1/shot_1 of train.", "1/shot_2 of train."]
    shots, batch = recorded(source, train)[0]
    assert shots == 1 and batch["pose_ids_BN"].shape == (4, sequence_length(PoseTokenConfig(origin="none"), [21]))
