"""Adapter files: every format means the same change, there and back; what a file may not hold; a run's own adapter."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file, save_file

from shotverse_jax import cli, lora, weights
from shotverse_jax.config import LoraConfig, WanDiTConfig, controller_small, planner_nano
from shotverse_jax.conversion.lora import from_tensors, read_changes
from shotverse_jax.conversion.lora_write import FORMATS, export, read_camera, to_tensors, write_adapter, write_camera
from shotverse_jax.conversion.networks import NETWORKS
from shotverse_jax.models.camera_encoder import add_camera
from shotverse_jax.models.wan_dit import WanDiT
from shotverse_jax.nn.linear import Adapter
from shotverse_jax.weights import export_adapter, find_adapter, load_adapter

CONFIG = WanDiTConfig(
    hidden_size=24,
    num_layers=2,
    num_heads=2,
    mlp_size=40,
    frequency_size=8,
    text_size=10,
    latent_channels=4,
    camera=False,
)
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "ffn_in", "ffn_out")
LORA = LoraConfig(rank=3, alpha=1.5, targets=TARGETS)


def shaken(tree, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), tree)


@pytest.fixture(scope="module")
def abstract():
    return NETWORKS["wan-dit"].abstract(CONFIG)


@pytest.fixture(scope="module")
def adapter(abstract):
    """Of rank 3 and scale 1/2."""
    return shaken(jax.eval_shape(lambda: lora.init(jax.random.key(0), abstract, LORA)))


def deltas(adapter):
    """{linear: what is added to its kernels}, in float64."""
    return {
        "/".join(path[:-1]): leaf.scale * np.asarray(leaf.a, np.float64) @ np.asarray(leaf.b, np.float64)
        for path, leaf in flatten_dict(adapter).items()
    }


def assert_same(ours, theirs, tol=1e-6):
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], atol=tol, err_msg=name)


# What each family of programs writes for the query of block 1 (and its scale): the names are those programs'.
SPELLINGS = {
    "diffsynth": ("blocks.1.self_attn.q.lora_A.default.weight", "blocks.1.self_attn.q.lora_B.default.weight", None),
    "comfyui": (
        "diffusion_model.blocks.1.self_attn.q.lora_A.weight",
        "diffusion_model.blocks.1.self_attn.q.lora_B.weight",
        None,
    ),
    "kohya": (
        "diffusion_model.blocks.1.self_attn.q.lora_down.weight",
        "diffusion_model.blocks.1.self_attn.q.lora_up.weight",
        "diffusion_model.blocks.1.self_attn.q.alpha",
    ),
    "musubi": (
        "lora_unet_blocks_1_self_attn_q.lora_down.weight",
        "lora_unet_blocks_1_self_attn_q.lora_up.weight",
        "lora_unet_blocks_1_self_attn_q.alpha",
    ),
    "diffusers": (
        "transformer.blocks.1.attn1.to_q.lora_A.weight",
        "transformer.blocks.1.attn1.to_q.lora_B.weight",
        None,
    ),
    "peft": (
        "base_model.model.blocks.1.attn1.to_q.lora_A.weight",
        "base_model.model.blocks.1.attn1.to_q.lora_B.weight",
        None,
    ),
}
OTHER_LINEARS = {
    "diffsynth": "blocks.0.cross_attn.o. blocks.0.ffn.0. blocks.1.ffn.2.",
    "kohya": "diffusion_model.blocks.0.cross_attn.o. diffusion_model.blocks.0.ffn.0. diffusion_model.blocks.1.ffn.2.",
    "musubi": "lora_unet_blocks_0_cross_attn_o. lora_unet_blocks_0_ffn_0. lora_unet_blocks_1_ffn_2.",
    "diffusers": "transformer.blocks.0.attn2.to_out.0. transformer.blocks.1.ffn.net.0.proj.",
}


def test_the_formats_are_the_known_ones():
    assert FORMATS.keys() == SPELLINGS.keys()


@pytest.mark.parametrize("fmt", SPELLINGS)
def test_names_shapes_and_scales(adapter, fmt):
    tensors = to_tensors(adapter, CONFIG, fmt)
    down, up, alpha = SPELLINGS[fmt]
    assert len(tensors) == 2 * 10 * (3 if alpha else 2)
    query = adapter["blocks"]["self_attn"]["q_proj"]["adapter"]
    np.testing.assert_array_equal(tensors[down], query.a[1].T)
    kept = alpha or fmt == "peft"  # the others have no place for a scale
    np.testing.assert_array_equal(tensors[up], query.b[1].T * (1 if kept else 0.5))
    if alpha:
        assert tensors[alpha].shape == () and tensors[alpha] == 1.5
    for name in OTHER_LINEARS.get(fmt, "").split():
        assert any(key.startswith(name) for key in tensors), name


@pytest.mark.parametrize("fmt", SPELLINGS)
def test_every_format_loads_to_the_same_change_and_back_to_the_same_bytes(adapter, fmt, tmp_path):
    first = write_adapter(adapter, CONFIG, fmt, tmp_path / "first", dtype="float32")
    changes = read_changes(tmp_path / "first", CONFIG)
    assert_same(deltas(changes.adapter), deltas(adapter))
    assert not changes.deltas
    again = write_adapter(changes.adapter, CONFIG, fmt, tmp_path / "again", dtype="float32")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in first]
    assert {path.name for path in first} == {FORMATS[fmt].file} | ({"adapter_config.json"} if fmt == "peft" else set())
    one_by_one = read_changes(first[0], CONFIG).adapter
    jax.tree.map(np.testing.assert_array_equal, one_by_one, changes.adapter)


def test_bfloat16_files_round_the_factors_once(adapter, tmp_path):
    write_adapter(adapter, CONFIG, "kohya", tmp_path)
    stored = load_file(tmp_path / "lora.safetensors")
    assert {str(tensor.dtype) for tensor in stored.values()} == {"bfloat16", "float32"}  # alpha stays
    half = jax.tree.map(lambda leaf: leaf.astype(stored[SPELLINGS["kohya"][0]].dtype).astype(np.float32), adapter)
    jax.tree.map(np.testing.assert_array_equal, read_changes(tmp_path, CONFIG).adapter, half)


def pair(rank, seed, width_in=24, width_out=24):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rank, width_in)).astype(np.float32), rng.normal(size=(width_out, rank)).astype(np.float32)


def test_alpha_and_ranks_of_their_own():
    """Block 0 has rank 2 and alpha 6, block 1 rank 5 and no alpha: the stack has rank 5 and every block its scale."""
    stem = "diffusion_model.blocks.{}.cross_attn.k"
    (a0, b0), (a1, b1) = pair(2, 0), pair(5, 1)
    tensors = {
        stem.format(0) + ".lora_down.weight": a0,
        stem.format(0) + ".lora_up.weight": b0,
        stem.format(0) + ".alpha": np.array(6, np.float16),
        stem.format(1) + ".lora_down.weight": a1,
        stem.format(1) + ".lora_up.weight": b1,
    }
    tree = from_tensors(tensors, CONFIG).adapter
    leaf = tree["blocks"]["cross_attn"]["k_proj"]["adapter"]
    assert leaf.a.shape == (2, 24, 5) and leaf.scale == 1.0
    [delta] = deltas(tree).values()
    np.testing.assert_allclose(delta[0], (3.0 * b0.astype(np.float64) @ a0).T, atol=1e-5)
    np.testing.assert_allclose(delta[1], (b1.astype(np.float64) @ a1).T, atol=1e-5)
    del tensors[stem.format(0) + ".alpha"]
    leaf = from_tensors(tensors, CONFIG).adapter["blocks"]["cross_attn"]["k_proj"]["adapter"]
    np.testing.assert_array_equal(leaf.a[0], np.pad(a0.T, ((0, 0), (0, 3))))  # filled up with zeros, nothing else
    np.testing.assert_array_equal(leaf.b[0], np.pad(b0.T, ((0, 3), (0, 0))))


def test_a_block_that_a_file_leaves_out_stays():
    a, b = pair(2, 0)
    stem = "lora_unet_blocks_1_self_attn_v"
    tensors = {f"{stem}.lora_down.weight": a, f"{stem}.lora_up.weight": b, f"{stem}.alpha": np.float32(4)}
    leaf = from_tensors(tensors, CONFIG).adapter["blocks"]["self_attn"]["v_proj"]["adapter"]
    assert leaf.scale == 2.0 and not leaf.b[0].any() and leaf.b[1].any()


@pytest.mark.parametrize(
    "peft, scale",
    [
        ({"r": 9, "lora_alpha": 6}, 3.0),
        ({"lora_alpha": 6, "use_rslora": True}, 6 / 2**0.5),
        ({"lora_alpha": 6, "alpha_pattern": {"attn1.to_q": 1}}, 0.5),
        ({"lora_alpha": 6, "alpha_pattern": {"attn2.to_q": 1, "to_v": 1}}, 3.0),
    ],
)
def test_scales_of_peft(peft, scale):
    a, b = pair(2, 0)
    stem = "base_model.model.blocks.0.attn1.to_q.lora_"
    tree = from_tensors({f"{stem}A.weight": a, f"{stem}B.weight": b}, CONFIG, peft).adapter
    assert tree["blocks"]["self_attn"]["q_proj"]["adapter"].scale == pytest.approx(scale)


def test_ranks_per_linear_are_told_to_peft(tmp_path):
    """PEFT's own rule for the scales, read from the config that is written."""
    rng = np.random.default_rng(0)

    def leaf(rank, scale):
        return Adapter(rng.normal(size=(2, 24, rank)), rng.normal(size=(2, rank, 24)), scale)

    attention = {name: {"adapter": leaf(3, 2.0)} for name in ("q_proj", "k_proj")}
    tree = {"blocks": {"self_attn": attention, "cross_attn": {"q_proj": {"adapter": leaf(5, 0.25)}}}}
    write_adapter(tree, CONFIG, "peft", tmp_path, dtype="float32")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (3, 6.0)
    assert config["target_modules"] == ["attn1.to_k", "attn1.to_q", "attn2.to_q"]
    assert config["rank_pattern"] == {"attn2.to_q": 5} and config["alpha_pattern"] == {"attn2.to_q": 1.25}
    assert_same(deltas(read_changes(tmp_path, CONFIG).adapter), deltas(tree))


def test_whole_deltas_change_whole_parameters(abstract):
    rng = np.random.default_rng(0)
    params = shaken(abstract, 1)
    stem = "diffusion_model."
    shapes = {
        "blocks.1.cross_attn.q.diff_b": (24,),
        "blocks.0.ffn.0.diff": (40, 24),
        "blocks.0.norm3.diff": (24,),
        "blocks.1.self_attn.norm_k.diff": (24,),
        "blocks.1.diff_m": (1, 6, 24),
        "patch_embedding.diff": (24, 4, 1, 2, 2),
        "head.head.diff": (16, 24),
    }
    tensors = {stem + name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    changes = from_tensors(tensors, CONFIG)
    assert not changes.adapter
    before = NETWORKS["wan-dit"].to_torch(params, CONFIG)
    after = NETWORKS["wan-dit"].to_torch(lora.fold(params, [(changes, 1.0)]), CONFIG)
    stored = {".diff_b": ".bias", ".diff_m": ".modulation", ".diff": ".weight"}
    changed = {}
    for name in shapes:
        ending = next(end for end in stored if name.endswith(end))
        changed[name.removesuffix(ending) + stored[ending]] = tensors[stem + name]
    for name in before:
        np.testing.assert_allclose(after[name], before[name] + changed.get(name, 0), atol=1e-6, err_msg=name)


def test_a_bias_of_B_is_scaled_with_it():
    a, b = pair(2, 0)
    stem = "base_model.model.blocks.1.attn2.to_k.lora_"
    tensors = {f"{stem}A.weight": a, f"{stem}B.weight": b, f"{stem}B.bias": np.ones(24, np.float32)}
    changes = from_tensors(tensors, CONFIG, {"lora_alpha": 6})
    assert changes.deltas.keys() == {"blocks/cross_attn/k_proj/bias"}
    np.testing.assert_array_equal(
        changes.deltas["blocks/cross_attn/k_proj/bias"], np.array([[0.0], [3.0]]) + np.zeros(24)
    )


def test_an_adapter_of_the_patch_embedding_is_a_convolution(abstract, tmp_path):
    config = LoraConfig(rank=2, alpha=2.0, targets=("patch_embed", "head"))
    tree = shaken(jax.eval_shape(lambda: lora.init(jax.random.key(0), abstract, config)))
    tensors = to_tensors(tree, CONFIG, "comfyui")
    assert tensors["diffusion_model.patch_embedding.lora_A.weight"].shape == (2, 4, 1, 2, 2)
    assert tensors["diffusion_model.patch_embedding.lora_B.weight"].shape == (24, 2, 1, 1, 1)
    assert_same(deltas(from_tensors(tensors, CONFIG).adapter), deltas(tree))


def test_everything_wrong_is_listed_at_once():
    a, b = pair(2, 0)
    stem = "diffusion_model.blocks.0.self_attn."
    tensors = {
        stem + "q.lora_A.weight": a,
        stem + "q.lora_B.weight": b,
        stem + "q.dora_scale": np.ones((1, 24), np.float32),
        stem + "k.lora_A.weight": a,
        stem + "v.alpha": np.float32(1),
        stem + "o.lora_A.weight": a[:, :-1],
        stem + "o.lora_B.weight": b,
        stem + "norm_q.lora_A.weight": a,
        stem + "norm_q.lora_B.weight": b,
        stem + "v.diff_b": np.ones(23, np.float32),
        "diffusion_model.blocks.2.ffn.0.lora_A.weight": a,
        "diffusion_model.blocks.0.cross_attn.k_img.lora_A.weight": a,
        "diffusion_model.blocks.0.cross_attn.q.alpha": np.ones(2, np.float32),
        "lora_unet_blocks_0_cross_attn_v.lora_down.weight": a,
        "lora_unet_blocks_0_cross_attn_v.lora_up.weight": b,
    }
    with pytest.raises(ValueError) as caught:
        from_tensors(tensors, CONFIG)
    message = str(caught.value)
    for part in (
        f"not a key of a LoRA (1): {stem}q.dora_scale",
        "keys of several formats (2)",
        "blocks.0.self_attn.k.lora_A.weight",
        "blocks.0.self_attn.v.alpha",
        "o.lora_A.weight (2, 23) with B (24, 2), blocks/self_attn/o_proj/kernel has (24, 24)",
        "norm_q.lora_A.weight, ",
        "v.diff_b (23,) for blocks/self_attn/v_proj/bias, which has (24,)",
        "blocks.2.ffn.0.lora_A.weight",
        "k_img.lora_A.weight",
        "cross_attn.q.alpha (2,)",
    ):
        assert part in message, part
    with pytest.raises(ValueError, match="the file is empty"):
        from_tensors({}, CONFIG)
    with pytest.raises(ValueError, match="two names"):
        twice = {"blocks.0.self_attn.q.lora_A.weight": a, "blocks.0.attn1.to_q.lora_A.weight": a}
        from_tensors(twice, CONFIG)
    with pytest.raises(ValueError, match="the same twice"):
        twice = {"blocks.0.self_attn.q.lora_A.weight": a, "blocks.0.self_attn.q.lora_A.other.weight": a}
        from_tensors(twice, CONFIG)


@pytest.mark.parametrize(
    "peft, message",
    [
        ({"lora_alpha": 1, "use_dora": True}, "use_dora"),
        ({"peft_type": "LOHA"}, "peft_type LOHA"),
        ({"lora_alpha": 1, "init_lora_weights": "pissa_niter_4"}, "init_lora_weights pissa_niter_4"),
        ({"r": 2}, "no lora_alpha"),
    ],
)
def test_what_is_more_than_a_lora_is_refused(peft, message):
    a, b = pair(2, 0)
    stem = "base_model.model.blocks.0.attn1.to_q.lora_"
    with pytest.raises(ValueError, match=message):
        from_tensors({f"{stem}A.weight": a, f"{stem}B.weight": b}, CONFIG, peft)


def test_read_in_the_network_it_is_the_adapter(abstract, adapter, tmp_path):
    """B = 0 changes no bit; unmerged, merged, and merged from the file are the same."""
    params = jax.tree.map(lambda leaf: 0.3 * leaf, shaken(abstract, 1))
    model, rng = WanDiT(CONFIG), np.random.default_rng(2)
    inputs = rng.normal(size=(1, 2, 4, 4, 4)).astype(np.float32), np.array([400.0]), rng.normal(size=(1, 3, 10))
    run = jax.jit(lambda variables: model.apply(variables, *inputs))
    write_adapter(adapter, CONFIG, "musubi", tmp_path, dtype="float32")
    read = read_changes(tmp_path, CONFIG).adapter
    read = jax.tree.map(lambda leaf: 0.1 * leaf, read)
    side = run({"params": params, "lora": read})
    assert np.abs(side - run({"params": params})).max() > 1e-2
    np.testing.assert_allclose(run({"params": lora.merge(params, read)}), side, atol=1e-5)
    none = to_tensors(jax.tree.map(np.zeros_like, adapter), CONFIG, "kohya")
    changes = from_tensors(none, CONFIG)
    np.testing.assert_array_equal(run({"params": lora.merge(params, changes.adapter)}), run({"params": params}))


# ---------------------------------------------------------------------------------------------------- planners, runs


def test_a_planners_adapter_in_pefts_format(tmp_path):
    config = planner_nano().text
    abstract = NETWORKS["qwen3-vl-text"].abstract(config)
    tree = shaken(jax.eval_shape(lambda: lora.init(jax.random.key(0), abstract, LoraConfig(rank=2, alpha=4.0))))
    write_adapter(tree, config, "peft", tmp_path, dtype="float32")
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    assert len(tensors) == 2 * 14
    assert tensors["base_model.model.model.language_model.layers.1.mlp.down_proj.lora_A.weight"].shape == (2, 64)
    assert tensors["base_model.model.model.language_model.layers.0.self_attn.k_proj.lora_B.weight"].shape == (32, 2)
    read = read_changes(tmp_path, config).adapter
    jax.tree.map(np.testing.assert_array_equal, read, tree)
    assert read["layers"]["mlp"]["up_proj"]["adapter"].scale == 2.0
    bare = {name.replace("model.language_model.", ""): tensor for name, tensor in tensors.items()}  # of the text model
    jax.tree.map(np.testing.assert_array_equal, from_tensors(bare, config, {"lora_alpha": 4}).adapter, tree)
    visual = "base_model.model.model.visual.blocks.0.attn.qkv.lora_A.weight"
    with pytest.raises(ValueError, match="network lacks .*visual"):
        from_tensors(tensors | {visual: np.ones((2, 8), np.float32)}, config, {"lora_alpha": 4})
    with pytest.raises(ValueError, match='of a planner as "comfyui"; its formats are peft'):
        write_adapter(tree, config, "comfyui", tmp_path)


@pytest.fixture(scope="module")
def controller():
    return dataclasses.replace(controller_small(), dit=dataclasses.replace(CONFIG, camera=True), lora=LORA)


@pytest.fixture
def run(tmp_path, adapter, controller, abstract):
    """The folder of a run of both experts: the merged models and their adapters."""
    folder = tmp_path / "run" / "export"
    camera = shaken({"blocks": {"camera": add_camera(abstract)["blocks"]["camera"]}}, 3)
    for expert in ("high", "low"):
        weights.export("controller", shaken(abstract), controller, folder, expert=expert)
        export_adapter(adapter, camera if expert == "high" else {}, controller, folder / "adapter", expert)
    return folder.parent


def test_an_experts_own_adapter_comes_back(run, adapter, controller):
    config, read, params = load_adapter(run / "export" / "adapter", "high")
    assert config == controller
    assert jax.tree.structure(read) == jax.tree.structure(adapter)  # with scale and dropout
    jax.tree.map(lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=2**-8), read, adapter)
    assert params["blocks"]["camera"]["kernel"].shape == (2, 12, 24)
    assert load_adapter(run / "export" / "adapter", "low")[2] == {}
    with pytest.raises(ValueError, match="is a controller, not an adapter"):
        load_adapter(run / "export", "low")


def test_an_adapter_is_found_from_its_run(run):
    for place in ("", "export", "export/adapter"):
        assert find_adapter(run / place) == run / "export" / "adapter"


def test_export_lora_on_the_command_line(run, adapter, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["export-lora", str(run), "--to", "comfyui", "--out", str(out)]) == 0
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert files == {"high/lora.safetensors", "low/lora.safetensors", "high/camera.safetensors"}
    assert "high/camera.safetensors" in capsys.readouterr().err
    ours = load_adapter(run / "export" / "adapter", "high")
    assert_same(deltas(read_changes(out / "high" / "lora.safetensors", CONFIG).adapter), deltas(ours[1]), tol=1e-5)
    camera = read_camera(out / "high" / "camera.safetensors", CONFIG)
    jax.tree.map(np.testing.assert_array_equal, camera, ours[2]["blocks"]["camera"])
    names = load_file(out / "high" / "camera.safetensors")
    assert names["blocks.1.cam_encoder.weight"].shape == (24, 12) and len(names) == 4


def test_export_of_a_planners_run(tmp_path):
    config = dataclasses.replace(planner_nano(), lora=LoraConfig(rank=2, alpha=4.0))
    rest = shaken(weights.abstract("planner", config))
    abstract = rest.pop("vlm")
    tree = shaken(jax.eval_shape(lambda: lora.init(jax.random.key(0), abstract, config.lora)))
    export_adapter(tree, rest, config, tmp_path / "adapter")
    paths = export(tmp_path, "peft", tmp_path / "out")
    assert [path.name for path in paths] == [
        "adapter_model.safetensors",
        "adapter_config.json",
        "query_embed.safetensors",
    ]
    read = read_changes(tmp_path / "out", config.text).adapter
    jax.tree.map(np.testing.assert_array_equal, read, load_adapter(tmp_path / "adapter")[1])
    assert load_file(paths[-1])["query_embed"].shape == (2, 32)


def test_command_line_errors(run, tmp_path, capsys):
    def refused(source, fmt):
        assert cli.main(["export-lora", str(source), "--to", fmt, "--out", str(tmp_path / "out")]) == 2
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().err

    assert 'as "kojya"; its formats are diffsynth, comfyui' in refused(run, "kojya")
    assert "holds no adapter: give a run" in refused(tmp_path / "nowhere", "peft")
    (run / "export" / "adapter" / "config.json").unlink()
    assert "holds no adapter" in refused(run, "peft")  # the merged model is none


def test_cameras_that_do_not_fit_are_named(tmp_path, abstract):
    camera = add_camera(abstract)["blocks"]["camera"]
    path = write_camera(camera, CONFIG, tmp_path / "camera.safetensors")
    save_file(load_file(path) | {"shot_embedding": np.zeros(2, np.float32)}, path)
    with pytest.raises(ValueError, match="shot_embedding"):
        read_camera(path, CONFIG)
