"""`shotverse convert` and `inspect`: every network there and back byte for byte, and everything that is refused."""

import dataclasses
import json
import shutil

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models

from shotverse_jax import cli, weights
from shotverse_jax.config import (
    CameraCLIPConfig,
    CLaTrConfig,
    CLIPTextConfig,
    CLIPVisionConfig,
    ControllerConfig,
    GenDoPConfig,
    OPTConfig,
    Pi3Config,
    UMT5Config,
    WanDiTConfig,
    WanVAEConfig,
    vertigo_tokens,
)
from shotverse_jax.conversion import commands, core, prepare, qwen3_vl, stream
from shotverse_jax.conversion.networks import NETWORKS
from shotverse_jax.conversion.sources import open_checkpoint
from shotverse_jax.parallel.rules import rule
from shotverse_jax.weights.folder import open_weights

ROPE = {"rope_theta": 5e6, "mrope_section": [1, 1, 0], "rope_type": "default"}
QWEN = {
    "text_config": {
        "vocab_size": 20,
        "hidden_size": 8,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 4,
        "intermediate_size": 12,
        "rms_norm_eps": 1e-6,
        "rope_scaling": ROPE,
    },
    "vision_config": {
        "hidden_size": 8,
        "depth": 3,
        "num_heads": 2,
        "intermediate_size": 12,
        "out_hidden_size": 8,
        "in_channels": 3,
        "patch_size": 2,
        "temporal_patch_size": 2,
        "spatial_merge_size": 2,
        "num_position_embeddings": 16,
        "deepstack_visual_indexes": [0, 2],
    },
    "image_token_id": 18,
    "video_token_id": 19,
}
CLIP = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12}
CLIP_TEXT = CLIPTextConfig(20, 8, 2, 2, 12, 77, "quick_gelu")
VAE = {"latents_mean": [0.1] * 4, "latents_std": [0.9] * 4}
CONFIGS = {
    "wan-dit": WanDiTConfig(12, 40, 1, 20, 8, 10, 4, rope="wan3d", camera=False),  # all of Wan's names
    "holocine": WanDiTConfig(12, 2, 1, 20, 8, 10, 4, rope="wan3d", camera=False),
    "umt5": UMT5Config(vocab_size=20, hidden_size=8, num_layers=3, num_heads=2, head_dim=3, mlp_size=12, buckets=8),
    "wan-vae": WanVAEConfig(4, 4, (1, 2), 1, (True,), latent_mean=(0.1,) * 4, latent_std=(0.9,) * 4),
    "gendop-opt": OPTConfig(vocab_size=20, hidden_size=8, num_layers=3, max_positions=9),
    "gendop-text-motion": GenDoPConfig(CLIPTextConfig(20, 16, 2, 16, 12, 5), None, OPTConfig(20, 8, 2, 8)),
    "gendop-text-rgbd": GenDoPConfig(
        CLIPTextConfig(20, 16, 2, 16, 12, 5), CLIPVisionConfig(16, 2, 16, 12, 2, 6), OPTConfig(20, 8, 2, 8)
    ),
    "gendop-image": GenDoPConfig(None, CLIPVisionConfig(16, 2, 16, 12, 2, 6), OPTConfig(20, 8, 2, 8), depth=False),
    "gendop-image-text": GenDoPConfig(
        CLIPTextConfig(20, 16, 2, 16, 12, 5), CLIPVisionConfig(16, 2, 16, 12, 2, 6), OPTConfig(20, 8, 2, 8), depth=False
    ),
    "gendop-image-depth": GenDoPConfig(None, CLIPVisionConfig(16, 2, 16, 12, 2, 6), OPTConfig(20, 8, 2, 8)),
    "gendop-vertigo": GenDoPConfig(
        CLIPTextConfig(20, 16, 2, 16, 12, 5), None, OPTConfig(20, 8, 2, 8), tokens=vertigo_tokens()
    ),
    "clip-text": CLIP_TEXT,
    "clip-vision": CLIPVisionConfig(8, 2, 2, 12, 2, 6, "quick_gelu"),
    "clip": CameraCLIPConfig(
        CLIP_TEXT, CLIPVisionConfig(8, 2, 2, 12, 2, 6, "quick_gelu"), joint_size=4, temporal="mean"
    ),
    "clatr": CLaTrConfig(8, 2, 4, 12, text_size=10),
    "pi3": Pi3Config(8, 4, 2, 3, 3, 4, 2, 12, 1, 6, 2),
    "qwen3-vl": qwen3_vl.full_config_from_hf(QWEN),
    "qwen3-vl-text": qwen3_vl.config_from_hf(QWEN),
}
PATCHES = {"patch_size": 2, "image_size": 6}
WHOLE = {"text_config": CLIP, "vision_config": CLIP | PATCHES, "projection_dim": 4}
BESIDE = {
    "wan-vae": VAE,
    "clip-text": CLIP,
    "clip-vision": CLIP | PATCHES,
    "clip": WHOLE,
    "qwen3-vl": QWEN,
    "qwen3-vl-text": QWEN,
}
STYLES = [(name, style) for name in CONFIGS if name != "holocine" for style in NETWORKS[name].styles]
SMALL = "umt5"


def stored(name, style=None, dtype=np.float32, config=None):
    """Random tensors with the names of a style."""
    kind, config = NETWORKS[name], config or CONFIGS[name]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(dtype), kind.abstract(config, "float32"))
    return core.to_torch(kind.table(config, style), params), params


def write(folder, name, tensors):
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "weights.safetensors")
    if name in BESIDE:
        (folder / "config.json").write_text(json.dumps(BESIDE[name]))
    kind = NETWORKS[name].kind if name in NETWORKS else None
    if kind in ("text_encoder", "language_model", "qwen3_vl"):
        shutil.copyfile(weights.find_tokenizer("planner_small"), folder / "tokenizer.json")
    if kind in ("gendop", "clip_text", "camera_clip"):
        words = {"!": 0, "<|startoftext|>": 1, "<|endoftext|>": 2}
        Tokenizer(models.WordLevel(words, unk_token="!")).save(str(folder / "tokenizer.json"))
    return folder / "weights.safetensors"


def expert(name):
    return ["--expert", "high"] if NETWORKS[name].is_expert else []


def run(*args):
    return cli.main([*map(str, args), "--quiet"])


@pytest.mark.parametrize(("name", "style"), STYLES)
def test_there_and_back_byte_for_byte(tmp_path, name, style):
    dtype = ml_dtypes.bfloat16 if name == "wan-dit" else np.float32
    tensors, params = stored(name, style, dtype)
    given = stored(name, "gendop", dtype)[0] if style == "transformers" and name == "gendop-opt" else tensors
    source = write(tmp_path / "source", name, given)
    assert run("convert", source, "--as", name, "--out", tmp_path / "ours", *expert(name)) == 0
    arrays = open_weights(tmp_path / "ours" / ("high" if expert(name) else "model"))
    for path, leaf in core.flatten_dict(params, sep="/").items():
        np.testing.assert_array_equal(np.asarray(arrays[path]), leaf)
    assert run("convert", tmp_path / "ours", "--to", style, "--out", tmp_path / "back.safetensors", *expert(name)) == 0
    back = load_file(tmp_path / "back.safetensors")
    assert back.keys() == tensors.keys() and (name != "wan-dit" or len(back) == 1095)
    for tensor_name, tensor in tensors.items():
        assert back[tensor_name].dtype == tensor.dtype and back[tensor_name].shape == tensor.shape
        assert back[tensor_name].tobytes() == tensor.tobytes()
    assert commands.MANIFEST in {path.name for path in (tmp_path / "ours").iterdir()}
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_parameter_has_a_sharding_rule(name):
    for path in core.flatten_dict(NETWORKS[name].abstract(CONFIGS[name], "float32"), sep="/"):
        rule(path)


def test_parameters_are_those_of_the_path_in_memory(tmp_path):
    tensors, _ = stored(SMALL, "transformers")
    source = write(tmp_path / "source", SMALL, tensors)
    conversion = prepare.prepare(open_checkpoint(source), SMALL, "bfloat16", {"fsdp": 4})
    commands.convert(conversion, tmp_path / "ours")
    ours = open_weights(tmp_path / "ours" / "model")
    expected = core.to_flax(conversion.table, tensors, conversion.abstract, cast=True)
    for path, leaf in core.flatten_dict(expected, sep="/").items():
        assert np.asarray(ours[path]).dtype == leaf.dtype == ml_dtypes.bfloat16
        np.testing.assert_array_equal(np.asarray(ours[path]), leaf)


def test_our_loaders_read_what_was_converted(tmp_path):
    for name in ("wan-vae", "umt5"):
        source = write(tmp_path / name, name, stored(name)[0])
        assert run("convert", source, "--as", name, "--out", tmp_path / f"{name}-ours") == 0
    config, params, _ = weights.load("vae", tmp_path / "wan-vae-ours")
    assert config == CONFIGS["wan-vae"] and same(params, stored("wan-vae")[1])
    config, params, read = weights.load("text_encoder", tmp_path / "umt5-ours")
    assert config == CONFIGS["umt5"] and same(params, stored("umt5")[1])
    assert read.get_vocab_size() > 1000


def same(ours, theirs) -> bool:
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    return True


def test_two_experts_share_a_folder(tmp_path):
    camera = dataclasses.replace(CONFIGS["holocine"], camera=True, rope="shotverse4d")
    for side, config in (("high", camera), ("low", CONFIGS["holocine"])):
        source = write(tmp_path / side, "holocine", stored("holocine", config=config)[0])
        args = "--as", "holocine", "--out", tmp_path / "ours", "--expert", side
        assert run("convert", source, *args) == 0
    for side, config in (("high", camera), ("low", CONFIGS["holocine"])):
        read, params, _ = weights.load("controller", tmp_path / "ours", expert=side)
        assert read.windows == "holocine" and read.camera == "high"
        same(params, stored("holocine", config=config)[1])
    assert json.loads((tmp_path / "ours" / "manifest.json").read_text()).keys() == {"high", "low"}


def test_an_expert_of_another_size_does_not_join(tmp_path, capsys):
    other = dataclasses.replace(CONFIGS["holocine"], mlp_size=24)
    for side, config, code in (("high", CONFIGS["holocine"], 0), ("low", other, 2)):
        source = write(tmp_path / side, "holocine", stored("holocine", config=config)[0])
        assert run("convert", source, "--as", "holocine", "--out", tmp_path / "ours", "--expert", side) == code
    assert "describes another low-noise expert" in capsys.readouterr().err
    assert not (tmp_path / "ours" / "low").exists()


def test_orbax_restores_it_to_shards(tmp_path):
    import orbax.checkpoint as ocp
    from orbax.checkpoint import v1

    tensors, params = stored(SMALL)
    source = write(tmp_path / "source", SMALL, tensors)
    assert run("convert", source, "--as", SMALL, "--out", tmp_path / "ours", "--shard-for", "fsdp=2") == 0
    mesh = jax.make_mesh((1,), ("fsdp",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    target = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), params)
    folder = tmp_path / "ours" / "model"
    with ocp.StandardCheckpointer() as checkpointer:
        same(checkpointer.restore(folder, target), params)
    same(v1.load_pytree(folder, target), params)
    same(v1.load_pytree(folder), params)
    restored = weights.folder.read_params(folder, target)
    assert jax.tree.leaves(restored)[0].sharding == sharding
    same(restored, params)


# ---------------------------------------------------------------------------------------------------- bad input


@pytest.fixture
def small(tmp_path):
    """Tensors of a small network, and a function that converts them: (exit code, folder)."""

    def convert(tensors, *options, name=SMALL):
        source = write(tmp_path / "source", name, tensors)
        return run("convert", source, "--as", name, "--out", tmp_path / "ours", *options)

    return stored(SMALL)[0], convert


def refused(tmp_path, capsys) -> str:
    """The message; and nothing is left behind."""
    assert {path.name for path in tmp_path.iterdir()} <= {"source"}
    return capsys.readouterr().err


def test_wrong_names_and_shapes_are_told_together(tmp_path, small, capsys):
    tensors, convert = small
    del tensors["blocks.1.norm1.weight"]
    tensors["extra.weight"] = np.zeros(3, np.float32)
    tensors["blocks.2.ffn.gate.0.weight"] = np.ascontiguousarray(tensors["blocks.2.ffn.gate.0.weight"].T)
    assert convert(tensors) == 2
    text = refused(tmp_path, capsys)
    assert "missing from the checkpoint (1): blocks.1.norm1.weight" in text
    assert "in the checkpoint but not in the table (1): extra.weight" in text
    assert "wrong shape (1): blocks.2.ffn.gate.0.weight (8, 12)" in text


@pytest.mark.parametrize("target", ["float32", "bfloat16"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_is_refused_unless_allowed(tmp_path, small, capsys, target, value):
    tensors, convert = small
    tensors["blocks.1.attn.k.weight"][3, 5] = value
    assert convert(tensors, "--target-dtype", target) == 2
    assert "blocks.1.attn.k.weight holds NaN or infinity" in refused(tmp_path, capsys)
    assert convert(tensors, "--target-dtype", target, "--allow-nan") == 0
    assert "warning: NaN or infinity in blocks.1.attn.k.weight" in capsys.readouterr().out
    manifest = json.loads((tmp_path / "ours" / "manifest.json").read_text())["model"]
    assert manifest["not_finite"] == ["blocks.1.attn.k.weight"] and manifest["dtype"] == target


def test_another_network(tmp_path, small, capsys):
    tensors, convert = small
    assert convert(tensors, "--expert", "high", name="wan-dit") == 2
    text = refused(tmp_path, capsys)
    assert "this is no wan-dit" in text and "it looks like umt5" in text


def test_tied_tensors_must_be_equal(tmp_path, small, capsys):
    tensors, convert = small
    tensors["encoder.embed_tokens.weight"] = tensors["token_embedding.weight"] + 1
    assert convert(tensors) == 2
    assert "must be equal (1): encoder.embed_tokens.weight" in refused(tmp_path, capsys)


def test_a_file_that_is_cut_off(tmp_path, capsys):
    source = write(tmp_path / "source", SMALL, stored(SMALL)[0])
    source.write_bytes(source.read_bytes()[:-10])
    assert run("convert", source, "--as", SMALL, "--out", tmp_path / "ours") == 2
    assert "weights.safetensors is not a safetensors file, or is cut off" in refused(tmp_path, capsys)


def test_shards(tmp_path, capsys):
    tensors, params = stored(SMALL)
    write(tmp_path / "source", SMALL, tensors).unlink()
    names = sorted(tensors)
    for file, part in (("a.safetensors", names[::2]), ("b.safetensors", names[1::2])):
        save_file({name: tensors[name] for name in part}, tmp_path / "source" / file)
    weight_map = {name: f"{'ab'[i % 2]}.safetensors" for i, name in enumerate(names)}
    index = tmp_path / "source" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    assert run("convert", tmp_path / "source", "--as", SMALL, "--out", tmp_path / "ours") == 0
    for name, leaf in core.flatten_dict(params, sep="/").items():
        np.testing.assert_array_equal(np.asarray(open_weights(tmp_path / "ours" / "model")[name]), leaf)
    manifest = json.loads((tmp_path / "ours" / "manifest.json").read_text())["model"]
    assert [entry["file"] for entry in manifest["sources"]] == ["a.safetensors", "b.safetensors"]
    (tmp_path / "source" / "b.safetensors").unlink()
    shutil.rmtree(tmp_path / "ours")
    assert run("convert", index, "--as", SMALL, "--out", tmp_path / "ours") == 2
    assert "missing beside it: b.safetensors" in refused(tmp_path, capsys)


def test_another_models_config_is_not_overwritten(tmp_path, capsys):
    source = write(tmp_path / "source", "wan-vae", stored("wan-vae")[0])
    before = (tmp_path / "source" / "config.json").read_bytes()
    assert run("convert", source, "--as", "wan-vae", "--out", tmp_path / "source") == 2
    assert "config.json is another model's" in capsys.readouterr().err
    assert (tmp_path / "source" / "config.json").read_bytes() == before


def test_what_a_run_exported_goes_back(tmp_path, capsys):
    config = ControllerConfig(dit=CONFIGS["holocine"], camera="none")
    tensors, params = stored("holocine", "diffusers")
    weights.export("controller", params, config, tmp_path / "run", expert="low")
    options = "--expert", "low", "--out", tmp_path / "back.safetensors"
    assert run("convert", tmp_path / "run", "--to", "diffusers", *options) == 2
    assert "say it with --as" in capsys.readouterr().err
    assert run("convert", tmp_path / "run", "--to", "diffusers", "--as", "wan-dit", *options) == 0
    back = load_file(tmp_path / "back.safetensors")
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(back[name], tensor.astype(ml_dtypes.bfloat16))
    assert run("inspect", tmp_path / "run") == 0
    assert "ours, exported by a training run" in capsys.readouterr().out


def test_no_space(tmp_path, small, capsys, monkeypatch):
    tensors, convert = small
    monkeypatch.setattr(commands.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 100))
    assert convert(tensors) == 2
    assert "no space:" in refused(tmp_path, capsys)


def test_a_disk_that_fills_up_on_the_way(tmp_path, small, capsys, monkeypatch):
    tensors, convert = small
    made = []

    def create(path, leaf, chunks):
        made.append(path)
        if len(made) == 4:
            raise ValueError("RESOURCE_EXHAUSTED: Error writing file: No space left on device [source locations='x']")
        return real(path, leaf, chunks)

    real = stream._create
    monkeypatch.setattr(stream, "_create", create)
    assert convert(tensors) == 2
    text = refused(tmp_path, capsys)
    assert "ours cannot be written: No space left on device" in text
    assert "source locations" not in text


def test_what_exists_is_kept(small, tmp_path, capsys):
    tensors, convert = small
    assert convert(tensors) == 0
    before = (tmp_path / "ours" / "manifest.json").read_bytes()
    assert convert(tensors) == 2
    assert "exists; remove it" in capsys.readouterr().err
    assert (tmp_path / "ours" / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--as", "vgg"], "there is no network 'vgg'; known: qwen3-vl"),
        ([], "say what it is with --as"),
        (["--as", "umt5", "--expert", "high"], "is one network; --expert is for those of a controller"),
        (["--as", "umt5", "--shard-for", "rows=2"], "a mesh is written fsdp=8"),
        (["--as", "umt5", "--tokenizer", "nowhere.json"], "no tokenizer at nowhere.json"),
    ],
)
def test_options_that_make_no_sense(tmp_path, capsys, options, message):
    source = write(tmp_path / "source", SMALL, stored(SMALL)[0])
    assert run("convert", source, "--out", tmp_path / "ours", *options) == 2
    assert message in refused(tmp_path, capsys)


def test_dry_run_shows_the_table_and_what_is_missing(tmp_path, capsys):
    tensors = stored(SMALL, "transformers")[0]
    source = write(tmp_path / "source", SMALL, tensors)
    assert run("convert", source, "--as", SMALL, "--dry-run") == 0
    text = capsys.readouterr().out
    assert "layers/attn/q_proj/kernel" in text and "float32[3, 8, 6]" in text and "nothing is missing" in text
    del tensors["shared.weight"]
    write(tmp_path / "source", SMALL, tensors)
    assert run("convert", source, "--as", SMALL, "--dry-run") == 2
    tensors["shared.weight"] = np.zeros((20, 8), np.float32)
    del tensors["encoder.final_layer_norm.weight"]
    write(tmp_path / "source", SMALL, tensors)
    capsys.readouterr()
    assert run("convert", source, "--as", SMALL, "--dry-run") == 2
    text = capsys.readouterr()
    assert "layers/attn/q_proj/kernel" in text.out
    assert "missing from the checkpoint (1): norm.weight" in text.err
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize(("name", "style"), STYLES)
def test_inspect_knows_every_style(tmp_path, capsys, name, style):
    source = write(tmp_path, name, stored(name, style)[0])
    assert run("inspect", source) == 0
    text = capsys.readouterr().out
    assert f": {name}, names of {style}" in text
    assert "{i}" in text and " tensors, " in text and "float32, " in text


def test_inspect_of_ours_and_of_a_stranger(tmp_path, capsys, small):
    tensors, convert = small
    assert convert(tensors) == 0
    capsys.readouterr()
    assert run("inspect", tmp_path / "ours") == 0
    text = capsys.readouterr().out
    assert "ours, umt5 from weights.safetensors" in text and "layers/attn/q_proj/kernel" in text
    assert run("inspect", write(tmp_path / "x", "x", {"net.0.weight": np.zeros((2, 2), np.float32)})) == 0
    assert "no network that is known here" in capsys.readouterr().out


def test_the_way_back_is_strict(tmp_path, capsys, small):
    tensors, convert = small
    assert convert(tensors) == 0
    out = tmp_path / "back.safetensors"
    assert run("convert", tmp_path / "ours", "--to", "comfyui", "--out", out) == 2
    assert "has no names 'comfyui'; it has wan, transformers" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "ours" / "model" / "norm.scale")
    assert run("convert", tmp_path / "ours", "--to", "wan", "--out", out) == 2
    assert "norm.scale/.zarray is not there; make or fetch" in capsys.readouterr().err
    (tmp_path / "ours" / "model.sha256").unlink()
    assert run("convert", tmp_path / "ours", "--to", "wan", "--out", out) == 2
    assert "do not fit the config.json beside them: missing norm/scale" in capsys.readouterr().err
    assert not out.exists()


def test_a_converted_controller_keeps_its_settings(tmp_path):
    source = write(tmp_path / "source", "wan-dit", stored("holocine")[0])
    assert run("convert", source, "--as", "wan-dit", "--out", tmp_path / "ours", "--expert", "low") == 0
    config, _, _ = weights.load("controller", tmp_path / "ours", expert="low")
    assert isinstance(config, ControllerConfig) and config.windows == "none" and config.camera == "none"
    assert config.dit == dataclasses.replace(CONFIGS["holocine"])
