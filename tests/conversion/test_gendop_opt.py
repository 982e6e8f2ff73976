"""GenDoP decoders: recorded outputs, the names of the released files, and the way back."""

import jax
import numpy as np
import pytest

from shotverse_jax.config import Execution, OPTConfig
from shotverse_jax.conversion import core, gendop_opt
from shotverse_jax.conversion.networks import NETWORKS
from shotverse_jax.models.opt import OPTDecoder

CONFIG = OPTConfig(vocab_size=20, hidden_size=8, num_layers=2, num_heads=2, ffn_size=12, max_positions=9)


@pytest.fixture(scope="module")
def nano():
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: rng.normal(size=x.shape).astype(np.float32), NETWORKS["gendop-opt"].abstract(CONFIG)
    )
    return params, core.to_torch(gendop_opt.TABLE, params)


def test_round_trip(nano):
    params, tensors = nano
    assert len(tensors) == 2 + 16 * CONFIG.num_layers + 1
    assert gendop_opt.config_from_tensors(tensors, 2) == OPTConfig(**vars(CONFIG))
    jax.tree.map(np.testing.assert_array_equal, NETWORKS["gendop-opt"].from_torch(tensors, CONFIG), params)


def test_a_released_file_has_more_than_the_decoder(nano):
    params, tensors = nano
    others = ["text_encoder.text_model.final_layer_norm.bias", "proj_cond.weight", "proj_cond_image.bias"]
    others += ["norm_cond.weight", "depth_encoder.vision_model.post_layernorm.bias"]
    released = tensors | {name: np.zeros(1, np.float32) for name in others}
    assert gendop_opt.config_from_tensors(released, 2).num_layers == 2
    jax.tree.map(np.testing.assert_array_equal, NETWORKS["gendop-opt"].from_torch(released, CONFIG), params)


@pytest.mark.parametrize("prefix", ["", "w."])
def test_the_decoder_alone(nano, prefix):
    params, tensors = nano
    alone = {prefix + name.removeprefix("mesh_decoder."): tensor for name, tensor in tensors.items()}
    jax.tree.map(np.testing.assert_array_equal, NETWORKS["gendop-opt"].from_torch(alone, CONFIG), params)


def test_other_files_are_refused(nano):
    with pytest.raises(ValueError, match="not a GenDoP decoder: mesh_decoder.model.embd.weight"):
        gendop_opt.config_from_tensors({"model.diffusion.weight": np.zeros(1)}, 8)
    with pytest.raises(ValueError, match=r"in the checkpoint but not in the table \(1\): lm_bias"):
        NETWORKS["gendop-opt"].from_torch(nano[1] | {"lm_bias": np.zeros(1, np.float32)}, CONFIG)


def test_recorded_logits(reference):
    record = core.read_safetensors(reference / "golden" / "opt_tiny_parity.safetensors")
    tensors = {name: array for name, array in record.items() if name.startswith("w.")}
    config = gendop_opt.config_from_tensors(tensors, num_heads=4)
    params = NETWORKS["gendop-opt"].from_torch(tensors, config)
    model = OPTDecoder(config, Execution())
    ids_BT = record["ids"].astype(np.int32)
    logits = np.asarray(jax.jit(model.apply)({"params": params}, record["cond"], ids_BT))
    np.testing.assert_allclose(logits, record["logits"], atol=1e-5)
