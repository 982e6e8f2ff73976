"""CameraCLIP's run: its loss by hand, steps from a config to a folder, and the last layers of a CLIP alone."""

import dataclasses

import jax
import numpy as np
import pytest
import small_models

from shotverse_jax.cinematic import facts
from shotverse_jax.cinematic.phrases import CLASSES
from shotverse_jax.cinematic.scorer import CameraScorer
from shotverse_jax.configs.cinematic import camera_clip, camera_clip_small
from shotverse_jax.inputs.clip import load_clip_tokenizer, tokenize
from shotverse_jax.train import build, contrast_losses, read_config
from shotverse_jax.train.state import init_state, make_optimizer, merge
from shotverse_jax.train.step import make_train_step

TEXTS = ["the camera pans left", "zoom in"]
NANO = small_models.camera_clip_config()


def test_the_loss_by_hand():
    logits = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
    right, left_out = np.zeros((2, 3, 3), bool)
    right[0, 1] = left_out[2, 0] = True  # the second text is right for the first clip; the first is open for the third

    def entropy(logits, right, left_out):
        total = 0
        for row, targets, out in zip(logits, right | np.eye(3, dtype=bool), left_out, strict=True):
            shares = np.exp(row) * ~(out & ~targets) / (np.exp(row) * ~(out & ~targets)).sum()
            total -= np.log(shares[targets]).mean()
        return total / 3

    expected = (entropy(logits, right, left_out) + entropy(logits.T, right.T, left_out.T)) / 2
    np.testing.assert_allclose(contrast_losses.multi_positive(logits, right, left_out), expected, rtol=1e-5)
    # With one right text each it is InfoNCE.
    a, b = np.random.default_rng(1).normal(size=(2, 4, 5)).astype(np.float32)
    none = np.zeros((4, 4), bool)
    cosine = contrast_losses.unit(a) @ contrast_losses.unit(b).T
    np.testing.assert_allclose(
        contrast_losses.multi_positive(cosine / 0.1, none, none), contrast_losses.info_nce(a, b, none, 0.1), rtol=1e-5
    )


def values(config=camera_clip_small, **more):
    nano = {"model": dataclasses.asdict(NANO), "height": 16, "width": 16, "batch": 20, "bpe_examples": 20}
    return config.get_config().to_dict() | nano | {"text_length": 0, "warmup": 0, "ema": 0.0, "execution": {}} | more


def made(tokenizer_file, count=5):
    """A batch of noise, each clip with a class as its text."""
    rng, names = np.random.default_rng(0), list(CLASSES)[:count]
    ids_BS, real_BS = tokenize(load_clip_tokenizer(tokenizer_file), names, 24)
    facts_BK = np.stack([facts.numbers({"text": name}) for name in names])
    return {
        "frames_BTHWC": rng.integers(0, 256, (count, 4, 16, 16, 3)).astype(np.uint8),
        "motion_BFY": rng.normal(size=(count, 3, 8)).astype(np.float32),
        "ids_BS": ids_BS,
        "real_BS": real_BS,
        "facts_BK": facts_BK,
        "said_BK": facts_BK,
    }


def test_a_run_from_config_to_folder(tmp_path):
    """Steps on one batch: its texts find their clips; the export scores as the run does."""
    task = build(
        read_config(values(optimizer="adamw", lr=2e-2, view_weight=0.3, blur=0, noise=0.0, tint=0.0)), tmp_path
    )
    optimizer, schedule = make_optimizer(task.config)
    state = init_state(task.trainable, optimizer, ema=False)
    step = make_train_step(task.loss, optimizer, schedule, task.config.ema)
    batch, found = made(tmp_path / "tokenizer.json"), []
    for _ in range(12):
        state, metrics = step(state, task.frozen, batch, jax.random.key(0), None)
        found.append(metrics)
    first, last = found[0], found[-1]
    assert first["scale"] == pytest.approx(1 / 0.07, rel=0.01)
    assert last["contrast"] < 0.6 * first["contrast"] and last["view"] < 0.9 * first["view"]
    assert last["text_first"] > first["text_first"]
    task.export(jax.device_get(state.averaged), tmp_path / "export")
    scorer = CameraScorer.load(tmp_path / "export")
    assert scorer.config == NANO
    clips = list(batch["frames_BTHWC"][:2])
    trained = dataclasses.replace(scorer, params=state.averaged["params"])
    # The export is in bfloat16.
    np.testing.assert_allclose(scorer.video_features(clips), trained.video_features(clips), atol=0.05)
    check_compiled(scorer, batch["frames_BTHWC"][:2])


def check_compiled(scorer, clips):
    """Inside a compiled program scores are the same, and they have a gradient in the frames."""
    cosine_BN, text_NJ = scorer.scores(list(clips), TEXTS), scorer.text_features(TEXTS)
    assert cosine_BN.shape == (2, 2) and np.abs(cosine_BN).max() <= 1

    @jax.jit
    def ascent(params, frames_BTHWC):
        return jax.value_and_grad(lambda x: scorer.score(params, x, text_NJ)[0, 1])(frames_BTHWC)

    called = jax.jit(lambda score, x: score(x))(scorer.of(TEXTS), clips)
    np.testing.assert_allclose(called, cosine_BN, atol=1e-5)
    value, gradient = ascent(scorer.params, clips.astype(np.float32) / 255)
    np.testing.assert_allclose(value, cosine_BN[0, 1], atol=1e-5)
    assert np.abs(gradient[0]).max() > 0 and not np.asarray(gradient[1]).any()


def test_the_last_layers_of_a_clip_learn_and_the_others_stay(tmp_path):
    """The base has no temporal code; before the first step the export has its towers."""
    base = small_models.camera_clip(tmp_path, temporal="mean")
    given = values(camera_clip, base_weights=str(base), image_layers=1, text_layers=1, temperature=0.0, data="")
    last = build(read_config(given), tmp_path / "run")
    learned = last.trainable["params"]
    assert learned["image"]["tower"].keys() == {"last", "post_norm"} and learned["image"].keys() == {"tower", "project"}
    assert learned["text"]["tower"].keys() == {"last", "final_norm"} and "code" in learned
    assert {"embedding", "layers", "positions", "patch_embed"} < last.frozen["params"]["image"]["tower"].keys()
    last.export(jax.device_get(merge(last.trainable, last.frozen)), tmp_path / "export")
    params = CameraScorer.load(tmp_path / "export").params
    old = CameraScorer.load(base).params
    jax.tree.map(np.testing.assert_array_equal, params["image"], old["image"])
    with pytest.raises(ValueError, match="is another than the config's"):
        other = dataclasses.asdict(dataclasses.replace(NANO, joint_size=6))
        build(read_config(given | {"model": other}), tmp_path / "other")
