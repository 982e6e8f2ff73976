"""CameraCLIP's temporal code, and its towers in two stacks; tests/parity compares the rest with transformers."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
import small_models

from shotverse_jax.config import CameraCLIPConfig, CameraCLIPTrainConfig
from shotverse_jax.models.camera_clip import CameraCLIP, as_mean, join_stack, split_stack
from shotverse_jax.weights import abstract

NANO = small_models.camera_clip_config()
IDS, REAL = np.array([[1, 9, 7, 2, 0], [1, 8, 2, 0, 0]], np.int32), np.array([[1] * 4 + [0], [1] * 3 + [0] * 2], bool)


@pytest.fixture(scope="module")
def params():
    return small_models.drawn(abstract("camera_clip", NANO), 0)


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(1).normal(size=(2, 3, 16, 16, 3)).astype(np.float32)


@functools.partial(jax.jit, static_argnames="config")
def vectors(params, frames, config=NANO):
    return CameraCLIP(config).apply({"params": params}, frames, method="encode_video").video_BJ


@functools.partial(jax.jit, static_argnames="kept")
def read(params, frames, kept=(0, 0)):
    return CameraCLIP(NANO, kept=kept).apply({"params": params}, frames, IDS, REAL)


def test_the_temporal_code_begins_as_the_mean_and_then_knows_the_order(params, frames):
    plain = dataclasses.replace(NANO, temporal="mean")
    towers = {name: params[name] for name in ("image", "text", "logit_scale")}
    mean, kernel = vectors(towers, frames, plain), params["code"]["out"]["kernel"]
    first = {"code": params["code"] | {"out": {"kernel": as_mean(None, kernel.shape)}}}
    np.testing.assert_allclose(vectors(params | first, frames), mean, atol=1e-6)
    assert np.abs(vectors(params, frames) - vectors(params, frames[:, ::-1])).max() > 0.01
    np.testing.assert_allclose(vectors(towers, frames, plain), vectors(towers, frames[:, ::-1], plain), atol=1e-6)


def test_two_stacks_are_the_tower(params, frames):
    divided = {}
    for side in ("image", "text"):
        stay, learn = split_stack(params[side]["tower"], 1)
        assert not stay.keys() & learn.keys()
        divided[side] = params[side] | {"tower": stay | learn}
        jax.tree.map(np.testing.assert_array_equal, join_stack(divided[side]["tower"]), params[side]["tower"])
    one, two = read(params, frames), read(params | divided, frames, kept=(1, 1))
    np.testing.assert_allclose(two.video_BJ, one.video_BJ, atol=1e-6)
    np.testing.assert_allclose(two.text_NJ, one.text_NJ, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: CameraCLIPConfig(frames=1), "frames must be 2 or more"),
        (lambda: CameraCLIPTrainConfig(accumulate=2), "accumulate must be 1 in a run of camera_clip"),
        (lambda: CameraCLIPTrainConfig(trained="last"), "base_weights must name one"),
        (lambda: CameraCLIPTrainConfig(view_weight=1.0, data="clips"), "view_weight needs the stage's own cameras"),
        (
            lambda: CameraCLIPTrainConfig(trained="last", base_weights="x", image_layers=13),
            "13 layers cannot be trained of a tower that has 12",
        ),
    ],
)
def test_values_that_do_not_go_together_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
