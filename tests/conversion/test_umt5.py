"""The names and sizes of UMT5 encoders, in both spellings."""

import jax
import numpy as np
import pytest

from shotverse_jax.config import UMT5Config
from shotverse_jax.conversion import core, umt5
from shotverse_jax.conversion.networks import NETWORKS

NANO = UMT5Config(vocab_size=20, hidden_size=8, num_layers=11, num_heads=2, head_dim=3, mlp_size=12, buckets=8)
LAYER = {
    "norm1.weight": (4096,),
    "attn.q.weight": (4096, 4096),
    "attn.k.weight": (4096, 4096),
    "attn.v.weight": (4096, 4096),
    "attn.o.weight": (4096, 4096),
    "pos_embedding.embedding.weight": (32, 64),
    "norm2.weight": (4096,),
    "ffn.gate.0.weight": (10240, 4096),
    "ffn.fc1.weight": (10240, 4096),
    "ffn.fc2.weight": (4096, 10240),
}


def wan_checkpoint():
    """Every name of models_t5_umt5-xxl-enc-bf16.pth with its shape."""
    shapes = {"token_embedding.weight": (256384, 4096), "norm.weight": (4096,)}
    shapes |= {f"blocks.{i}.{name}": shape for i in range(24) for name, shape in LAYER.items()}
    return {name: jax.ShapeDtypeStruct(shape, jax.dtypes.bfloat16) for name, shape in shapes.items()}


def test_wans_encoder_is_covered_name_by_name():
    stored = wan_checkpoint()
    assert umt5.config_from_tensors(stored) == UMT5Config()
    plan = core.match(umt5.TABLE, stored, NETWORKS["umt5"].abstract(UMT5Config(), "bfloat16"))
    used = [name for names in plan.values() for name in names]
    assert len(used) == 242 and set(used) == set(stored)
    leaves = jax.tree.leaves(NETWORKS["umt5"].abstract(UMT5Config()))
    assert sum(int(np.prod(leaf.shape)) for leaf in leaves) == 5_680_910_336


@pytest.fixture(scope="module")
def nano():
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), NETWORKS["umt5"].abstract(NANO))


@pytest.mark.parametrize("table", [umt5.TABLE, umt5.HF_TABLE], ids=["wan", "transformers"])
def test_round_trip(nano, table):
    tensors = core.to_torch(table, nano)
    assert len(tensors) == 2 + 10 * NANO.num_layers
    assert umt5.config_from_tensors(tensors) == NANO
    jax.tree.map(np.testing.assert_array_equal, NETWORKS["umt5"].from_torch(tensors, NANO), nano)


def test_transformers_names(nano):
    wan, hf = core.to_torch(umt5.TABLE, nano), core.to_torch(umt5.HF_TABLE, nano)
    pairs = {
        "token_embedding.weight": "shared.weight",
        "blocks.10.pos_embedding.embedding.weight": (
            "encoder.block.10.layer.0.SelfAttention.relative_attention_bias.weight"
        ),
        "blocks.10.attn.v.weight": "encoder.block.10.layer.0.SelfAttention.v.weight",
        "blocks.1.norm1.weight": "encoder.block.1.layer.0.layer_norm.weight",
        "blocks.1.norm2.weight": "encoder.block.1.layer.1.layer_norm.weight",
        "blocks.0.ffn.gate.0.weight": "encoder.block.0.layer.1.DenseReluDense.wi_0.weight",
        "blocks.0.ffn.fc1.weight": "encoder.block.0.layer.1.DenseReluDense.wi_1.weight",
        "blocks.0.ffn.fc2.weight": "encoder.block.0.layer.1.DenseReluDense.wo.weight",
        "norm.weight": "encoder.final_layer_norm.weight",
    }
    for ours, theirs in pairs.items():
        np.testing.assert_array_equal(wan[ours], hf[theirs])


def test_a_tied_copy_of_the_embedding(nano):
    tensors = core.to_torch(umt5.HF_TABLE, nano)
    copy = {"encoder.embed_tokens.weight": tensors["shared.weight"]}
    jax.tree.map(np.testing.assert_array_equal, NETWORKS["umt5"].from_torch(tensors | copy, NANO), nano)
    copy["encoder.embed_tokens.weight"] = tensors["shared.weight"] + 1
    with pytest.raises(ValueError, match="must be equal"):
        NETWORKS["umt5"].from_torch(tensors | copy, NANO)


def test_other_files_are_refused(nano):
    with pytest.raises(ValueError, match="not a UMT5 encoder: token_embedding.weight"):
        umt5.config_from_tensors({"decoder.block.0.weight": np.zeros(1)})
    tensors = core.to_torch(umt5.TABLE, nano)
    with pytest.raises(ValueError, match=r"in the checkpoint but not in the table \(1\): lm_head.weight"):
        NETWORKS["umt5"].from_torch(tensors | {"lm_head.weight": np.zeros(1, np.float32)}, NANO)
    del tensors["blocks.3.attn.o.weight"]
    with pytest.raises(ValueError, match=r"missing from the checkpoint \(1\): blocks.3.attn.o.weight"):
        NETWORKS["umt5"].from_torch(tensors, NANO)
