"""GenDoP's run: its batches of DataDoP's folders and of the stage, its loss, what is trained, and a few steps."""

import dataclasses
import pickle
from functools import partial

import jax
import numpy as np
import pytest

from shotverse_jax import weights
from shotverse_jax.camera.formats import read_trajectory
from shotverse_jax.camera.tokens.gendop import GenDoPTokenizer
from shotverse_jax.camera.tokens.shotverse import BOS, EOS
from shotverse_jax.config import (
    MODES,
    CLIPTextConfig,
    CLIPVisionConfig,
    GenDoPConfig,
    GenDoPTokenConfig,
    GenDoPTrainConfig,
    OPTConfig,
)
from shotverse_jax.configs.gendop import base, small, text_directorial, text_motion, text_rgbd
from shotverse_jax.data.datadop.shots import ShotFiles, list_shots, write_list, write_shot
from shotverse_jax.data.gendop_source import DataDoPShots, StageShots
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.inputs.clip import load_clip_tokenizer
from shotverse_jax.parallel.mesh import make_mesh
from shotverse_jax.train import build, read_config
from shotverse_jax.train.state import init_state, make_optimizer, merge
from shotverse_jax.train.step import make_eval_step, make_train_step
from shotverse_jax.train.tasks import gendop

TEXT = CLIPTextConfig(vocab_size=300, hidden_size=16, num_layers=1, num_heads=2, mlp_size=32, max_positions=24)
VISION = CLIPVisionConfig(hidden_size=16, num_layers=1, num_heads=2, mlp_size=32, patch_size=8, image_size=16)
DECODER = OPTConfig(hidden_size=16, num_layers=1, num_heads=2, max_positions=400, dropout=0.0)


def nano(mode):
    conditions = MODES[mode]
    text, vision = (TEXT if "text" in conditions else None), (VISION if "image" in conditions else None)
    return GenDoPConfig(text, vision, DECODER, depth="depth" in conditions or vision is None)


def run_of(mode="text", **values):
    values = {"steps": 60, "batch": 4, "bpe_examples": 50, "ema": 0.0, "warmup": 5, "lr": 5e-3} | values
    return read_config(dataclasses.asdict(GenDoPTrainConfig(model=nano(mode), **values)))


def loss_of(task):
    """The deterministic loss of a task, compiled."""
    return jax.jit(lambda variables, batch: task.loss(variables, batch, None, None))


@pytest.fixture(scope="module")
def datadop(tmp_path_factory):
    """Six training shots and two held-out ones, of the stage's grammar; picture i is of shade 30 i, its depth i."""
    folder = tmp_path_factory.mktemp("datadop")
    for split, count in (("train", 6), ("test", 2)):
        names = [f"1_0000/shot_{i:04}" for i in range(count)]
        for i, name in enumerate(names):
            example = sample_example(i, split, num_shots=1)
            stem = folder / split / name
            stem.parent.mkdir(parents=True, exist_ok=True)
            write_shot(
                ShotFiles(name, stem),
                captions={"Movement": f"move {i}", "Concise Interaction": f"story {i}"},
                image_HWC=np.full((32, 64, 3), 30 * i, np.uint8),
                depth_HW=np.full((32, 64), i, np.float32),
                cleaned=example.trajectory.retimed([(0, 120)], 30.0),
            )
        write_list(folder, split, names)
    return folder


@pytest.mark.parametrize("mode", MODES)
def test_batches_hold_what_the_network_reads(datadop, tmp_path, mode):
    task = build(run_of(mode, data=str(datadop)), tmp_path)
    bucket, batch = task.source("train", 3)[0]
    names = {"text": ("text_ids_BT", "real_BT"), "image": ("image_BHWC",), "depth": ("depth_BHW",)}
    assert bucket is None
    assert batch.keys() == {"pose_ids_BN", *(name for part in MODES[mode] for name in names[part])}
    assert (batch["pose_ids_BN"][:, 0] == BOS).all() and (batch["pose_ids_BN"][:, -1] == EOS).all()
    assert batch["pose_ids_BN"].shape == (4, 302)
    value, metrics = loss_of(task)(merge(task.trainable, task.frozen), batch)
    assert np.isfinite(value) and int(metrics["tokens"]) == 4 * 301


def test_every_shot_once_per_epoch_on_any_number_of_hosts(datadop, tmp_path):
    task = build(run_of("depth+image+text", data=str(datadop), batch=2), tmp_path)
    source = task.source("train", 10)
    shade = lambda batch: batch["depth_BHW"].max((1, 2)).round(3)  # noqa: E731
    seen = np.concatenate([shade(source[step][1]) for step in range(6)])
    assert sorted(seen[:6]) == sorted(seen[6:]) and len(set(seen[:6])) == 6
    halves = [shade(dataclasses.replace(source, host=host, num_hosts=2)[1][1]) for host in range(2)]
    np.testing.assert_array_equal(np.concatenate(halves), shade(source[1][1]))
    again = pickle.loads(pickle.dumps(source))[3][1]
    assert all((again[name] == value).all() for name, value in source[3][1].items())
    held_out = task.source("test", 1)[0][1]
    files = [read_trajectory(shot.path("transforms"), "nerfstudio") for shot in list_shots(datadop, "test")]
    expected = [GenDoPTokenizer(GenDoPTokenConfig()).encode(path) for path in files]
    assert {ids.tobytes() for ids in held_out["pose_ids_BN"]} == {ids.tobytes() for ids in expected}


def test_a_shot_that_cannot_be_read_is_left_out(datadop, tmp_path, caplog):
    shots = DataDoPShots(str(datadop), "train", "Movement", ("text",))
    broken = list_shots(datadop, "train")[2].path("transforms")
    whole = broken.read_bytes()
    try:
        broken.write_bytes(whole[:100])
        captions = [shots(i, 0).caption for i in range(6)]
    finally:
        broken.write_bytes(whole)
    assert "move 2" not in captions and "left out: 1_0000/shot_0002" in caplog.text
    with pytest.raises(ValueError, match="in a row"):
        DataDoPShots(str(datadop), "train", "Detailed Interaction", ("text",))(0, 0)
    with pytest.raises(ValueError, match="no shots"):
        DataDoPShots(str(tmp_path), "train", "Movement", ("text",))


def test_shots_of_the_stage_are_seen_from_their_first_camera():
    shot = StageShots("train", ("text", "image", "depth"))(5, 0)
    assert shot.image_HWC.shape == (288, 512, 3) and shot.image_HWC.std() > 5
    assert shot.depth_HW.shape == (288, 512) and 0 < shot.depth_HW.min() < shot.depth_HW.max() <= 100
    again, other = StageShots("train", ("text",))(5, 0), StageShots("train", ("text",))(5, 1)
    assert again.caption == shot.caption != other.caption and again.image_HWC is None


def test_the_loss_is_the_mean_over_all_next_tokens(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    task = build(run_of(), tmp_path)
    _, batch = task.source("train", 1)[0]
    variables = merge(task.trainable, task.frozen)
    value, metrics = loss_of(task)(variables, batch)
    network = gendop.GenDoP(nano("text"))
    logits = jax.jit(network.apply)(variables, *(batch[name] for name in ("pose_ids_BN", "text_ids_BT", "real_BT")))
    targets = torch.tensor(batch["pose_ids_BN"][:, 1:].astype(np.int64))
    expected = torch.nn.functional.cross_entropy(
        torch.tensor(np.array(logits[:, :-1])).flatten(0, 1), targets.flatten()
    )
    np.testing.assert_allclose(value, expected, atol=1e-5)
    prefix = jax.jit(partial(network.apply, method="prefix"))(variables, batch["text_ids_BT"], batch["real_BT"])
    penalised, _ = jax.jit(lambda *given: gendop.make_loss(network, 0.5)(*given, None, None))(variables, batch)
    np.testing.assert_allclose(penalised, value + 0.5 * np.mean(np.square(prefix)), rtol=1e-5)


def test_towers_are_trained_or_frozen(tmp_path):
    params = gendop.make_params(run_of("image+depth"), make_mesh(run_of().mesh))
    trainable, frozen = gendop.split_towers(params, nano("image+depth"), True)
    assert set(frozen) == {"image", "depth"} and set(trainable["image"]) == {"project"} and "decoder" in trainable
    assert jax.tree.structure(merge(trainable, frozen)) == jax.tree.structure(params)
    assert gendop.split_towers(params, nano("image+depth"), False) == (params, {})


def test_a_run_begins_with_towers_and_goes_on_from_a_network(datadop, tmp_path):
    task = build(run_of(), tmp_path / "first")
    task.export(merge(task.trainable, task.frozen), tmp_path / "whole")
    tokenizer = tmp_path / "whole" / "tokenizer.json"
    text = weights.init("clip_text", TEXT, jax.random.key(7))
    weights.export("clip_text", text, TEXT, tmp_path / "text", tokenizer_file=tokenizer)

    params = gendop.make_params(run_of(text_weights=str(tmp_path / "text")), make_mesh(run_of().mesh))
    np.testing.assert_allclose(params["text"]["tower"]["positions"], text["positions"], atol=1e-2)  # bfloat16 on disk
    assert "project" in params["text"]

    on = build(run_of(base_weights=str(tmp_path / "whole"), data=str(datadop)), tmp_path / "second")
    before, after = (jax.tree.leaves(run.trainable) for run in (task, on))
    assert all(np.allclose(a, b, atol=1e-2) for a, b in zip(before, after, strict=True))
    assert not (tmp_path / "second" / "tokenizer.json").exists()

    for values, said in (
        ({"base_weights": str(tmp_path / "whole"), "text_weights": "x"}, "a whole network"),
        ({"test_data": str(datadop)}, "goes with data"),
        ({"data": str(tmp_path)}, "no shots"),
        ({"text_weights": str(tmp_path / "nothing")}, "nothing"),
    ):
        with pytest.raises(ValueError, match=said):
            build(run_of(**values), tmp_path / "third")
    other = dataclasses.asdict(run_of(base_weights=str(tmp_path / "whole")))
    other["model"]["decoder"]["hidden_size"] = 32
    with pytest.raises(ValueError, match="another size"):
        build(read_config(other), tmp_path / "fourth")


def test_a_run_from_config_to_folder(tmp_path):
    values = dataclasses.asdict(run_of(steps=30, lr=2e-2))
    task = build(read_config(values), tmp_path)
    optimizer, schedule = make_optimizer(task.config)
    state = init_state(task.trainable, optimizer, ema=False)
    step, evaluate = make_train_step(task.loss, optimizer, schedule, task.config.ema), make_eval_step(task.loss)
    bucket, held_out = task.source("test", 1)[0]
    before = evaluate(state.averaged, task.frozen, held_out, bucket=bucket)
    batches = task.source("train", 30)
    for index in range(30):
        bucket, batch = batches[index]
        state, _ = step(state, task.frozen, batch, jax.random.key(0), bucket=bucket)
    after = evaluate(state.averaged, task.frozen, held_out, bucket=bucket)
    assert after["ce"] < before["ce"] - 1 and after["accuracy"] > 0.2
    task.export(merge(state.averaged, task.frozen), tmp_path / "export")
    config, params, tokenizer = weights.load("gendop", tmp_path / "export")
    assert config == nano("text") and jax.tree.structure(params) == jax.tree.structure(dict(state.averaged["params"]))
    assert tokenizer.to_str() == load_clip_tokenizer(tmp_path / "tokenizer.json").to_str()


def test_configs_are_those_of_the_published_networks():
    configs = [read_config(file.get_config().to_dict()) for file in (text_motion, text_directorial, text_rgbd)]
    assert [config.model.mode for config in configs] == ["text", "text", "depth+image+text"]
    assert [config.caption for config in configs] == ["movement", "concise", "concise"]
    assert {(c.batch, c.lr, c.betas, c.weight_decay, c.clip, c.final_lr) for c in configs} == {
        (16, 1e-5, (0.9, 0.95), 0.01, 1.0, 0.1)
    }
    assert read_config(base.get_config("image").to_dict()).model.mode == "image"
    assert read_config(small.get_config().to_dict()).model == small.MODEL
