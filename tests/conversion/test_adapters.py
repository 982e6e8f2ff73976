"""`FILE[@SCALE][:high|low]`: how it is read, whom a file is for, what is refused and what is said."""

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from shotverse_jax import lora
from shotverse_jax.config import ControllerConfig, LoraConfig, WanDiTConfig
from shotverse_jax.conversion.adapters import LoraSpec, parse_lora, read_loras
from shotverse_jax.conversion.lora_write import FORMATS, export, to_tensors, write_adapter
from shotverse_jax.models.camera_encoder import add_camera
from shotverse_jax.weights import abstract, export_adapter

LORA = LoraConfig(rank=2, alpha=4.0, targets=("q_proj", "ffn_out"))
CONFIG = ControllerConfig(
    dit=WanDiTConfig(
        hidden_size=24, num_layers=2, num_heads=2, mlp_size=40, frequency_size=8, text_size=10, latent_channels=4
    ),
    lora=LORA,
)
BASE = CONFIG.expert("base")


def adapter(seed):
    shapes = jax.eval_shape(lambda: lora.init(jax.random.key(0), abstract("wan_dit", BASE), LORA))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)


def total(changes):
    """The sum of everything that a change adds, which tells two adapters apart."""
    pairs = jax.tree.leaves(changes.adapter, is_leaf=lambda x: hasattr(x, "a"))
    return sum(float(np.sum(pair.scale * pair.a @ pair.b)) for pair in pairs)


def written(path, seed=0, fmt="comfyui", prefix=None, metadata=None, more=None):
    tensors = to_tensors(adapter(seed), BASE, fmt)
    if prefix is not None:
        tensors = {prefix + key.removeprefix(FORMATS[fmt].prefix): value for key, value in tensors.items()}
    save_file(tensors | (more or {}), path, metadata)
    return path


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("style.safetensors", LoraSpec("style.safetensors")),
        ("style.safetensors@0.5", LoraSpec("style.safetensors", 0.5)),
        ("a/style.safetensors@-1e-1:low", LoraSpec("a/style.safetensors", -0.1, "low")),
        ("style.safetensors:high", LoraSpec("style.safetensors", 1.0, "high")),
        (r"C:\loras\style.safetensors", LoraSpec(r"C:\loras\style.safetensors")),
        ("C:/loras/style.safetensors@2:high", LoraSpec("C:/loras/style.safetensors", 2.0, "high")),
        ("me@home.safetensors", LoraSpec("me@home.safetensors")),
        ("runs/me@2024/adapter", LoraSpec("runs/me@2024/adapter")),
    ],
)
def test_text(text, spec):
    assert parse_lora(text) == spec


def test_a_file_that_is_there_is_that_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "style@2").touch()
    assert parse_lora("style@2") == LoraSpec("style@2")
    assert parse_lora("style@2@3:low") == LoraSpec("style@2", 3.0, "low")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("style@much", "the scale is a number from -1000 to 1000; got 'much' in 'style@much'"),
        ("style@nan", "got 'nan'"),
        ("style:middle", "the expert is high or low; got 'middle'"),
        ("style:high@0.5", "got 'high@0"),
        ("@0.5:high", "names no file"),
        ("", "names no file"),
    ],
)
def test_text_that_says_nothing_clear(text, words):
    with pytest.raises(ValueError, match=words) as caught:
        parse_lora(text)
    assert "FILE[@SCALE][:high|low]" in str(caught.value)


@pytest.mark.parametrize("fmt", FORMATS)
def test_every_format_is_for_both_experts(tmp_path, fmt):
    write_adapter(adapter(0), BASE, fmt, tmp_path, dtype="float32")
    [read] = read_loras([f"{tmp_path}@0.25"], CONFIG)
    assert read.weight == 0.25 and not read.notes and read.experts.keys() == {"high", "low"}
    assert total(read.experts["high"]) == pytest.approx(2.0 * total_of(0), rel=1e-5)
    [only] = read_loras([f"{tmp_path}:low"], CONFIG)
    assert only.experts.keys() == {"low"}


def total_of(seed):
    """`total` of an adapter at scale 1."""
    leaves = jax.tree.leaves(adapter(seed), is_leaf=lambda x: hasattr(x, "a"))
    return sum(float(np.sum(pair.a @ pair.b)) for pair in leaves)


def test_the_file_says_whom_it_is_for(tmp_path):
    noted = written(tmp_path / "a.safetensors", metadata={"ss_output_name": "style_Low-Noise_v2"})
    assert read_loras([str(noted)], CONFIG)[0].experts.keys() == {"low"}
    [asked] = read_loras([f"{noted}:high"], CONFIG)  # whoever uses it may know better
    assert asked.experts.keys() == {"high"} and "says that it is for the expert low" in asked.notes[0]
    both = written(tmp_path / "b.safetensors", metadata={"comment": "of high_noise and low_noise"})
    assert read_loras([str(both)], CONFIG)[0].experts.keys() == {"high", "low"}


@pytest.mark.parametrize(
    ("fmt", "prefixes"),
    [
        ("diffusers", ("transformer.", "transformer_2.")),
        ("comfyui", ("high_noise_model.", "low_noise_model.")),
        ("comfyui", ("diffusion_model.high_noise.", "diffusion_model.low_noise.")),
    ],
)
def test_both_experts_in_one_file(tmp_path, fmt, prefixes):
    tensors = {}
    for seed, prefix in enumerate(prefixes):
        written(tmp_path / "one.safetensors", seed, fmt, prefix)
        tensors |= load_file(tmp_path / "one.safetensors")
    path = tmp_path / "both.safetensors"
    metadata = {"lora_adapter_metadata": json.dumps({"transformer.lora_alpha": 2, "transformer_2.lora_alpha": 4})}
    save_file(tensors, path, metadata if fmt == "diffusers" else None)
    [read] = read_loras([str(path)], CONFIG)
    scale = 2.0  # alpha / rank is in B already; diffusers' header multiplies by alpha / 2 more
    assert total(read.experts["high"]) == pytest.approx(scale * total_of(0), rel=1e-5)
    assert total(read.experts["low"]) == pytest.approx(scale * total_of(1) * (1 + (fmt == "diffusers")), rel=1e-5)
    [low] = read_loras([f"{path}:low"], CONFIG)
    assert low.experts.keys() == {"low"} and not low.notes


def test_folders_with_a_file_for_each_expert(tmp_path):
    written(tmp_path / "high_noise_model.safetensors", 0)
    written(tmp_path / "low_noise_model.safetensors", 1)
    [read] = read_loras([str(tmp_path)], CONFIG)
    assert total(read.experts["high"]) != total(read.experts["low"]) and not read.notes


def test_a_run_of_ours_and_what_it_is_exported_to(tmp_path):
    camera = add_camera(abstract("wan_dit", BASE))["blocks"]["camera"]
    camera = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), camera)
    export_adapter(adapter(0), {"blocks": {"camera": camera}}, CONFIG, tmp_path / "run" / "adapter", "high")
    export_adapter(adapter(1), {}, CONFIG, tmp_path / "run" / "adapter", "low")
    [ours] = read_loras([str(tmp_path / "run")], CONFIG)
    assert "its camera encoders are not part of an adapter" in ours.notes[0]
    export(tmp_path / "run", "musubi", tmp_path / "out")
    [theirs] = read_loras([str(tmp_path / "out")], CONFIG)
    for name in ("high", "low"):
        assert total(ours.experts[name]) == pytest.approx(total(theirs.experts[name]), rel=1e-3)


def test_keys_without_a_place_are_named(tmp_path):
    keys = [f"diffusion_model.blocks.{i}.cross_attn.k_img.lora_A.weight" for i in range(7)]
    more = {key: np.ones((2, 24), np.float32) for key in keys}
    [read] = read_loras([str(written(tmp_path / "i2v.safetensors", more=more))], CONFIG)
    [note] = read.notes
    assert keys[0] in note and keys[-1] not in note and note.endswith("and 2 more; they are not used")


def test_a_name_that_says_another_thing_is_noted(tmp_path):
    path = written(tmp_path / "style_HIGH_fp16.safetensors")
    [read] = read_loras([str(path)], CONFIG)
    assert read.notes == (f"{path} is used for both experts; by its name it is for one, which {path}:high says",)
    assert not read_loras([f"{path}:low"], CONFIG)[0].notes
    assert not read_loras([str(written(tmp_path / "highway.safetensors"))], CONFIG)[0].notes


def test_what_is_no_adapter_of_a_controller(tmp_path):
    with pytest.raises(ValueError, match="there is no adapter .*nowhere; an adapter is written"):
        read_loras([str(tmp_path / "nowhere")], CONFIG)
    zero = {key: 0 * value for key, value in to_tensors(adapter(0), BASE, "comfyui").items()}
    save_file(zero, tmp_path / "zero.safetensors")
    with pytest.raises(ValueError, match="changes nothing, its matrices or its alpha are zero"):
        read_loras([str(tmp_path / "zero.safetensors")], CONFIG)
    other = {"diffusion_model.double_blocks.0.img.lora_A.weight": np.ones((2, 24), np.float32)}
    save_file(other, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="does not fit the network; for a parameter that the network lacks"):
        read_loras([str(tmp_path / "other.safetensors")], CONFIG)
    mixed = to_tensors(adapter(0), BASE, "diffusers")
    mixed |= {key.replace("transformer.", "low_noise."): value for key, value in mixed.items()}
    save_file(mixed, tmp_path / "mixed.safetensors")
    with pytest.raises(ValueError, match=r"some of its keys name an expert, and transformer\..* does not"):
        read_loras([str(tmp_path / "mixed.safetensors")], CONFIG)


def test_an_adapter_is_read_once_until_its_file_changes(tmp_path):
    path = written(tmp_path / "a.safetensors", 0)
    first, again = (read_loras([f"{path}@{scale}"], CONFIG)[0] for scale in (1, 2))
    assert first.experts["high"] is again.experts["high"] and again.weight == 2
    written(path, 1, more={"diffusion_model.head.head.diff_b": np.ones(16, np.float32)})
    [changed] = read_loras([str(path)], CONFIG)
    assert total(changed.experts["high"]) != total(first.experts["high"])
    assert read_loras([changed], CONFIG) == [changed]
