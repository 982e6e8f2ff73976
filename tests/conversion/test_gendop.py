"""GenDoP's published files: all of their names there and back byte for byte, other spellings, and what is refused."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from shotverse_jax import cli
from shotverse_jax.config import CLIPTextConfig, CLIPVisionConfig, GenDoPConfig, OPTConfig
from shotverse_jax.conversion import core, gendop
from shotverse_jax.conversion.networks import NETWORKS, recognise
from shotverse_jax.weights import load

TEXT = CLIPTextConfig(20, 16, 23, 16, 12, 5)
VISION = CLIPVisionConfig(32, 32, 16, 24, 2, 6)
DECODER = OPTConfig(vocab_size=12, hidden_size=8, num_layers=12, num_heads=8, ffn_size=20, max_positions=30)


def linear(name, inputs, outputs):
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def layers(prefix, count, width, mlp):
    shapes = {}
    for layer in (f"{prefix}encoder.layers.{i}." for i in range(count)):
        for part in "qkv":
            shapes |= linear(f"{layer}self_attn.{part}_proj", width, width)
        shapes |= linear(f"{layer}self_attn.out_proj", width, width)
        shapes |= norm(f"{layer}layer_norm1", width) | norm(f"{layer}layer_norm2", width)
        shapes |= linear(f"{layer}mlp.fc1", width, mlp) | linear(f"{layer}mlp.fc2", mlp, width)
    return shapes


def published(rgbd: bool) -> dict[str, tuple[int, ...]]:
    """Names as in text_motion, text_directorial (571) or text_rgbd (1613) .safetensors, small shapes."""
    text, decoder = "text_encoder.text_model.", "mesh_decoder.model."
    shapes = {f"{text}embeddings.token_embedding.weight": (20, 16)}
    shapes[f"{text}embeddings.position_embedding.weight"] = (5, 16)
    shapes |= layers(text, 23, 16, 12) | norm(f"{text}final_layer_norm", 16)
    shapes |= {f"{decoder}embd.weight": (12, 8), f"{decoder}embed_positions.weight": (30, 8)}
    for layer in (f"{decoder}layers.{i}." for i in range(12)):
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= linear(f"{layer}self_attn.{part}", 8, 8)
        shapes |= norm(f"{layer}self_attn_layer_norm", 8) | norm(f"{layer}final_layer_norm", 8)
        shapes |= linear(f"{layer}fc1", 8, 20) | linear(f"{layer}fc2", 20, 8)
    shapes |= {"mesh_decoder.lm_head.weight": (12, 8)} | norm("norm_cond", 8)
    if not rgbd:
        return shapes | linear("proj_cond", 16, 8)
    shapes |= linear("proj_cond_text", 16, 8) | linear("proj_cond_image", 32, 8) | linear("proj_cond_depth", 32, 8)
    for tower in ("image_encoder.vision_model.", "depth_encoder.vision_model."):
        shapes |= {f"{tower}embeddings.class_embedding": (32,)}
        shapes |= {f"{tower}embeddings.patch_embedding.weight": (32, 3, 2, 2)}
        shapes |= {f"{tower}embeddings.position_embedding.weight": (10, 32)}
        shapes |= norm(f"{tower}pre_layrnorm", 32) | norm(f"{tower}post_layernorm", 32) | layers(tower, 32, 32, 24)
    return shapes


def tensors(rgbd):
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in published(rgbd).items()}


def run(*args):
    return cli.main([*map(str, args), "--quiet"])


def clip_tokenizer(path):
    from tokenizers import Tokenizer, models

    Tokenizer(models.WordLevel({"!": 0, "<|startoftext|>": 1, "<|endoftext|>": 2}, unk_token="!")).save(str(path))
    return path


@pytest.mark.parametrize(("kind", "count"), [("motion", 571), ("directorial", 571), ("rgbd", 1613)])
def test_there_and_back_byte_for_byte(tmp_path, capsys, kind, count):
    stored, rgbd = tensors(kind == "rgbd"), kind == "rgbd"
    assert len(stored) == count
    source, ours, back = tmp_path / f"text_{kind}.safetensors", tmp_path / "ours", tmp_path / "back.safetensors"
    save_file(stored, source)
    assert run("convert", source, "--as", f"gendop-text-{kind}", "--out", ours) == 2
    assert "comes without a tokenizer.json: give --tokenizer FILE, CLIP's" in capsys.readouterr().err
    tokenizer = clip_tokenizer(tmp_path / "clip.json")
    assert run("convert", source, "--as", f"gendop-text-{kind}", "--out", ours, "--tokenizer", tokenizer) == 0
    config, params, _ = load("gendop", ours)
    assert config == GenDoPConfig(TEXT, VISION if rgbd else None, DECODER)
    kernel = stored["text_encoder.text_model.encoder.layers.10.self_attn.k_proj.weight"].T
    np.testing.assert_array_equal(params["text"]["tower"]["layers"]["k_proj"]["kernel"][10], kernel)
    if rgbd:
        patches = stored["depth_encoder.vision_model.embeddings.patch_embedding.weight"].transpose(2, 3, 1, 0)
        np.testing.assert_array_equal(params["depth"]["tower"]["patch_embed"]["kernel"], patches)
    assert run("convert", ours, "--to", "gendop", "--out", back) == 0
    written = load_file(back)
    assert written.keys() == stored.keys()
    assert all(written[name].tobytes() == tensor.tobytes() for name, tensor in stored.items())


def test_which_it_is(tmp_path, capsys):
    assert recognise(published(rgbd=False))[0][0] == "gendop-text-motion"  # and directorial, by the same names
    assert recognise(published(rgbd=True))[0][0] == "gendop-text-rgbd"
    assert recognise(name for name in published(rgbd=True) if name.startswith("mesh_decoder."))[0][0] == "gendop-opt"
    save_file(tensors(rgbd=False), tmp_path / "text.safetensors")
    assert run("convert", tmp_path / "text.safetensors", "--as", "gendop-text-rgbd", "--out", tmp_path / "ours") == 2
    text = capsys.readouterr().err
    assert "not a GenDoP that sees image and depth: proj_cond_text.weight, " in text
    assert "it looks like gendop-text-motion" in text


def test_names_of_transformers_5_and_stored_position_ids():
    stored = tensors(rgbd=True)
    config = gendop.config_from_tensors(stored, vision=True)
    newer = {name.replace(".text_model", "").replace(".vision_model", ""): x for name, x in stored.items()}
    newer["text_encoder.embeddings.position_ids"] = np.arange(5)[None]
    assert newer.keys() != stored.keys() and gendop.config_from_tensors(newer, vision=True) == config
    one, two = (core.flatten_dict(NETWORKS["gendop-text-motion"].from_torch(x, config)) for x in (stored, newer))
    assert one.keys() == two.keys() and all((one[path] == two[path]).all() for path in one)


def test_a_missing_tensor_is_named():
    stored = tensors(rgbd=False)
    config = gendop.config_from_tensors(stored, vision=False)
    del stored["text_encoder.text_model.encoder.layers.22.mlp.fc2.bias"]
    with pytest.raises(
        ValueError, match=r"missing from the checkpoint \(1\): text_encoder.text_model.*22.mlp.fc2.bias"
    ):
        NETWORKS["gendop-text-motion"].from_torch(stored, config)
