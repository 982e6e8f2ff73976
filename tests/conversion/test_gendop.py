"""GenDoP's published files: all of their names there and back byte for byte, other spellings, and what is refused."""

import dataclasses

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from gendop_names import published
from shotverse_jax import cli
from shotverse_jax.config import (
    CLIPTextConfig,
    CLIPVisionConfig,
    GenDoPConfig,
    GenDoPTokenConfig,
    OPTConfig,
    vertigo_tokens,
)
from shotverse_jax.conversion import core, gendop
from shotverse_jax.conversion.networks import NETWORKS, recognise
from shotverse_jax.weights import load

TEXT = CLIPTextConfig(20, 16, 23, 16, 12, 5)
VISION = CLIPVisionConfig(32, 32, 16, 24, 2, 6)
DECODER = OPTConfig(vocab_size=12, hidden_size=8, num_layers=12, num_heads=8, ffn_size=20, max_positions=30)


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


def test_vertigos_generator_is_a_gendop_with_an_anchor_head():
    """Names of VERTIGO's core/models.py; a checkpoint shows the head and nothing else of its tokens."""
    head = {f"anchor_head.{i}.{part}": np.zeros((8,), np.float32) for i in (0, 1, 3) for part in ("weight", "bias")}
    head |= {"anchor_head.1.weight": np.eye(8, dtype=np.float32), "anchor_head.3.weight": np.ones((3, 8), np.float32)}
    stored = tensors(rgbd=False) | head | {"anchor_head.3.bias": np.arange(3, dtype=np.float32)}
    assert recognise(stored)[0][0] == "gendop-vertigo"
    config = gendop.vertigo_from_tensors(stored)
    assert config == GenDoPConfig(TEXT, None, DECODER, tokens=vertigo_tokens())
    network = NETWORKS["gendop-vertigo"]
    params = network.from_torch(stored, config)
    np.testing.assert_array_equal(params["anchor_head"]["out"]["kernel"], np.ones((8, 3)))
    back = network.to_torch(params, config)
    assert back.keys() == stored.keys() and all((back[name] == x).all() for name, x in stored.items())
    # Its README trains without the head; then the first position is not known, and the names are GenDoP's.
    assert gendop.vertigo_from_tensors(tensors(rgbd=False)).tokens.anchor == "none"
    with pytest.raises(ValueError, match="anchor_head.0"):
        NETWORKS["gendop-text-motion"].from_torch(stored, dataclasses.replace(config, tokens=GenDoPTokenConfig()))


def test_which_it_is(tmp_path, capsys):
    assert recognise(published(rgbd=False))[0][0] == "gendop-text-motion"  # and directorial, by the same names
    assert recognise(published(rgbd=True))[0][0] == "gendop-text-rgbd"
    assert recognise(name for name in published(rgbd=True) if name.startswith("mesh_decoder."))[0][0] == "gendop-opt"
    save_file(tensors(rgbd=False), tmp_path / "text.safetensors")
    assert run("convert", tmp_path / "text.safetensors", "--as", "gendop-text-rgbd", "--out", tmp_path / "ours") == 2
    text = capsys.readouterr().err
    assert "not a GenDoP of depth+image+text: proj_cond_text.weight, " in text
    assert "it looks like gendop-text-motion" in text


def test_names_of_transformers_5_and_stored_position_ids():
    stored = tensors(rgbd=True)
    config = gendop.config_from_tensors(stored, "depth+image+text")
    newer = {name.replace(".text_model", "").replace(".vision_model", ""): x for name, x in stored.items()}
    newer["text_encoder.embeddings.position_ids"] = np.arange(5)[None]
    assert newer.keys() != stored.keys() and gendop.config_from_tensors(newer, "depth+image+text") == config
    one, two = (core.flatten_dict(NETWORKS["gendop-text-motion"].from_torch(x, config)) for x in (stored, newer))
    assert one.keys() == two.keys() and all((one[path] == two[path]).all() for path in one)


def test_a_missing_tensor_is_named():
    stored = tensors(rgbd=False)
    config = gendop.config_from_tensors(stored, "text")
    del stored["text_encoder.text_model.encoder.layers.22.mlp.fc2.bias"]
    with pytest.raises(
        ValueError, match=r"missing from the checkpoint \(1\): text_encoder.text_model.*22.mlp.fc2.bias"
    ):
        NETWORKS["gendop-text-motion"].from_torch(stored, config)
