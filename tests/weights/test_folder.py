"""Folders of every model: what is exported loads again, as the model it is and no other."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open

from shotverse_jax import weights as pretrained
from shotverse_jax.config import ControllerConfig, LoraConfig, UMT5Config, WanDiTConfig, WanVAEConfig
from shotverse_jax.inputs.tokenizer import train_text_tokenizer
from shotverse_jax.models.umt5 import UMT5Encoder
from shotverse_jax.models.wan_dit import WanDiT
from shotverse_jax.models.wan_vae import WanVAE

KEY = jax.random.key(0)
VAE = WanVAEConfig(4, 4, (1, 2), 1, (True,), (0.5, -1.0, 0.0, 0.25), (2.0, 0.5, 1.0, 1.5))
TEXT = UMT5Config(vocab_size=300, hidden_size=8, num_layers=2, num_heads=2, head_dim=4, mlp_size=16)
CONTROLLER = ControllerConfig(
    dit=WanDiTConfig(16, 2, 2, 32, frequency_size=8, text_size=8, latent_channels=4), lora=LoraConfig(2, 2.0)
)


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "tokenizer.json"
    train_text_tokenizer(["the camera pans left"], 300).save(str(path))
    return path


def drawn(tree):
    """Random values in the shapes of a tree; no program is compiled."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), tree)


def params_of(init, network):
    return drawn(jax.eval_shape(lambda: init(network, network.config, KEY))["params"])


def assert_rounded(loaded, params):
    assert jax.tree.structure(loaded) == jax.tree.structure(params)
    for ours, theirs in zip(jax.tree.leaves(loaded), jax.tree.leaves(params), strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, theirs.astype(jnp.bfloat16).astype(np.float32))


def test_vae(tmp_path):
    params = params_of(pretrained.init_vae, WanVAE(VAE))
    pretrained.export_vae(params, VAE, tmp_path)
    config, loaded = pretrained.load_vae(tmp_path)
    assert config == VAE
    assert_rounded(loaded, params)
    with safe_open(tmp_path / "model.safetensors", framework="np") as file:
        assert file.metadata() == {"format": "shotverse_jax VAE"}


def test_text_encoder(tmp_path, tokenizer_file):
    params = params_of(pretrained.init_text, UMT5Encoder(TEXT))
    pretrained.export_text(params, TEXT, tokenizer_file, tmp_path)
    config, loaded, tokenizer = pretrained.load_text(tmp_path)
    assert config == TEXT and tokenizer.encode("The camera").ids
    assert_rounded(loaded, params)


@pytest.mark.parametrize("attention", ["full", "sparse"])
def test_experts_share_a_folder(tmp_path, attention):
    config = dataclasses.replace(CONTROLLER, dit=dataclasses.replace(CONTROLLER.dit, self_attention=attention))
    saved = {}
    for expert in ("high", "low", "base"):
        dit = WanDiT(config.expert(expert))
        saved[expert] = params_of(pretrained.init_dit, dit)
        pretrained.export_expert(saved[expert], config, expert, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "base.safetensors",
        "config.json",
        "high.safetensors",
        "low.safetensors",
    ]
    for expert, params in saved.items():
        again, loaded = pretrained.load_expert(tmp_path, expert)
        assert again == dataclasses.replace(config, lora=None)
        assert_rounded(loaded, params)
    has_camera = {expert: "camera" in str(jax.tree.structure(params)) for expert, params in saved.items()}
    assert has_camera == {"high": True, "low": False, "base": False}

    (tmp_path / "high.safetensors").replace(tmp_path / "low.safetensors")
    with pytest.raises(ValueError, match=r"low.safetensors do not fit .* unexpected blocks/camera"):
        pretrained.load_expert(tmp_path, "low")
    with pytest.raises(ValueError, match="is not a controller: it has no high.safetensors"):
        pretrained.load_expert(tmp_path, "high")


def test_an_expert_that_does_not_exist(tmp_path):
    with pytest.raises(ValueError, match='has the experts "high", "low" and "base", got "middle"'):
        pretrained.export_expert({}, CONTROLLER, "middle", tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("load", "kind", "files"),
    [
        (pretrained.load_vae, "VAE", "config.json and no model.safetensors"),
        (pretrained.load_text, "text encoder", "config.json and no tokenizer.json and no model.safetensors"),
        (lambda name: pretrained.load_expert(name, "base"), "controller", "config.json and no base.safetensors"),
    ],
)
def test_folders_that_are_missing_or_empty(tmp_path, load, kind, files):
    with pytest.raises(ValueError, match=f"no {kind} called nothing_here: give a folder or the name of a shipped"):
        load("nothing_here")
    with pytest.raises(ValueError, match=f"is not a {kind}: it has no {files}$"):
        load(tmp_path)


def test_a_folder_of_another_kind(tmp_path, tokenizer_file):
    pretrained.export_text(params_of(pretrained.init_text, UMT5Encoder(TEXT)), TEXT, tokenizer_file, tmp_path)
    with pytest.raises(ValueError, match="WanVAEConfig has no "):
        pretrained.load_vae(tmp_path)


def test_shipped_names_are_listed_by_kind():
    with pytest.raises(ValueError, match=r"a shipped one \((\w+, )*planner_small(, \w+)*\)"):
        pretrained.load_planner("planner_nowhere")
    with pytest.raises(ValueError) as error:
        pretrained.load_vae("vae_nowhere")
    assert "planner_small" not in str(error.value)


def test_nan_is_not_exported(tmp_path):
    params = params_of(pretrained.init_vae, WanVAE(VAE))
    params["quant"]["bias"][0] = np.nan
    with pytest.raises(ValueError, match="parameter quant/bias holds NaN"):
        pretrained.export_vae(params, VAE, tmp_path / "new")
    assert not (tmp_path / "new").exists()
