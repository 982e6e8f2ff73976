"""The names and sizes of real Qwen3-VL checkpoints, without their weights."""

import json

import jax
import numpy as np
import pytest

from shotverse_jax.config import Qwen3VLTextConfig, planner_nano
from shotverse_jax.conversion import core, qwen3_vl

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
VISION_BLOCK = ("norm1", "norm2", "attn.qkv", "attn.proj", "mlp.linear_fc1", "mlp.linear_fc2")
MERGER = ("norm", "linear_fc1", "linear_fc2")


def checkpoint_2b():
    """Every name of the hub's Qwen3-VL-2B file with its shape (vision shapes do not matter here)."""
    text = {"embed_tokens": (151936, 2048), "norm": (2048,)}
    text |= {f"layers.{i}.{name}": shape for i in range(28) for name, shape in LAYER.items()}
    names = {f"model.language_model.{name}.weight": shape for name, shape in text.items()}
    vision = [f"blocks.{i}.{name}" for i in range(24) for name in VISION_BLOCK]
    vision += [f"merger.{name}" for name in MERGER] + ["patch_embed.proj"]
    vision += [f"deepstack_merger_list.{i}.{name}" for i in range(3) for name in MERGER]
    names |= {f"model.visual.{name}.{kind}": (1,) for name in vision for kind in ("weight", "bias")}
    names["model.visual.pos_embed.weight"] = (2304, 1024)
    return {name: jax.ShapeDtypeStruct(shape, BFLOAT16) for name, shape in names.items()}


def test_the_2b_checkpoint_is_covered_name_by_name():
    stored, config = checkpoint_2b(), Qwen3VLTextConfig()
    assert len(stored) == 625
    plan = core.match(qwen3_vl.TABLE, stored, qwen3_vl.abstract(config, "bfloat16"))
    used = [name for names in plan.values() for name in names]
    assert len(used) == len(set(used)) == 2 + 11 * 28
    assert set(used) == {name for name in stored if name.startswith("model.language_model.")}
    assert sum(int(np.prod(stored[name].shape)) for name in used) == 1_720_574_976


def test_another_size_is_refused():
    with pytest.raises(ValueError, match="in the checkpoint but not in the table"):
        core.match(qwen3_vl.TABLE, checkpoint_2b(), qwen3_vl.abstract(Qwen3VLTextConfig(num_layers=27), "bfloat16"))
    with pytest.raises(ValueError, match="wrong shape"):
        core.match(qwen3_vl.TABLE, checkpoint_2b(), qwen3_vl.abstract(Qwen3VLTextConfig(hidden_size=1024), "bfloat16"))


@pytest.fixture(scope="module")
def nano():
    config, rng = planner_nano().text, np.random.default_rng(0)
    params = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), qwen3_vl.abstract(config))
    return config, params, core.to_torch(qwen3_vl.TABLE, params)


@pytest.mark.parametrize("prefix", ["model.language_model.", "language_model.", "language_model.model.", "model.", ""])
def test_every_spelling_of_the_names(nano, prefix):
    config, params, tensors = nano
    renamed = {name.replace("model.language_model.", prefix): tensor for name, tensor in tensors.items()}
    renamed["visual.patch_embed.proj.bias"] = np.zeros(1)
    renamed["lm_head.weight"] = tensors["model.language_model.embed_tokens.weight"]
    jax.tree.map(np.testing.assert_array_equal, qwen3_vl.from_hf(renamed, config), params)


def test_an_untied_head_is_refused(nano):
    config, _, tensors = nano
    head = tensors["model.language_model.embed_tokens.weight"] + 1
    with pytest.raises(ValueError, match="must be equal"):
        qwen3_vl.from_hf(tensors | {"lm_head.weight": head}, config)


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


def test_an_untied_config_is_refused():
    with pytest.raises(ValueError, match="tie_word_embeddings"):
        qwen3_vl.config_from_hf(hub_config() | {"tie_word_embeddings": False})
