"""The pose estimator's run: its batches, how frames are worn, and a few steps through the launcher's task."""

import dataclasses
import pickle

import jax
import numpy as np
import pytest

from shotverse_jax.config import PoseNetConfig
from shotverse_jax.configs.pose_net import small
from shotverse_jax.data.pose_source import PoseSource
from shotverse_jax.data.records import write_dataset
from shotverse_jax.train import build, read_config, wear
from shotverse_jax.train.state import init_state, make_optimizer, merge
from shotverse_jax.train.step import make_eval_step, make_train_step
from shotverse_jax.weights import load

NANO = PoseNetConfig(height=16, width=24, channels=(8, 8), blocks=1, squeeze=4, hidden_size=16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five films of 9 frames; film i is of shade 50 i, brighter by one each frame, its camera stands at x = i."""
    folder = tmp_path_factory.mktemp("films")
    films = []
    for i in range(5):
        pose_T34 = np.tile(np.eye(3, 4, dtype=np.float32), (3, 1, 1))
        pose_T34[:, 0, 3] = i
        video = np.full((9, 16, 24, 3), 50 * i, np.uint8) + np.arange(9, dtype=np.uint8)[:, None, None, None]
        films.append({"video": video, "pose_T34": pose_T34, "seed": str(i)})
    write_dataset(folder, films, {"films": 5})
    return str(folder)


def source(folder, **more):
    return PoseSource(folder=folder, seed=3, num_steps=10, **({"global_batch": 2} | more))


def test_batches_are_latent_frames_with_their_poses(folder):
    bucket, batch = source(folder)[0]
    assert bucket is None
    assert batch["frames_BHWC"].shape == (6, 16, 24, 3) and batch["frames_BHWC"].dtype == np.uint8
    assert batch["pose_B34"].shape == (6, 3, 4) and batch["pose_B34"].dtype == np.float32
    shade = batch["frames_BHWC"][:, 0, 0, 0].astype(int)
    film = batch["pose_B34"][:, 0, 3].astype(int)
    assert (shade == 50 * film + np.tile([0, 4, 8], 2)).all()


def test_every_film_once_per_epoch_on_any_number_of_hosts(folder):
    batches = [source(folder)[step][1]["pose_B34"][::3, 0, 3].astype(int) for step in range(5)]
    seen = np.concatenate(batches)
    assert sorted(seen[:5]) == sorted(seen[5:]) == [0, 1, 2, 3, 4]
    assert seen[:5].tolist() != seen[5:].tolist()
    halves = [source(folder, host=host, num_hosts=2)[1][1]["pose_B34"] for host in range(2)]
    np.testing.assert_array_equal(np.concatenate(halves), source(folder)[1][1]["pose_B34"])
    assert pickle.loads(pickle.dumps(source(folder)))[0][1]["pose_B34"].shape == (6, 3, 4)
    with pytest.raises(ValueError, match="divide"):
        source(folder, global_batch=3, num_hosts=2)


def test_worn_frames():
    rng = np.random.default_rng(0)
    frames = np.clip(rng.normal(0, 0.4, (64, 16, 24, 3)), -1, 1).astype(np.float32)
    key = jax.random.key(0)
    worn = lambda *args: np.asarray(wear.worn(frames, key, *args))  # noqa: E731
    np.testing.assert_allclose(worn(0, 0.0, 0.0), frames, atol=1e-6)

    blurred = worn(2, 0.0, 0.0)
    roughness = blurred.std((1, 2, 3)) / frames.std((1, 2, 3))
    assert roughness.max() > 0.75 and roughness.min() < 0.4  # from nearly none to two passes
    np.testing.assert_allclose(blurred.mean((1, 2, 3)), frames.mean((1, 2, 3)), atol=0.02)
    tinted = worn(0, 0.0, 0.1) - frames
    assert 0.02 < np.abs(tinted).mean() < 0.1
    assert tinted.mean((1, 2)).std() > 0.03  # by its own amount in each frame and channel
    grain = (worn(0, 0.1, 0.0) - frames).std((1, 2, 3))
    assert grain.min() < 0.02 and 0.07 < grain.max() < 0.105


def test_a_run_from_config_to_folder(folder, tmp_path):
    values = small.get_config().to_dict()
    values |= {"model": dataclasses.asdict(NANO), "data": folder, "test_data": folder, "batch": 5, "steps": 80}
    values |= {"lr": 1e-2, "warmup": 5, "ema": 0.9}
    task = build(read_config(values), tmp_path)
    optimizer, schedule = make_optimizer(task.config)
    state = init_state(task.trainable, optimizer, ema=True)
    step = make_train_step(task.loss, optimizer, schedule, task.config.ema)
    evaluate = make_eval_step(task.loss)
    bucket, held_out = task.source("test", 1)[0]
    before = evaluate(state.averaged, task.frozen, held_out, bucket=bucket)
    batches = task.source("train", 80)
    for index in range(80):
        bucket, batch = batches[index]
        state, metrics = step(state, task.frozen, batch, jax.random.key(0), bucket=bucket)
    after = evaluate(state.averaged, task.frozen, held_out, bucket=bucket)
    assert after["position_m"] < 0.5 * before["position_m"]
    assert after["loss"] < before["loss"]
    task.export(merge(state.averaged, task.frozen), tmp_path / "export")
    config, params, _ = load("pose_net", tmp_path / "export")
    assert config == NANO and jax.tree.structure(params) == jax.tree.structure(dict(state.averaged["params"]))
