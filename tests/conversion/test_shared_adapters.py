"""Adapters as people share them: every spelling of keys, alpha wherever a trainer keeps it, PyTorch files, inspect."""

import json

import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file

from shotverse_jax import cli
from shotverse_jax.config import ControllerConfig, WanDiTConfig
from shotverse_jax.conversion.adapters import read_loras
from shotverse_jax.conversion.lora import read_changes

DIT = WanDiTConfig(
    hidden_size=24,
    num_layers=2,
    num_heads=2,
    mlp_size=20,
    frequency_size=8,
    text_size=10,
    latent_channels=4,
    camera=False,
)
RANK, ALPHA = 2, 6.0
WAN = ("self_attn.q", "cross_attn.o", "ffn.0")
DIFFUSERS = ("attn1.to_q", "attn2.to_out.0", "ffn.net.0.proj")
PEFT = {"r": RANK, "lora_alpha": ALPHA, "alpha_pattern": {}, "use_dora": False}


def matrices(seed=0):
    """{(layer, number of a linear in WAN): (A, B)}."""
    rng = np.random.default_rng(seed)
    sizes = ((24, 24), (24, 24), (24, 20))
    return {
        (layer, i): (rng.normal(size=(RANK, n)).astype(np.float32), rng.normal(size=(m, RANK)).astype(np.float32))
        for layer in range(2)
        for i, (n, m) in enumerate(sizes)
    }


def tensors(spelling="diffusion_model.blocks.{}.{}.lora_{}.weight", names=WAN, words="AB", alpha=None, seed=0):
    """Keys by a pattern of layer, linear and word."""
    held = {}
    for (layer, i), (a, b) in matrices(seed).items():
        for word, matrix in zip(words, (a, b), strict=True):
            held[spelling.format(layer, names[i], word)] = matrix
        if alpha is not None:
            held[spelling.format(layer, names[i], "?").split(".lora_?")[0] + ".alpha"] = np.array(alpha, np.float32)
    return held


def deltas(changes):
    """{parameter: what is added}, with the scale."""
    leaves = flatten_dict(changes.adapter, sep="/").items()
    return {path: leaf.scale * np.asarray(leaf.a) @ np.asarray(leaf.b) for path, leaf in leaves}


def expected(scale=1.0, seed=0):
    held = matrices(seed)
    paths = ("blocks/self_attn/q_proj/adapter", "blocks/cross_attn/o_proj/adapter", "blocks/ffn_in/adapter")
    layers = [[held[layer, i] for layer in range(2)] for i in range(3)]
    return {path: np.stack([scale * (b @ a).T for a, b in pairs]) for path, pairs in zip(paths, layers, strict=True)}


def assert_read(path, scale=1.0, **options):
    ours, theirs = deltas(read_changes(path, DIT, **options)), expected(scale)
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, atol=1e-5)


SPELLINGS = {
    "bare": ("blocks.{}.{}.lora_{}.weight", WAN, "AB"),
    "model.diffusion_model": ("model.diffusion_model.blocks.{}.{}.lora_{}.weight", WAN, "AB"),
    "base_model.model.diffusion_model": ("base_model.model.diffusion_model.blocks.{}.{}.lora_{}.weight", WAN, "AB"),
    "dit": ("dit.blocks.{}.{}.lora_{}.weight", WAN, "AB"),
    "pipe.dit": ("pipe.dit.blocks.{}.{}.lora_{}.default.weight", WAN, "AB"),
    "unet": ("unet.blocks.{}.{}.lora_{}.weight", WAN, "AB"),
    "module and a compiled block": ("module.blocks.{}._orig_mod.{}.lora_{}.weight", WAN, "AB"),
    "no .weight": ("blocks.{}.{}.lora_{}.default", WAN, "AB"),
    "lower case": ("model.blocks.{}.{}.lora_{}.weight", WAN, "ab"),
    "lora.down": ("transformer.blocks.{}.{}.lora.{}.weight", DIFFUSERS, ("down", "up")),
    "lora_linear_layer": ("unet.blocks.{}.{}.lora_linear_layer.{}.weight", DIFFUSERS, ("down", "up")),
    "transformer, down": ("transformer.blocks.{}.{}.lora_{}.weight", DIFFUSERS, ("down", "up")),
}
FLAT = {
    "lora_unet": ("lora_unet_blocks_{}_{}.lora_{}.weight", WAN),
    "lora_unet__": ("lora_unet__blocks_{}_{}.lora_{}.weight", WAN),
    "lycoris": ("lycoris_blocks_{}_{}.lora_{}.weight", WAN),
    "lora_transformer": ("lora_transformer_blocks_{}_{}.lora_{}.weight", DIFFUSERS),
    "lora_unet, with dots": ("lora_unet_blocks_{}.{}.lora_{}.weight", WAN),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_spellings(tmp_path, name):
    spelling, names, words = SPELLINGS[name]
    save_file(tensors(spelling, names, words), tmp_path / "a.safetensors")
    assert_read(tmp_path / "a.safetensors")


@pytest.mark.parametrize("name", FLAT)
def test_flat_spellings(tmp_path, name):
    spelling, names = FLAT[name]
    names = names if "dots" in name else [one.replace(".", "_") for one in names]
    save_file(tensors(spelling, names, ("down", "up"), ALPHA), tmp_path / "a.safetensors")
    assert_read(tmp_path / "a.safetensors", ALPHA / RANK)


def test_processors_of_old_diffusers(tmp_path):
    a, b = matrices()[0, 1]
    stem = "transformer.blocks.0.attn2.processor.to_out_lora."
    save_file({stem + "down.weight": a, stem + "up.weight": b}, tmp_path / "a.safetensors")
    [delta] = deltas(read_changes(tmp_path / "a.safetensors", DIT)).values()
    np.testing.assert_allclose(delta[0], (b @ a).T, rtol=1e-5)


@pytest.mark.parametrize(
    "header",
    [
        {"lora_adapter_metadata": json.dumps({f"transformer.{name}": value for name, value in PEFT.items()})},
        {"transformer_lora_adapter_metadata": json.dumps(PEFT)},
        {"lora_config": json.dumps({"transformer": PEFT})},
        {"transformer.r": "2", "transformer.lora_alpha": "6"},
        {"r": "2", "lora_alpha": "6.0", "use_dora": "False"},
        {"rank": "2", "alpha": "6"},
        {"ss_network_dim": "2", "ss_network_alpha": "6.0"},
        {"lora_alpha": "1", "alpha_pattern": json.dumps({"attn1.to_q": 6, "to_out.0": 6, "ffn.*": 6})},
    ],
)
def test_alpha_in_the_header(tmp_path, header):
    spelling = "transformer.blocks.{}.{}.lora_{}.weight"
    save_file(tensors(spelling, DIFFUSERS), tmp_path / "a.safetensors", {"format": "pt", **header})
    assert_read(tmp_path / "a.safetensors", ALPHA / RANK)


def test_alpha_beside_the_file(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps(PEFT | {"use_rslora": True}))
    save_file(tensors("base_model.model.blocks.{}.{}.lora_{}.weight"), tmp_path / "adapter_model.safetensors")
    assert_read(tmp_path, ALPHA / RANK**0.5)


def test_an_alpha_of_its_own_comes_before_the_header(tmp_path):
    spelling = "diffusion_model.blocks.{}.{}.lora_{}.weight"
    held = tensors(spelling, words=("down", "up"), alpha=ALPHA)
    save_file(held, tmp_path / "a.safetensors", {"ss_network_alpha": "1"})
    assert_read(tmp_path / "a.safetensors", ALPHA / RANK)
    save_file(tensors() | {"alpha": np.array(ALPHA, np.float32)}, tmp_path / "b.safetensors")  # one for the whole file
    assert_read(tmp_path / "b.safetensors", ALPHA / RANK)


def test_a_converters_header_is_the_trainers(tmp_path):
    """musubi's converter multiplies alpha into A and B, and keeps what the trainer wrote into the header."""
    path = tmp_path / "a.safetensors"
    save_file(tensors(), path, {"ss_network_alpha": "6.0", "ss_network_module": "networks.lora_wan"})
    assert_read(path)
    [read] = read_loras([str(path)], ControllerConfig(dit=DIT, camera="none"))
    assert "ss_network_alpha 6.0 is not applied" in read.notes[0]


def test_headers_that_make_no_sense(tmp_path):
    path = tmp_path / "a.safetensors"
    for header, words in (
        ({"lora_alpha": "much"}, "says alpha 'much', which is not a number"),
        ({"lora_adapter_metadata": "{"}, "is not JSON"),
        ({"lora_alpha": "2", "use_dora": "True"}, "not a plain LoRA .use_dora."),
    ):
        save_file(tensors(), path, header)
        with pytest.raises(ValueError, match=words):
            read_changes(path, DIT)


@pytest.mark.parametrize("name", ["a.pt", "a.bin", "a.ckpt"])
def test_pytorch_files(tmp_path, name):
    torch = pytest.importorskip("torch")
    held = {key: torch.from_numpy(np.array(value)) for key, value in tensors(alpha=ALPHA).items()}
    wrapped = {"network": {"state_dict": held}, "epoch": 3}
    for saved in (held, {"state_dict": held}, wrapped):
        torch.save(saved, tmp_path / name)
        assert_read(tmp_path / name, ALPHA / RANK)
    held = {key: value for key, value in held.items() if not key.endswith("alpha")}
    numbers = {key.replace(".lora_A.weight", ".alpha"): ALPHA for key in held if "lora_A" in key}
    for beside in ({"alpha": 6, "rank": 2}, {"lora_config": PEFT}, numbers):
        torch.save(held | beside, tmp_path / name)
        assert_read(tmp_path / name, ALPHA / RANK)
    torch.save({"alpha": 6}, tmp_path / name)
    with pytest.raises(ValueError, match="holds no tensors, but alpha"):
        read_changes(tmp_path / name, DIT)


def test_pytorch_file_in_pefts_folder(tmp_path):
    torch = pytest.importorskip("torch")
    (tmp_path / "adapter_config.json").write_text(json.dumps(PEFT))
    torch.save({key: torch.from_numpy(value) for key, value in tensors().items()}, tmp_path / "adapter_model.bin")
    assert_read(tmp_path, ALPHA / RANK)


IMAGE = {
    "diffusion_model.blocks.0.cross_attn.k_img.lora_A.weight": np.ones((RANK, 24), np.float32),
    "diffusion_model.blocks.0.cross_attn.norm_k_img.diff": np.ones(24, np.float32),
    "diffusion_model.img_emb.proj.1.lora_A.weight": np.ones((RANK, 24), np.float32),
}


def test_the_branch_for_an_image_is_left_out_by_name(tmp_path):
    path = tmp_path / "i2v.safetensors"
    save_file(tensors() | IMAGE, path)
    with pytest.raises(ValueError, match=r"branch for an image.*strict=False leaves them out.* \(3\): .*k_img"):
        read_changes(path, DIT)
    assert_read(path, strict=False)
    assert read_changes(path, DIT, strict=False).unused == tuple(sorted(IMAGE))
    [read] = read_loras([str(path)], ControllerConfig(dit=DIT, camera="none"))
    assert "no branch for an image, so it has nothing for" in read.notes[0] and all(
        key in read.notes[0] for key in IMAGE
    )


@pytest.mark.parametrize(
    ("high", "low"),
    [
        ("transformer.", "transformer_2."),
        ("base_model.model.transformer.", "base_model.model.transformer_2."),
        ("pipe.dit.", "pipe.dit2."),
        ("high.", "low."),
        ("transformer_high_noise.", "transformer_low_noise."),
        ("diffusion_model.high_noise_model.", "diffusion_model.low_noise_model."),
    ],
)
def test_both_experts_in_one_file(tmp_path, high, low):
    held = tensors(high + "blocks.{}.{}.lora_{}.weight") | tensors(low + "blocks.{}.{}.lora_{}.weight", seed=1)
    save_file(held, tmp_path / "a.safetensors")
    [read] = read_loras([str(tmp_path / "a.safetensors")], ControllerConfig(dit=DIT, camera="none"))
    for seed, name in enumerate(("high", "low")):
        ours, theirs = deltas(read.experts[name]), expected(seed=seed)
        for path, delta in theirs.items():
            np.testing.assert_allclose(ours[path], delta, rtol=1e-5, atol=1e-5)
    assert not read.notes


def test_what_changes_nothing_is_said(tmp_path, capsys):
    path, config = tmp_path / "a.safetensors", ControllerConfig(dit=DIT, camera="none")
    untrained = {key: value * ("lora_B" not in key) for key, value in tensors().items()}
    without_alpha = tensors() | {key.replace("lora_A.weight", "alpha"): np.zeros(1) for key in tensors() if "_A" in key}
    for held in (untrained, without_alpha):
        save_file(held, path)
        with pytest.raises(ValueError, match="changes nothing"):
            read_loras([str(path)], config)
        assert cli.main(["inspect", str(path)]) == 0 and "it changes nothing" in capsys.readouterr().out
    low = {key.replace("diffusion_model", "low_noise_model"): value for key, value in untrained.items()}
    save_file(low | tensors("high_noise_model.blocks.{}.{}.lora_{}.weight"), path)
    [read] = read_loras([str(path)], config)
    assert "changes nothing of the expert low" in read.notes[0]
    save_file(tensors() | {"diffusion_model.blocks.0.ffn.0.lora_A.weight": np.full((RANK, 24), np.nan)}, path)
    with pytest.raises(ValueError, match=r"NaN or infinity \(1\): diffusion_model.blocks.0.ffn.0.lora_A"):
        read_loras([str(path)], config)


def test_inspect_says_what_an_adapter_is(tmp_path, capsys):
    path = tmp_path / "a.safetensors"
    save_file(tensors() | IMAGE, path, {"lora_alpha": "6", "comment": "trained for low_noise"})
    assert cli.main(["inspect", str(path)]) == 0
    text = capsys.readouterr().out
    assert "an adapter (LoRA) for the expert low of Wan's video transformer, as its metadata say" in text
    assert "6 linears, rank 2, scale alpha / rank 3 (alpha: its header)" in text
    assert "keys: AB below diffusion_model." in text and "3 keys of a branch for an image" in text
    assert "changes nothing" not in text
    save_file(tensors("unknown.{}.{}.lora_{}.weight"), path)
    assert cli.main(["inspect", str(path)]) == 0
    assert "for a network that is not known here" in capsys.readouterr().out


# ---------------------------------------------------------------------------------------------------- shared files

CASE = WanDiTConfig(
    hidden_size=256,
    num_layers=2,
    num_heads=2,
    mlp_size=64,
    frequency_size=32,
    text_size=16,
    latent_channels=16,
    camera=False,
)


def test_case_spellings(reference):
    folder = reference / "cases" / "31-lora-keys"
    wanted = deltas(read_changes(folder / "kohya_dm.safetensors", CASE))
    files = sorted(folder.glob("*.safetensors"))
    assert len(files) == 7
    for path in files:
        read = deltas(read_changes(path, CASE, strict=False))
        kept = path.stem in ("kohya_dm", "lora_unet_dotted", "i2v_on_t2v")
        assert read.keys() == wanted.keys()
        for name, delta in read.items():
            np.testing.assert_allclose(delta * (1 if kept else 0.5), wanted[name], rtol=1e-4, atol=1e-3)


def test_case_pytorch_file(reference):
    pytest.importorskip("torch")
    folder = reference / "cases" / "36-lora-pt-crash"
    ours, theirs = (
        deltas(read_changes(folder / name, CASE)) for name in ("torch_lora.pt", "same_as_safetensors.safetensors")
    )
    for name in theirs:
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_case_alpha_in_the_header(reference):
    for path in (reference / "cases" / "39-lora-alpha-in-metadata").glob("*.safetensors"):
        leaves = flatten_dict(read_changes(path, CASE).adapter).values()
        assert {leaf.scale for leaf in leaves} == {4.0}, path
