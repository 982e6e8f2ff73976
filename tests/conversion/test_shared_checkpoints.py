"""Checkpoints as people share them: below any prefix, in scaled fp8, in shards without an index, below a root."""

import functools
import json

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from shotverse_jax import cli, weights
from shotverse_jax.config import CLaTrConfig, UMT5Config, WanDiTConfig, WanVAEConfig
from shotverse_jax.conversion import core
from shotverse_jax.conversion.networks import NETWORKS, recognise
from shotverse_jax.conversion.sources import open_checkpoint

CONFIGS = {
    "wan-dit": WanDiTConfig(12, 2, 1, 20, 8, 10, 4, rope="wan3d", camera=False),
    "umt5": UMT5Config(vocab_size=20, hidden_size=8, num_layers=2, num_heads=2, head_dim=3, mlp_size=12, buckets=8),
    "wan-vae": WanVAEConfig(4, 4, (1, 2), 1, (True,), latent_mean=(0.1,) * 4, latent_std=(0.9,) * 4),
    "clatr": CLaTrConfig(8, 2, 4, 12, text_size=10),
}
FLOAT8 = ml_dtypes.float8_e4m3fn
ROOT_PARTS = ("transformer", "transformer_2", "text_encoder", "vae")


@functools.cache  # tracing a network takes longer than what is tested here
def stored(name, seed=0, style=None):
    """(tensors, our parameters) with random values."""
    network, config, rng = NETWORKS[name], CONFIGS[name], np.random.default_rng(seed)
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), network.abstract(config))
    return core.to_torch(network.table(config, style), params), params


def run(*args):
    return cli.main([*map(str, args), "--quiet"])


def same(ours, theirs, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(np.asarray(a, np.float32), b, **tolerance), ours, theirs)
    return True


@pytest.mark.parametrize(
    "prefix", ["module.", "model.diffusion_model.", "diffusion_model.", "model.", "generator.model."]
)
@pytest.mark.parametrize("name", CONFIGS)
def test_every_network_below_every_prefix(name, prefix):
    tensors, params = stored(name)
    shared = {prefix + key: tensor for key, tensor in tensors.items()}
    network = NETWORKS[name]
    assert recognise(shared)[0][0] == name
    same(network.from_torch(shared, CONFIGS[name]), params, rtol=0)


def test_names_of_compiled_and_sharded_training():
    tensors, params = stored("wan-dit")
    shared = {
        f"_orig_mod.module.{key.replace('blocks.1.', 'blocks.1._checkpoint_wrapped_module.')}": tensors[key]
        for key in tensors
    }
    same(NETWORKS["wan-dit"].from_torch(shared, CONFIGS["wan-dit"]), params, rtol=0)
    shared["ema.module.head.head.bias"] = np.zeros(16, np.float32)
    with pytest.raises(ValueError, match=r"under two names \(1\): .*head.head.bias = ema.module.head.head.bias"):
        NETWORKS["wan-dit"].from_torch(shared, CONFIGS["wan-dit"])


def scaled(tensors, scale="scale_weight", per_row=False):
    """Matrices divided to fit 8 bits, with their scales beside them, as ComfyUI stores a network."""
    held = {}
    for name, tensor in tensors.items():
        if not name.endswith(".weight") or tensor.ndim != 2:
            held[name] = tensor.astype(np.float16)
            continue
        factor = (np.abs(tensor).max(1, keepdims=True) if per_row else np.abs(tensor).max().reshape(())) / 448
        held[name] = (tensor / factor).astype(FLOAT8)
        held[name.removesuffix("weight") + scale] = np.asarray(factor, np.float32)
    return held


@pytest.mark.parametrize(
    ("scale", "more"),
    [
        ("scale_weight", {"scaled_fp8": np.zeros(2, FLOAT8)}),
        ("weight_scale", {"blocks.0.self_attn.q.input_scale": np.ones((), np.float32)}),
        ("weight_scale", {"blocks.0.ffn.0.comfy_quant": np.frombuffer(b'{"format": "float8_e4m3fn"}', np.uint8)}),
    ],
)
@pytest.mark.parametrize("per_row", [False, True])
def test_scaled_weights(tmp_path, scale, more, per_row):
    tensors, params = stored("wan-dit")
    held = {"model.diffusion_model." + key: value for key, value in (scaled(tensors, scale, per_row) | more).items()}
    save_file(held, tmp_path / "a.safetensors")
    assert (
        run("convert", tmp_path / "a.safetensors", "--as", "wan-dit", "--expert", "high", "--out", tmp_path / "ours")
        == 0
    )
    read = weights.load("controller", tmp_path / "ours", expert="high").params
    same(read, params, rtol=0.07, atol=1e-2)  # three bits of mantissa
    source = open_checkpoint(tmp_path / "a.safetensors")
    assert len(source) == len(tensors)
    name = "model.diffusion_model.blocks.0.ffn.0.weight"
    factor = held[name.removesuffix("weight") + scale]
    np.testing.assert_array_equal(source[name], held[name].astype(np.float32) * factor)


def test_fp8_without_scales_is_read_as_it_is(tmp_path):
    tensors, _ = stored("umt5")
    held = {name: tensor.astype(FLOAT8) for name, tensor in tensors.items()} | {"spiece_model": np.zeros(9, np.uint8)}
    save_file(held, tmp_path / "a.safetensors")
    read = NETWORKS["umt5"].from_torch(open_checkpoint(tmp_path / "a.safetensors"), CONFIGS["umt5"])
    np.testing.assert_array_equal(read["embedding"], held["token_embedding.weight"].astype(np.float32))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"blocks.9.q.scale_weight": np.ones((), np.float32)}, r"a scale without its weight \(1\): blocks.9.q.scale"),
        (
            {"blocks.0.ffn.0.scale_weight": np.ones(3, np.float32)},
            r"wrong shape \(1\): blocks.0.ffn.0.scale_weight \(3,\)",
        ),
        ({"blocks.0.ffn.0.weight_scale_inv": np.ones((2, 2), np.float32)}, "quantized in a layout that is not read"),
        ({"blocks.0.ffn.0.comfy_quant": np.frombuffer(b'{"format": "nvfp4"}', np.uint8)}, "quantized in .* .nvfp4."),
        ({"head.modulation.scale_weight": np.ones((), np.float32)}, "a scale without its weight"),
    ],
)
def test_scales_that_do_not_fit(tmp_path, more, words):
    save_file(scaled(stored("wan-dit")[0]) | more, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=words):
        open_checkpoint(tmp_path / "a.safetensors")


@pytest.mark.parametrize("pattern", ["m-{:05d}-of-00003.safetensors", "m_{}_of_3.safetensors"])
def test_shards_without_an_index(tmp_path, pattern):
    tensors, params = stored("wan-dit")
    folder = tmp_path / "source"
    folder.mkdir()
    names = sorted(tensors)
    for i in range(3):
        save_file({name: tensors[name] for name in names[i::3]}, folder / pattern.format(i + 1))
    for path in (folder, folder / pattern.format(2)):
        same(NETWORKS["wan-dit"].from_torch(open_checkpoint(path), CONFIGS["wan-dit"]), params, rtol=0)
    save_file({names[0]: tensors[names[0]]}, folder / pattern.format(2))
    with pytest.raises(ValueError, match=rf"in several shards \(1\): {names[0]}"):
        open_checkpoint(folder)
    (folder / pattern.format(2)).unlink()
    with pytest.raises(ValueError, match="holds 2 of 3 shards of a checkpoint; number 2 is missing"):
        open_checkpoint(folder)


@pytest.fixture
def root(tmp_path):
    """What diffusers writes: four networks, each in a folder, and the tokenizer in a fifth."""
    folder = tmp_path / "root"
    places = (
        ("transformer", "wan-dit", 0),
        ("transformer_2", "wan-dit", 1),
        ("text_encoder", "umt5", 2),
        ("vae", "wan-vae", 3),
    )
    for place, name, seed in places:
        (folder / place).mkdir(parents=True)
        style = "transformers" if name == "umt5" else "diffusers"
        save_file(stored(name, seed, style)[0], folder / place / "model.safetensors")
    (folder / "vae" / "config.json").write_text(json.dumps({"latents_mean": [0.1] * 4, "latents_std": [0.9] * 4}))
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "tokenizer.json").write_bytes(weights.find_tokenizer("planner_small").read_bytes())
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "WanPipeline", "boundary_ratio": 0.9}))
    return folder


def test_a_diffusers_root(tmp_path, root, capsys):
    assert run("convert", root, "--as", "wan-dit", "--out", tmp_path / "controller") == 0
    for seed, expert in enumerate(("high", "low")):
        config, params, _ = weights.load("controller", tmp_path / "controller", expert=expert)
        assert config.boundary == 0.9 and same(params, stored("wan-dit", seed)[1], rtol=0)
    assert run("convert", root, "--as", "umt5", "--out", tmp_path / "text") == 0
    assert same(weights.load("text_encoder", tmp_path / "text").params, stored("umt5", 2)[1], rtol=0)
    assert run("convert", root, "--as", "wan-vae", "--out", tmp_path / "vae") == 0
    assert same(weights.load("vae", tmp_path / "vae").params, stored("wan-vae", 3)[1], rtol=0)
    assert run("convert", root, "--as", "clatr", "--out", tmp_path / "no") == 2
    assert "has the parts transformer, transformer_2, text_encoder, vae" in capsys.readouterr().err
    assert run("inspect", root) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and all(part in line for part, line in zip(ROOT_PARTS, lines, strict=True))


def test_one_expert_of_a_root(tmp_path, root, capsys):
    assert run("convert", root, "--as", "wan-dit", "--expert", "low", "--out", tmp_path / "controller") == 0
    assert same(
        weights.load("controller", tmp_path / "controller", expert="low").params, stored("wan-dit", 1)[1], rtol=0
    )
    (root / "transformer_2" / "model.safetensors").unlink()
    assert run("convert", root, "--as", "wan-dit", "--out", tmp_path / "other") == 2
    assert "say which with --expert" in capsys.readouterr().err


def test_wans_own_root(tmp_path):
    root = tmp_path / "root"
    for seed, part in enumerate(("high_noise_model", "low_noise_model")):
        (root / part).mkdir(parents=True)
        names = sorted(tensors := stored("wan-dit", seed)[0])
        for i in range(2):  # in shards, as Wan's are
            held = {name: tensors[name] for name in names[i::2]}
            save_file(held, root / part / f"diffusion_pytorch_model-0000{i + 1}-of-00002.safetensors")
    assert run("convert", root, "--as", "holocine", "--out", tmp_path / "ours") == 0
    for seed, expert in enumerate(("high", "low")):
        assert same(
            weights.load("controller", tmp_path / "ours", expert=expert).params, stored("wan-dit", seed)[1], rtol=0
        )


def test_a_tokenizer_is_asked_for(tmp_path, capsys):
    save_file(stored("umt5")[0], tmp_path / "a.safetensors")
    ours = tmp_path / "ours"
    assert run("convert", tmp_path / "a.safetensors", "--as", "umt5", "--out", ours) == 2
    message = capsys.readouterr().err
    assert "reads text and its checkpoint comes without a tokenizer.json: give --tokenizer FILE" in message
    assert message.count("\n") == 1 and not ours.exists()
    assert run("convert", tmp_path / "a.safetensors", "--as", "umt5", "--out", ours, "--tokenizer", "none") == 0
    assert "put one into the folder" in capsys.readouterr().out
    assert {path.name for path in ours.iterdir()} == {"config.json", "manifest.json", "model", "model.sha256"}
