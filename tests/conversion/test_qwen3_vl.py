"""The names and sizes of real Qwen3-VL checkpoints, without their weights."""

import dataclasses
import json
import math

import jax
import numpy as np
import pytest

from shotverse_jax.config import Qwen3VLConfig, Qwen3VLTextConfig, Qwen3VLVisionConfig, planner_nano
from shotverse_jax.config import qwen3_vl as config_of_size
from shotverse_jax.conversion import core, qwen3_vl
from shotverse_jax.conversion.networks import NETWORKS

BFLOAT16 = jax.dtypes.bfloat16

LAYER = {
    "self_attn.q_proj": (2048, 2048),
    "self_attn.k_proj": (1024, 2048),
    "self_attn.v_proj": (1024, 2048),
    "self_attn.o_proj": (2048, 2048),
    "self_attn.q_norm": (128,),
    "self_attn.k_norm": (128,),
    "mlp.gate_proj": (6144, 2048),
    "mlp.up_proj": (6144, 2048),
    "mlp.down_proj": (2048, 6144),
    "input_layernorm": (2048,),
    "post_attention_layernorm": (2048,),
}
VISION_BLOCK = {
    "norm1": (1024,),
    "norm2": (1024,),
    "attn.qkv": (3072, 1024),
    "attn.proj": (1024, 1024),
    "mlp.linear_fc1": (4096, 1024),
    "mlp.linear_fc2": (1024, 4096),
}
MERGER = {"linear_fc1": (4096, 4096), "linear_fc2": (2048, 4096)}


def checkpoint_2b():
    """Every name of the hub's Qwen3-VL-2B file with its shape."""
    text = {"embed_tokens": (151936, 2048), "norm": (2048,)}
    text |= {f"layers.{i}.{name}": shape for i in range(28) for name, shape in LAYER.items()}
    names = {f"model.language_model.{name}.weight": shape for name, shape in text.items()}
    vision = {f"blocks.{i}.{name}": shape for i in range(24) for name, shape in VISION_BLOCK.items()}
    vision |= {f"merger.{name}": shape for name, shape in (MERGER | {"norm": (1024,)}).items()}
    deepstack = MERGER | {"norm": (4096,)}
    vision |= {f"deepstack_merger_list.{i}.{name}": shape for i in range(3) for name, shape in deepstack.items()}
    vision["patch_embed.proj"] = (1024, 3, 2, 16, 16)
    names |= {f"model.visual.{name}.weight": shape for name, shape in vision.items()}
    names |= {f"model.visual.{name}.bias": shape[:1] for name, shape in vision.items()}
    names["model.visual.pos_embed.weight"] = (2304, 1024)
    return {name: jax.ShapeDtypeStruct(shape, BFLOAT16) for name, shape in names.items()}


def test_the_2b_checkpoint_is_covered_name_by_name():
    stored, config = checkpoint_2b(), Qwen3VLTextConfig()
    assert len(stored) == 625
    plan = core.match(qwen3_vl.TABLE, stored, NETWORKS["qwen3-vl-text"].abstract(config, "bfloat16"))
    used = [name for names in plan.values() for name in names]
    assert len(used) == len(set(used)) == 2 + 11 * 28
    assert set(used) == {name for name in stored if name.startswith("model.language_model.")}
    assert sum(int(np.prod(stored[name].shape)) for name in used) == 1_720_574_976


def test_all_of_the_2b_checkpoint_is_covered():
    stored, abstract = checkpoint_2b(), NETWORKS["qwen3-vl"].abstract(Qwen3VLConfig(), "bfloat16")
    plan = core.match(qwen3_vl.FULL_TABLE, stored, abstract)
    used = [name for names in plan.values() for name in names]
    assert len(used) == 625 and set(used) == set(stored)
    sizes = {part: sum(leaf.size for leaf in jax.tree.leaves(abstract[part])) for part in abstract}
    assert sizes == {"text": 1_720_574_976, "vision": 406_957_056}
    assert sum(int(np.prod(x.shape)) for x in stored.values()) == sum(sizes.values()) == 2_127_532_032


def test_another_vision_tower_is_refused():
    stored = checkpoint_2b()
    for changes, message in (({"num_layers": 23}, "not in the table"), ({"patch_size": 14}, "wrong shape")):
        config = Qwen3VLConfig(vision=Qwen3VLVisionConfig(**changes))
        with pytest.raises(ValueError, match=message):
            core.match(qwen3_vl.FULL_TABLE, stored, NETWORKS["qwen3-vl"].abstract(config, "bfloat16"))
    del stored["model.visual.deepstack_merger_list.1.norm.bias"]
    with pytest.raises(ValueError, match=r"missing from the checkpoint \(1\): model.visual.deepstack_merger_list.1"):
        core.match(qwen3_vl.FULL_TABLE, stored, NETWORKS["qwen3-vl"].abstract(Qwen3VLConfig(), "bfloat16"))


def test_another_size_is_refused():
    with pytest.raises(ValueError, match="in the checkpoint but not in the table"):
        core.match(
            qwen3_vl.TABLE,
            checkpoint_2b(),
            NETWORKS["qwen3-vl-text"].abstract(Qwen3VLTextConfig(num_layers=27), "bfloat16"),
        )
    with pytest.raises(ValueError, match="wrong shape"):
        core.match(
            qwen3_vl.TABLE,
            checkpoint_2b(),
            NETWORKS["qwen3-vl-text"].abstract(Qwen3VLTextConfig(hidden_size=1024), "bfloat16"),
        )


@pytest.fixture(scope="module")
def nano():
    config, rng = planner_nano().text, np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: rng.normal(size=x.shape).astype(np.float32), NETWORKS["qwen3-vl-text"].abstract(config)
    )
    return config, params, core.to_torch(qwen3_vl.TABLE, params)


@pytest.mark.parametrize("prefix", ["model.language_model.", "language_model.", "language_model.model.", "model.", ""])
def test_every_spelling_of_the_names(nano, prefix):
    config, params, tensors = nano
    renamed = {name.replace("model.language_model.", prefix): tensor for name, tensor in tensors.items()}
    renamed["visual.patch_embed.proj.bias"] = np.zeros(1)
    renamed["lm_head.weight"] = tensors["model.language_model.embed_tokens.weight"]
    jax.tree.map(np.testing.assert_array_equal, NETWORKS["qwen3-vl-text"].from_torch(renamed, config), params)


@pytest.mark.parametrize("text, vision", [("model.", ""), ("language_model.", ""), ("model.language_model.", "model.")])
def test_every_spelling_of_all_names(text, vision):
    """ComfyUI, transformers before 4.52, the hub; there and back, bit for bit."""
    sizes = {"hidden_size": 8, "num_layers": 2, "num_heads": 2, "mlp_size": 12, "patch_size": 2, "position_grid": 3}
    decoder, rng = planner_nano().text, np.random.default_rng(0)
    tower = Qwen3VLVisionConfig(**sizes, out_size=decoder.hidden_size, deepstack_layers=(0, 1))
    config = Qwen3VLConfig(decoder, tower)
    abstract = NETWORKS["qwen3-vl"].abstract(config)
    params = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), abstract)
    tensors = core.to_torch(qwen3_vl.FULL_TABLE, params)
    assert tensors["model.visual.patch_embed.proj.weight"].shape == (8, 3, 2, 2, 2)
    renamed = {
        name.replace("model.language_model.", text).replace("model.visual.", f"{vision}visual."): tensor
        for name, tensor in tensors.items()
    }
    assert renamed.keys() == tensors.keys() if vision else not renamed.keys() & tensors.keys()
    jax.tree.map(np.testing.assert_array_equal, NETWORKS["qwen3-vl"].from_torch(renamed, config), params)


def test_a_head_beside_a_tied_network_must_be_its_embedding(nano):
    config, _, tensors = nano
    head = tensors["model.language_model.embed_tokens.weight"] + 1
    with pytest.raises(ValueError, match="must be equal"):
        NETWORKS["qwen3-vl-text"].from_torch(tensors | {"lm_head.weight": head}, config)


def test_an_untied_head_there_and_back(nano):
    config, params, tensors = nano
    untied, head = dataclasses.replace(config, tied=False), tensors["model.language_model.embed_tokens.weight"] + 1
    ours = NETWORKS["qwen3-vl-text"].from_torch(tensors | {"language_model.lm_head.weight": head}, untied)
    np.testing.assert_array_equal(ours["head"], head)
    back = NETWORKS["qwen3-vl-text"].to_torch(ours, untied)
    assert back.keys() == tensors.keys() | {"lm_head.weight"}
    np.testing.assert_array_equal(back["lm_head.weight"], head)
    with pytest.raises(ValueError, match="lm_head.weight"):
        NETWORKS["qwen3-vl-text"].from_torch(tensors, untied)


@pytest.mark.parametrize(
    "size, parameters", [("2b", 2_127_532_032), ("4b", 4_437_815_808), ("8b", 8_767_123_696), ("32b", 33_357_390_064)]
)
def test_published_sizes(size, parameters):
    """The counts are those of transformers' networks of these configs, made on its "meta" device."""
    config = config_of_size(size)
    shapes = jax.tree.leaves(NETWORKS["qwen3-vl"].abstract(config, "bfloat16"))
    assert sum(math.prod(shape.shape) for shape in shapes) == parameters
    assert qwen3_vl.full_config_from_hf(json.loads(json.dumps(qwen3_vl.config_to_hf(config)))) == config


def hub_config(**text):
    """The 2B config.json as on the hub: rope_theta beside rope_scaling."""
    return {
        "tie_word_embeddings": True,
        "text_config": {
            "vocab_size": 151936,
            "hidden_size": 2048,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "intermediate_size": 6144,
            "rms_norm_eps": 1e-6,
            "rope_theta": 5000000,
            "rope_scaling": {"mrope_interleaved": True, "mrope_section": [24, 20, 20], "rope_type": "default"},
        }
        | text,
    }


def test_config_of_the_hub():
    assert qwen3_vl.config_from_hf(hub_config()) == Qwen3VLTextConfig()


def test_config_as_transformers_5_writes_it(reference):
    text = (reference / "golden" / "qwen3vl_tiny" / "config_2b.json").read_text()
    assert qwen3_vl.config_from_hf(json.loads(text)) == Qwen3VLTextConfig()
    assert qwen3_vl.full_config_from_hf(json.loads(text)) == Qwen3VLConfig()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"head_dim": None}, "lacks head_dim"),
        ({"rope_theta": None}, "lacks rope_theta"),
        ({"attention_bias": True}, "attention_bias"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"rope_scaling": {"mrope_section": [24, 20, 20], "rope_type": "yarn"}}, "rope_type"),
        ({"rope_scaling": {"mrope_section": [24, 20, 24]}}, "sum to half of head_dim"),
    ],
)
def test_config_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        qwen3_vl.config_from_hf(hub_config(**changes))


def test_only_the_top_of_a_config_says_whether_the_head_is_tied():
    untied = qwen3_vl.config_from_hf(hub_config(tie_word_embeddings=True) | {"tie_word_embeddings": False})
    assert untied == Qwen3VLTextConfig(tied=False)


def full_hub_config(**vision):
    """The vision part of the 2B config.json as on the hub, with the ids of the placeholders."""
    tower = {
        "deepstack_visual_indexes": [5, 11, 17],
        "depth": 24,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": 1024,
        "in_channels": 3,
        "intermediate_size": 4096,
        "model_type": "qwen3_vl",
        "num_heads": 16,
        "num_position_embeddings": 2304,
        "out_hidden_size": 2048,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    }
    return hub_config() | {"image_token_id": 151655, "video_token_id": 151656, "vision_config": tower | vision}


def test_full_config_of_the_hub():
    assert qwen3_vl.full_config_from_hf(full_hub_config()) == Qwen3VLConfig()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"depth": None}, "lacks num_layers"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"num_position_embeddings": 2300}, "num_position_embeddings"),
        ({"out_hidden_size": 1024}, "out_hidden_size"),
        ({"deepstack_visual_indexes": [5, 11, 24]}, "deepstack_visual_indexes"),
        ({"deepstack_visual_indexes": [11, 5]}, "deepstack_visual_indexes"),
        ({"deepstack_visual_indexes": []}, "deepstack_visual_indexes"),
    ],
)
def test_vision_config_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        qwen3_vl.full_config_from_hf(full_hub_config(**changes))
    with pytest.raises(ValueError, match="lacks vision_config"):
        qwen3_vl.full_config_from_hf(hub_config())


def test_configs_there_and_back():
    """No two values are alike, so that none can stand for another; through JSON, as config.json."""
    text = Qwen3VLTextConfig(96, 48, 3, 4, 2, 16, 80, 1e4, (4, 3, 1), 1e-5)
    vision = Qwen3VLVisionConfig(24, 5, 6, 40, 48, 1, 14, 7, 9, 11, (0, 2, 4), 5e3)
    for config, read in (
        (text, qwen3_vl.config_from_hf),
        (Qwen3VLTextConfig(tied=False), qwen3_vl.config_from_hf),
        (Qwen3VLConfig(text, vision, image_token=60, video_token=61), qwen3_vl.full_config_from_hf),
        (Qwen3VLConfig(), qwen3_vl.full_config_from_hf),
    ):
        assert read(json.loads(json.dumps(qwen3_vl.config_to_hf(config)))) == config
