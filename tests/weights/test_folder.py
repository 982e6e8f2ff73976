"""Folders of every model: what is exported loads again, as the model it is and no other."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open

from shotverse_jax import weights
from shotverse_jax.config import ControllerConfig, LoraConfig, UMT5Config, WanDiTConfig, WanVAEConfig
from shotverse_jax.inputs.tokenizer import train_text_tokenizer

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


def params_of(kind, config, **expert):
    return drawn(weights.abstract(kind, config, **expert))


def assert_rounded(loaded, params):
    assert jax.tree.structure(loaded) == jax.tree.structure(params)
    for ours, theirs in zip(jax.tree.leaves(loaded), jax.tree.leaves(params), strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, theirs.astype(jnp.bfloat16).astype(np.float32))


def test_vae(tmp_path):
    params = params_of("vae", VAE)
    weights.export("vae", params, VAE, tmp_path)
    config, loaded, _ = weights.load("vae", tmp_path)
    assert config == VAE
    assert_rounded(loaded, params)
    with safe_open(tmp_path / "model.safetensors", framework="np") as file:
        assert file.metadata() == {"format": "shotverse_jax VAE"}


def test_text_encoder(tmp_path, tokenizer_file):
    params = params_of("text_encoder", TEXT)
    weights.export("text_encoder", params, TEXT, tmp_path, tokenizer_file=tokenizer_file)
    config, loaded, tokenizer = weights.load("text_encoder", tmp_path)
    assert config == TEXT and tokenizer.encode("The camera").ids
    assert_rounded(loaded, params)


@pytest.mark.parametrize("attention", ["full", "sparse"])
def test_experts_share_a_folder(tmp_path, attention):
    config = dataclasses.replace(CONTROLLER, dit=dataclasses.replace(CONTROLLER.dit, self_attention=attention))
    saved = {}
    for expert in ("high", "low", "base"):
        saved[expert] = params_of("controller", config, expert=expert)
        weights.export("controller", saved[expert], config, tmp_path, expert=expert)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "base.safetensors",
        "base.sha256",
        "config.json",
        "high.safetensors",
        "high.sha256",
        "low.safetensors",
        "low.sha256",
    ]
    for expert, params in saved.items():
        again, loaded, _ = weights.load("controller", tmp_path, expert=expert)
        assert again == dataclasses.replace(config, lora=None)
        assert_rounded(loaded, params)
    has_camera = {expert: "camera" in str(jax.tree.structure(params)) for expert, params in saved.items()}
    assert has_camera == {"high": True, "low": False, "base": False}

    (tmp_path / "high.safetensors").replace(tmp_path / "low.safetensors")
    with pytest.raises(ValueError, match=r"low.safetensors is not as it was written"):
        weights.load("controller", tmp_path, expert="low")
    (tmp_path / "low.sha256").unlink()
    with pytest.raises(ValueError, match=r"low.safetensors do not fit .* unexpected blocks/camera"):
        weights.load("controller", tmp_path, expert="low")
    with pytest.raises(ValueError, match="is not a controller: it has no high.safetensors"):
        weights.load("controller", tmp_path, expert="high")


def test_an_expert_that_does_not_exist(tmp_path):
    with pytest.raises(ValueError, match='has the experts "high", "low" and "base", got "middle"'):
        weights.export("controller", {}, CONTROLLER, tmp_path / "new", expert="middle")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("kind", "title", "files"),
    [
        ("vae", "VAE", "config.json and no model.safetensors"),
        ("text_encoder", "text encoder", "config.json and no tokenizer.json and no model.safetensors"),
        ("controller", "controller", "config.json and no base.safetensors"),
    ],
)
def test_folders_that_are_missing_or_empty(tmp_path, kind, title, files):
    expert = "base" if kind == "controller" else None
    with pytest.raises(ValueError, match=f"no {title} called nothing_here: give a folder or the name of a shipped"):
        weights.load(kind, "nothing_here", expert=expert)
    with pytest.raises(ValueError, match=f"is not a {title}: it has no {files}$"):
        weights.load(kind, tmp_path, expert=expert)


def test_a_folder_of_another_kind(tmp_path, tokenizer_file):
    weights.export(
        "text_encoder",
        params_of("text_encoder", TEXT),
        TEXT,
        tmp_path,
        tokenizer_file=tokenizer_file,
    )
    with pytest.raises(ValueError, match=f"^{tmp_path} is a text encoder, not a VAE$"):
        weights.load("vae", tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    assert values.pop("kind") == "text_encoder"
    (tmp_path / "config.json").write_text(json.dumps(values))  # as folders were before they named their kind
    assert weights.load("text_encoder", tmp_path).config == TEXT
    with pytest.raises(ValueError, match="WanVAEConfig has no "):
        weights.load("vae", tmp_path)


def test_shipped_names_are_listed_by_kind():
    with pytest.raises(ValueError, match=r"a shipped one \((\w+, )*planner_small(, \w+)*\)"):
        weights.load("planner", "planner_nowhere")
    with pytest.raises(ValueError) as error:
        weights.load("vae", "vae_nowhere")
    assert "planner_small" not in str(error.value)


def test_nan_is_not_exported(tmp_path):
    params = params_of("vae", VAE)
    params["quant"]["bias"][0] = np.nan
    with pytest.raises(ValueError, match="parameter quant/bias holds NaN"):
        weights.export("vae", params, VAE, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_names_are_looked_for_as_paths_then_shipped_then_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOTVERSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    fetched, own = tmp_path / "cache" / "models", tmp_path / "vae_mine"
    for folder in (fetched / "vae_mine", fetched / "vae_small", fetched / ".vae_half.getting"):
        weights.export("vae", params_of("vae", VAE), VAE, folder)
    assert weights.find("vae", "vae_mine") == fetched / "vae_mine"
    assert weights.find("vae", "vae_small") == weights.folder.SHIPPED / "vae_small"
    weights.export("vae", params_of("vae", VAE), VAE, own)
    assert weights.find("vae", "vae_mine").absolute() == own
    words = r"no VAE called x: give a folder or the name of a shipped one \(vae_small\) or of one that "
    with pytest.raises(ValueError, match=words + r"`shotverse get` fetched \(vae_mine, vae_small\)"):
        weights.find("vae", "x")
    with pytest.raises(ValueError, match=r"no controller called x: .* fetched \(none\)"):
        weights.find("controller", "x")
