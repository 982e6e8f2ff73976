"""The three stages of a controller's training, one after the other, on a handful of encoded films."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from shotverse_jax.config import TEXT_ENCODERS, LoraConfig, UMT5Config, WanDiTConfig, controller_small
from shotverse_jax.configs.controller import common
from shotverse_jax.data.encode import PromptRecords, to_states, write_negative
from shotverse_jax.data.records import Records, write_dataset
from shotverse_jax.train import build, read_config
from shotverse_jax.train.placement import Placement
from shotverse_jax.train.state import init_state, make_optimizer, merge
from shotverse_jax.train.step import make_eval_step, make_train_step
from shotverse_jax.weights import load, load_adapter
from shotverse_jax.weights.trees import flatten

PROMPT = (
    "[global caption] A man. This scene contains 2 shots. [per shot caption] Push in. [shot cut] The camera pans left."
)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("films"), np.random.default_rng(0)
    pose_T34 = np.tile(np.eye(3, 4, dtype=np.float32), (3, 1, 1))
    pose_T34[:, :, 3] = rng.normal(size=(3, 3))
    shot_T = np.array([0, 0, 1], np.int32)
    rows = [
        {
            "latents": rng.normal(size=(3, 2, 4, 4)).astype(np.float16),
            "pose_T34": pose_T34,
            "shot_T": shot_T,
            "subject_THW": np.repeat(rng.integers(0, 2, (3, 16, 4), np.uint8), 8, axis=2),
            "prompt": PROMPT,
        }
        for _ in range(4)
    ]
    write_dataset(folder, rows, {})
    return folder


@pytest.fixture(scope="module")
def values(films):
    text = UMT5Config(vocab_size=4096, hidden_size=16, num_layers=1, num_heads=2, head_dim=8, mlp_size=32)

    def make(stage, **options):
        config = common.get_config(
            expert=stage, data=str(films), test_data=str(films), batch=2, steps=8, lr=1e-2, warmup=1, ema=0.0
        )
        dit = WanDiTConfig(
            hidden_size=24, num_layers=2, num_heads=2, mlp_size=32, frequency_size=16, text_size=16, latent_channels=4
        )
        lora = LoraConfig(rank=4, alpha=4.0, targets=("q_proj", "k_proj", "v_proj", "o_proj", "ffn_in", "ffn_out"))
        model = dataclasses.replace(controller_small(), dit=dit, lora=lora)
        config.model = ConfigDict(json.loads(json.dumps(dataclasses.asdict(model))))
        for name, value in options.items():
            if name == "text":
                config.model.text = value
            else:
                config[name] = value
        return config.to_dict()

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TEXT_ENCODERS, "text_small", lambda: text)
        yield make


@pytest.fixture(scope="module")
def base(values, tmp_path_factory):
    """A base model that has learned nothing yet, exported with its text encoder."""
    folder = tmp_path_factory.mktemp("base")
    task = build(read_config(values("base")), folder)
    task.export(merge(jax.device_get(task.trainable), task.frozen), folder / "base")
    return folder / "base"


def run(values, folder, steps=8):
    """The task and the state after some steps, with the losses."""
    task = build(read_config(values), folder)
    optimizer, schedule = make_optimizer(task.config)
    before = jax.device_get(flatten(task.trainable))
    state = init_state(task.trainable, optimizer, ema=False)
    place = Placement.of(task.config, state, task.frozen)  # as in a run: else the second step compiles again
    state, frozen = place.put(state, task.frozen)
    step = make_train_step(task.loss, optimizer, schedule, 0.0, place)
    losses = []
    for bucket, batch in [task.source("train", steps)[i] for i in range(steps)]:
        state, metrics = step(state, frozen, batch, jax.random.key(0), bucket)
        losses.append(float(metrics["loss"]))
    return task, state, before, losses


def moved(before, after):
    after = jax.device_get(flatten(after))
    return {name for name in before if not np.array_equal(before[name], after[name])}


@pytest.mark.slow
def test_base_then_high_then_low(values, tmp_path):
    task, state, before, losses = run(values("base"), tmp_path)
    assert np.isfinite(losses).all()
    assert moved(before, state.params) == set(before)  # the whole network and the text encoder learn
    bucket, batch = task.source("test", 1)[0]
    evaluate = make_eval_step(task.loss)
    first, again = (evaluate(state.params, task.frozen, batch, bucket=bucket)["loss"] for _ in range(2))
    assert first == again
    task.export(merge(jax.device_get(state.params), task.frozen), tmp_path / "base")
    _, base, _ = load("controller", tmp_path / "base", expert="base")
    text_config, text, _ = load("text_encoder", tmp_path / "base" / "text")
    assert text_config.hidden_size == 16

    for stage in ("high", "low"):
        options = {"base_weights": str(tmp_path / "base"), "text": str(tmp_path / "base" / "text")}
        task, state, before, losses = run(values(stage, **options), tmp_path)
        frozen = flatten(task.frozen)
        np.testing.assert_array_equal(frozen["params/dit/patch_embed/kernel"], base["patch_embed"]["kernel"])
        np.testing.assert_array_equal(frozen["params/text/embedding"], text["embedding"])
        cameras = {name for name in before if "camera" in name}
        assert bool(cameras) == (stage == "high") and all("adapter" in name for name in set(before) - cameras)
        assert moved(before, state.params) == set(before)
        task.export(merge(jax.device_get(state.params), task.frozen), tmp_path / "controller")
        config, params, _ = load("controller", tmp_path / "controller", expert=stage)
        assert config.expert(stage).camera == (stage == "high")
        changed = params["blocks"]["ffn_in"]["kernel"] - base["blocks"]["ffn_in"]["kernel"]
        assert np.abs(changed).max() > 1e-3  # the adapter is folded in
        _, adapter, cameras = load_adapter(tmp_path / "controller" / "adapter", stage)  # and there unmerged
        entry = adapter["blocks"]["ffn_in"]["adapter"]
        np.testing.assert_allclose(entry.scale * entry.a @ entry.b, changed, atol=0.02 * np.abs(changed).max())
        assert bool(cameras) == (stage == "high")

        more = values(stage, **options | {"base_weights": str(tmp_path / "controller")})  # it has no base model
        task = build(read_config(more), tmp_path)
        start = flatten(task.frozen) | flatten(task.trainable)
        for name in ("ffn_in", "camera") if stage == "high" else ("ffn_in",):
            np.testing.assert_array_equal(start[f"params/dit/blocks/{name}/kernel"], params["blocks"][name]["kernel"])


def test_the_weight_of_subjects_is_in_the_loss(values, tmp_path):
    def loss(weight):
        task = build(read_config(values("base", subject_weight=weight)), tmp_path)
        bucket, batch = task.source("train", 1)[0]
        step = jax.jit(task.loss, static_argnums=2)
        return float(step(merge(task.trainable, task.frozen), batch, bucket, jax.random.key(0))[0])

    equal, more = loss(1.0), loss(9.0)
    assert np.isfinite(more) and abs(more - equal) > 1e-3 * equal


def test_experts_without_adapters_are_refused(values, base, tmp_path):
    wrong = values("high", base_weights=str(base), text=str(base / "text"))
    wrong["model"]["lora"] = None
    with pytest.raises(ValueError, match="give config.lora a rank"):
        build(read_config(wrong), tmp_path)


def test_recorded_text_states_train_as_the_encoder_does(values, base, films, tmp_path):
    text = base / "text"
    transform, settings, tokenizer, negative = to_states(str(text), 2, 128, "")
    stored = tmp_path / "states"
    write_dataset(stored, PromptRecords(Records(films), tokenizer, 128), settings, transform)
    write_negative(stored, negative)

    options = {"base_weights": str(base), "text": str(text), "text_dropout": 0.5}
    _, _, _, expected = run(values("high", **options), tmp_path, steps=4)
    (tmp_path / "moved").mkdir()
    options |= {"text": str(tmp_path / "nowhere" / "text"), "data": str(stored), "test_data": str(stored)}
    task, _, _, losses = run(values("high", **options), tmp_path / "moved", steps=4)
    np.testing.assert_allclose(losses, expected, rtol=2e-3)
    assert not any(name.startswith("params/text") for name in flatten(task.frozen))
    assert not list((tmp_path / "moved").iterdir())  # no tokenizer to pin
    for wrong, change in (("text states", {"text": "umt5_xxl"}), ("text states", {"test_data": str(films)})):
        with pytest.raises(ValueError, match=wrong):
            run(values("high", **options | change), tmp_path / "moved", steps=1)
