"""A captioner's run: a few steps, what learns, its export, and captions by what it exported."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from shotverse_jax import cli, lora, weights
from shotverse_jax.config import LoraConfig, captioner_nano
from shotverse_jax.configs.captioner import base, qwen3vl_2b, small
from shotverse_jax.cost import flops
from shotverse_jax.infer.captions import Captioner
from shotverse_jax.infer.generate import bucket
from shotverse_jax.parallel.mesh import make_mesh
from shotverse_jax.train import build, outline, read_config, view_probe
from shotverse_jax.train.state import init_state, make_optimizer, merge
from shotverse_jax.train.step import make_train_step
from shotverse_jax.train.tasks import captioner

SIZES = dict(height=16, width=24, text_length=192, answer_length=96)


def config(**changes):
    values = dict(steps=4, batch=8, lr=1e-3, warmup=1, ema=0.0, bpe_examples=20, **SIZES) | changes
    return read_config(base.get_config(captioner_nano(), **values).to_dict())


def run(task, steps):
    """The state after some steps of one batch, and (the words' loss, the view probe's) of each."""
    optimizer, schedule = make_optimizer(task.config)
    state = init_state(task.trainable, optimizer, ema=False)
    step = make_train_step(task.loss, optimizer, schedule, 0.0)
    kind, batch = task.source("train", 1)[0]
    losses = []
    for _ in range(steps):
        state, metrics = step(state, task.frozen, batch, jax.random.key(0), bucket=kind)
        view = float(metrics.get("view", 0.0))
        losses.append((float(metrics["loss"]) - task.config.view_weight * view, view))
    return state, losses


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(the folder of an export, the losses of its run)."""
    folder = tmp_path_factory.mktemp("captioner")
    task = build(config(view_weight=0.5), folder / "run")
    state, losses = run(task, 4)
    task.export(merge(state.params, task.frozen), folder / "export")
    return folder / "export", losses


def test_the_loss_falls_from_that_of_guessing(trained):
    words, views = zip(*trained[1], strict=True)
    assert words[0] == pytest.approx(np.log(300), rel=0.05) and words[-1] < words[0] - 0.1
    assert 0 < views[-1] < views[0]
    # The probe stays behind.
    assert set(weights.load("qwen3_vl", trained[0]).params) == {"text", "vision"}


def test_captions_of_an_export(trained):
    captioner_, rng = Captioner.load(trained[0]), np.random.default_rng(0)
    clips = [rng.integers(0, 256, (frames, 20, 30, 3), dtype=np.uint8) for frames in (4, 9)]
    drawn = captioner_.captions(clips, samples=2, temperature=1.0, seed=1)
    assert [len(texts) for texts in drawn] == [2, 2] and drawn[0][0] != drawn[0][1]
    # The first captions depend neither on how many follow nor on the clips that follow.
    assert captioner_.captions(clips[:1], samples=2, temperature=1.0, seed=1) == drawn[:1]
    greedy = captioner_.captions(clips, samples=2, temperature=0.0)
    assert greedy[0][0] == greedy[0][1]
    with pytest.raises(ValueError, match=r"a clip is uint8 \[frames, height, width, 3\], got float32"):
        captioner_.captions([clips[0].astype(np.float32)])


def test_the_command_writes_a_line_a_shot(trained, tmp_path, capsys):
    from shotverse_jax.views.video import write_video

    frames = np.random.default_rng(0).integers(0, 256, (12, 32, 48, 3), dtype=np.uint8)
    write_video(tmp_path / "film.mp4", frames, 8.0)
    asked = ["caption", str(tmp_path), "--model", str(trained[0]), "--quiet"]
    out = tmp_path / "captions.json"
    assert cli.main([*asked, "--cuts", "5", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["shot 1 (0-4)", "shot 2 (5-11)"]
    assert [row["frames"] for row in json.loads(out.read_text())] == [[0, 5], [5, 12]]
    assert cli.main([*asked, "--cuts", "12"]) == 2
    assert "cuts are rising frame numbers, 1 to 11" in capsys.readouterr().err
    assert cli.main(["caption", str(out.parent / "nothing.mp4"), "--endpoint", "http://localhost:1/v1"]) == 2
    assert "--endpoint and --endpoint-model go together" in capsys.readouterr().err


def test_adapters_and_a_frozen_tower_learn_alone(trained, tmp_path):
    values = dict(base_weights=str(trained[0]), freeze_vision=True)
    adapted = config(**values, lora=dataclasses.asdict(LoraConfig(rank=2, alpha=2.0)))
    task = build(adapted, tmp_path)
    assert set(task.trainable) == {"params", "lora"} and not jax.tree.leaves(task.trainable["params"])
    assert set(task.frozen["params"]) == {"text", "vision"}
    state, _ = run(task, 2)
    learned = merge(state.params, task.frozen)
    task.export(learned, tmp_path / "export")
    _, params, _ = weights.load("qwen3_vl", tmp_path / "export")
    folded = lora.merge(learned["params"]["text"], learned["lora"]["text"])
    at = ("layers", "self_attn", "q_proj", "kernel")
    kernel, wanted = params["text"], folded
    for name in at:
        kernel, wanted = kernel[name], wanted[name]
    np.testing.assert_allclose(kernel, wanted, rtol=1e-2, atol=1e-4)
    whole = build(config(**values), tmp_path / "whole")
    assert set(whole.trainable["params"]) == {"text"} and set(whole.frozen["params"]) == {"vision"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"freeze_vision": True}, "base_weights must name a network"),
        ({"lora": dataclasses.asdict(LoraConfig(rank=2, alpha=2.0))}, "base_weights must name one"),
        ({"data": "clips"}, "data and test_data go together"),
        ({"data": "clips", "test_data": "clips", "view_weight": 0.1}, "which the clips of data have not"),
    ],
)
def test_values_that_do_not_fit(values, words):
    with pytest.raises(ValueError, match=words):
        config(**values)


def test_a_base_of_another_size_is_refused(trained, tmp_path):
    with pytest.raises(ValueError, match="is another than the config's"):
        build(read_config(small.get_config().to_dict() | {"base_weights": str(trained[0])}), tmp_path)


def test_the_view_probe_reads_the_tokens_of_its_own_pair():
    """Of two pairs of two tokens each, between words."""
    rng = np.random.default_rng(0)
    feature_BT, kernel = np.array([[-1, 0, 1, -1, 2, 3, -1]]), rng.normal(size=(5, 10))
    x_BTD = rng.normal(size=(1, 7, 5)).astype(np.float32)
    target_BFY = np.stack([x_BTD[:, 1:3].mean(1), x_BTD[:, 4:6].mean(1)], axis=1) @ kernel + 1
    probe = {"kernel": kernel, "bias": np.ones(10)}
    assert float(view_probe.view_loss(probe, x_BTD, feature_BT, target_BFY, 2)) < 1e-9
    assert float(view_probe.view_loss(probe, x_BTD, feature_BT, target_BFY[:, ::-1], 2)) > 0.1


def test_the_outline_is_the_run(tmp_path):
    sized = config(view_weight=0.5)
    task, shapes = build(sized, tmp_path), outline(sized, make_mesh(sized.mesh))
    of = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype)), tree)  # noqa: E731
    assert of(shapes.trainable) == of(task.trainable)
    _, batch = next(task.batches("train"))
    assert of(shapes.batch) == of(batch)


@pytest.mark.parametrize("learns", ["all", "lora"])
def test_the_recipe_of_the_2b_model(learns):
    recipe = read_config(qwen3vl_2b.get_config(learns).to_dict())
    tower, decoder, head = captioner.work(recipe)
    # 2 operations for each of the decoder's weights and tokens, and attention; the head sees answers alone.
    assert decoder.linear == 2 * recipe.text_length * 28 * 50_331_648
    assert head.linear == 2 * recipe.answer_length * 2048 * 151936
    assert tower.step() == tower.forward and (decoder.adapter > 0) == (learns == "lora")
    assert flops.qwen3_vision(recipe.model.vision, 1, 4).linear == 2 * (
        4 * 1536 * 1024 + 24 * 4 * 12 * 1024**2 + 4 * 4096 * (4096 + 2048)
    )


def test_buckets_are_few():
    sizes = [bucket(length) for length in range(1, 4000)]
    assert all(size >= length for length, size in enumerate(sizes, 1)) and len(set(sizes)) < 60
    assert all(size < 1.2 * length for length, size in enumerate(sizes, 1) if length > 300)
