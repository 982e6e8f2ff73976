"""The way from converted files of CLaTr to latents and scores."""

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from shotverse_jax import cli, weights
from shotverse_jax.camera import se3
from shotverse_jax.config import CLaTrConfig, CLIPTextConfig
from shotverse_jax.conversion import clatr as clatr_files
from shotverse_jax.conversion import clip as clip_files
from shotverse_jax.conversion import core
from shotverse_jax.conversion.networks import NETWORKS
from shotverse_jax.evaluation.features.clatr import CLaTrReader, Gaussians
from shotverse_jax.evaluation.metrics.clatr_score import clatr_score
from shotverse_jax.inputs.clatr import from_items, shot_features
from shotverse_jax.inputs.clip import tokenize
from shotverse_jax.models.clatr import CLaTr
from shotverse_jax.models.clip import CLIPText


def path(frames=120, seed=0):
    rng = np.random.default_rng(seed)
    turn, go = rng.normal(0, 0.02, (2, frames, 3)).cumsum(axis=1)
    return np.concatenate([se3.so3_exp(turn), go[..., None]], axis=-1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Converted folders of a small CLaTr and of a small text tower."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    root, rng = tmp_path_factory.mktemp("clatr"), np.random.default_rng(0)
    tower = CLIPTextConfig(vocab_size=12, hidden_size=16, num_layers=2, num_heads=2, mlp_size=20, max_positions=9)
    config = CLaTrConfig(hidden_size=16, num_layers=2, num_heads=4, mlp_size=24, text_size=16)
    parts = {
        "clatr": (clatr_files.TABLE, NETWORKS["clatr"].abstract(config)),
        "clip-text": (clip_files.TEXT_TABLE, NETWORKS["clip-text"].abstract(tower)),
    }
    words = ["!", "<|startoftext|>", "<|endoftext|>", "pan", "left", "right"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="!"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(root / "tokenizer.json"))
    values = {"text_config": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}}
    values["text_config"] |= {"vocab_size": 12, "intermediate_size": 20, "max_position_embeddings": 9}
    (root / "config.json").write_text(str(values).replace("'", '"'))
    for name, (table, abstract) in parts.items():
        params = jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), abstract)
        save_file(core.to_torch(table, params), root / f"{name}.safetensors")
        given = ["--tokenizer", str(root / "tokenizer.json")] if name == "clip-text" else []
        source = str(root / f"{name}.safetensors")
        assert cli.main(["convert", source, "--as", name, "--out", str(root / name), "--quiet", *given]) == 0
    return root


def test_from_converted_files_to_a_score(folders):
    reader = CLaTrReader.load(folders / "clatr", folders / "clip-text")
    config, params, tower = reader.config, reader.params, reader.tower
    assert tower[0].activation == "quick_gelu" and config.text_size == 16 and not reader.published
    paths = [path(seed=i) for i in range(3)]
    captions = ["pan left", "pan right", "left left right pan"]
    traj, text = reader.read_shots(paths), reader.read_captions(captions)
    assert traj.mu_ND.shape == text.latents.logvar_ND.shape == text.end_ND.shape == (3, 16)

    ids_NT, real_NT = tokenize(tower[2], captions, 9)
    length = int(real_NT[0].sum())
    states_1TD = jax.jit(CLIPText(tower[0]).apply)({"params": tower[1]}, ids_NT[:1, :length], real_NT[:1, :length])
    features_1TC = shot_features(paths[0])[None]
    ones = np.ones((1, 120), bool), np.ones((1, length), bool)
    read = jax.jit(CLaTr(config).apply)({"params": params}, features_1TC, ones[0], states_1TD, ones[1])
    np.testing.assert_allclose(traj.mu_ND[0], read.traj.mu_BD[0], atol=1e-5)
    np.testing.assert_allclose(traj.logvar_ND[0], read.traj.logvar_BD[0], atol=1e-5)
    np.testing.assert_allclose(text.latents.mu_ND[0], read.text.mu_BD[0], atol=1e-5)
    np.testing.assert_allclose(text.end_ND[0], states_1TD[0, -1], atol=1e-5)
    np.testing.assert_allclose(reader.decode(traj.mu_ND)[:1], from_items(config, read.traj_recon_BTC), atol=1e-4)
    assert 0 <= clatr_score(traj.mu_ND, text.latents.mu_ND)["clatr_score"] <= 100


def test_one_draw_of_a_latent():
    latent = Gaussians(np.full((4000, 2), 3.0, np.float32), np.full((4000, 2), np.log(0.25), np.float32))
    drawn = latent.draw(np.random.default_rng(0))
    np.testing.assert_allclose(drawn.mean(0), 3, atol=0.05)
    np.testing.assert_allclose(drawn.std(0), 0.5, atol=0.03)


def test_a_tower_of_another_width_or_none(folders):
    config, params, _ = weights.load("clatr", folders / "clatr")
    tower = weights.load("clip_text", folders / "clip-text")
    with pytest.raises(ValueError, match="CLaTr reads texts of 512 numbers a token, and this tower makes 16"):
        CLaTrReader("x", CLaTrConfig(), params, tower)
    reader = CLaTrReader.load(folders / "clatr")
    assert reader.read_shots([path(9)]).mu_ND.shape == (1, 16)
    with pytest.raises(ValueError, match="has no text tower"):
        reader.read_captions(["pan"])
    assert CLaTrReader("clatr-motion", CLaTrConfig(), {}).title == "clatr-motion"
    assert CLaTrReader("a/clatr_small", config, {}).title == "clatr_small, not CLaTr"
