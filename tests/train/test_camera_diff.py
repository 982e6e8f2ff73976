"""The controllers that CameraDiff's adapters can be trained on."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from shotverse_jax import weights
from shotverse_jax.config import ControllerTrainConfig, controller_small
from shotverse_jax.configs.cinematic import camera_diff_small
from shotverse_jax.infer.cinematographer import Cinematographer
from shotverse_jax.infer.need import Networks
from shotverse_jax.models.camera_encoder import split_camera
from shotverse_jax.models.controller import Controller
from shotverse_jax.parallel.mesh import make_mesh
from shotverse_jax.train import read_config
from shotverse_jax.train.camera_diff import on_base
from shotverse_jax.train.tasks.controller import adapt


def config(base="", **model) -> ControllerTrainConfig:
    made = read_config(camera_diff_small.get_config().to_dict() | {"base_weights": str(base)})
    return dataclasses.replace(made, model=dataclasses.replace(made.model, **model))


@pytest.fixture
def without_cameras(controller_folder, tmp_path):
    """The same folder, whose config says that no expert has cameras."""
    shutil.copytree(controller_folder, tmp_path / "bare")
    values = json.loads((tmp_path / "bare" / "config.json").read_text()) | {"camera": "none", "shared_noise": 0.25}
    (tmp_path / "bare" / "config.json").write_text(json.dumps(values))
    return tmp_path / "bare"


def test_the_model_is_that_of_the_base(controller_folder, without_cameras):
    made = on_base(config(without_cameras, frames=9), ("high", "low"))
    assert (made.model.shared_noise, made.model.frames, made.model.lora.rank) == (0.25, 9, 8)
    assert made.model.dit.hidden_size == 64 and made.model.dit.rope == "shotverse4d"
    shutil.copy(without_cameras / "low.safetensors", without_cameras / "base.safetensors")
    assert on_base(config(without_cameras), ("high",)).model.dit.rope == "wan3d"
    on_base(config(controller_folder), ("low",))  # which no camera steers


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"base": ""},
            "give --config.base_weights, a controller without cameras: what `shotverse get wan2.2",
        ),
        ({"camera": "high"}, "belong to a model without cameras; give --config.model.camera=none"),
        ({}, "the expert high of .* is told where the camera is, and learns nothing of it from words"),
    ],
)
def test_controllers_with_cameras_are_refused(change, said, controller_folder):
    with pytest.raises(ValueError, match=said):
        on_base(config(**({"base": controller_folder} | change)), ("high",))


def test_a_config_without_cameras_drops_those_of_the_base(controller_folder):
    known, base, _ = weights.load("controller", controller_folder, expert="high")
    model = dataclasses.replace(known, camera="none", lora=controller_small().lora)
    assert split_camera(base)[1]
    mesh = make_mesh(camera_diff_small.get_config().mesh)
    trainable, frozen = adapt(model, Controller(model, None, "high"), base, None, jax.random.key(0), mesh)
    assert set(trainable) == {"lora"} and not split_camera(frozen["params"]["dit"])[1]


def test_a_folder_with_the_base_alone_films_with_it(without_cameras):
    (without_cameras / "low.safetensors").rename(without_cameras / "base.safetensors")
    for file in (*without_cameras.glob("high.*"), *without_cameras.glob("low.*")):
        file.unlink()
    crew = Cinematographer.load(without_cameras)
    assert crew.design.experts == Networks.of(without_cameras).experts == ("base", "base")
    np.testing.assert_array_equal(*(part["head"]["kernel"] for part in (crew.high, crew.low)))
