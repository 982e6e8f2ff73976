"""The names and sizes of Wan2.1's VAE, without its weights, and round trips of small ones in both spellings."""

import re

import jax
import numpy as np
import pytest

from shotverse_jax.config import WanVAEConfig
from shotverse_jax.conversion import core
from shotverse_jax.conversion import wan_vae as convert
from shotverse_jax.conversion.networks import NETWORKS

LATENTS = {"latent_mean": (0.0,) * 4, "latent_std": (1.0,) * 4}
SMALL = {
    "wan": WanVAEConfig(4, 4, (1, 2, 4, 4), 2, (False, True, True), **LATENTS),
    "4x": WanVAEConfig(4, 4, (1, 2, 2), 1, (True, True), **LATENTS),
    "uneven": WanVAEConfig(4, 4, (2, 1, 3), 3, (True, False), **LATENTS),
}

# Of the released file: the shape of one tensor of every kind.
RELEASED = {
    "encoder.conv1.weight": (96, 3, 3, 3, 3),
    "encoder.downsamples.2.resample.1.weight": (96, 96, 3, 3),
    "encoder.downsamples.3.shortcut.weight": (192, 96, 1, 1, 1),
    "encoder.downsamples.5.time_conv.weight": (192, 192, 3, 1, 1),
    "encoder.downsamples.10.residual.6.weight": (384, 384, 3, 3, 3),
    "encoder.middle.1.norm.gamma": (384, 1, 1),
    "encoder.middle.1.to_qkv.weight": (1152, 384, 1, 1),
    "encoder.head.0.gamma": (384, 1, 1, 1),
    "encoder.head.2.weight": (32, 384, 3, 3, 3),
    "conv1.weight": (32, 32, 1, 1, 1),
    "conv2.bias": (16,),
    "decoder.conv1.weight": (384, 16, 3, 3, 3),
    "decoder.middle.1.proj.weight": (384, 384, 1, 1),
    "decoder.upsamples.3.resample.1.weight": (192, 384, 3, 3),
    "decoder.upsamples.3.time_conv.weight": (768, 384, 3, 1, 1),
    "decoder.upsamples.4.shortcut.weight": (384, 192, 1, 1, 1),
    "decoder.upsamples.11.resample.1.weight": (96, 192, 3, 3),
    "decoder.upsamples.14.residual.3.gamma": (96, 1, 1, 1),
    "decoder.head.2.weight": (3, 96, 3, 3, 3),
}
SPELLED_BY_DIFFUSERS = {
    "encoder.conv1.weight": "encoder.conv_in.weight",
    "encoder.downsamples.3.shortcut.weight": "encoder.down_blocks.3.conv_shortcut.weight",
    "encoder.downsamples.10.residual.6.weight": "encoder.down_blocks.10.conv2.weight",
    "encoder.middle.2.residual.0.gamma": "encoder.mid_block.resnets.1.norm1.gamma",
    "encoder.head.2.weight": "encoder.conv_out.weight",
    "conv1.weight": "quant_conv.weight",
    "conv2.bias": "post_quant_conv.bias",
    "decoder.middle.1.proj.weight": "decoder.mid_block.attentions.0.proj.weight",
    "decoder.upsamples.7.time_conv.bias": "decoder.up_blocks.1.upsamplers.0.time_conv.bias",
    "decoder.upsamples.14.residual.3.gamma": "decoder.up_blocks.3.resnets.2.norm2.gamma",
    "decoder.head.0.gamma": "decoder.norm_out.gamma",
}


def stored_shapes(config, names="wan"):
    """{name: shape} of a checkpoint, from the table and the network's shapes; nothing is allocated."""
    leaves = core.flatten_dict(NETWORKS["wan-vae"].abstract(config), sep="/")
    table = convert.table(config, names)
    return {e.source: jax.eval_shape(e.transform.to_torch, leaves[e.target]) for e in table.entries}


def random_params(config):
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), NETWORKS["wan-vae"].abstract(config))


def test_the_released_file_is_covered():
    config = WanVAEConfig()
    stored = stored_shapes(config)
    counts = {
        half: sum(int(np.prod(x.shape)) for n, x in stored.items() if n.startswith(half)) for half in ("e", "d", "")
    }
    assert len(stored) == 194 and counts == {"e": 53_595_872, "d": 73_295_331, "": 126_892_531}
    assert {name: stored[name].shape for name in RELEASED} == RELEASED
    plan = core.match(convert.table(config), stored, NETWORKS["wan-vae"].abstract(config))
    assert len(plan) == 194
    by_position = zip(convert.table(config).entries, convert.table(config, "diffusers").entries, strict=True)
    spelled = {original.source: diffusers.source for original, diffusers in by_position}
    assert {name: spelled[name] for name in SPELLED_BY_DIFFUSERS} == SPELLED_BY_DIFFUSERS
    assert all(name.startswith(("conv", "encoder.", "decoder.")) for name in stored)


@pytest.mark.parametrize("prefix", ["", "model."])
@pytest.mark.parametrize("names", ["wan", "diffusers"])
@pytest.mark.parametrize("config", SMALL.values(), ids=SMALL)
def test_round_trip(config, names, prefix):
    params = random_params(config)
    tensors = NETWORKS["wan-vae"].to_torch(params, config, names)
    renamed = {prefix + name: tensor for name, tensor in tensors.items()}
    jax.tree.map(np.testing.assert_array_equal, NETWORKS["wan-vae"].from_torch(renamed, config), params)
    assert convert.config_from_tensors(renamed, **LATENTS) == config


def test_values_land_where_they_belong():
    """A convolution's axes (out, in, time, height, width) and the order of q, k and v, element by element."""
    config = SMALL["4x"]
    tensors = NETWORKS["wan-vae"].to_torch(random_params(config), config)
    params = NETWORKS["wan-vae"].from_torch(tensors, config)
    kernel, weight = (
        params["encoder"]["stage_1_res_0"]["conv1"]["kernel"],
        tensors["encoder.downsamples.2.residual.2.weight"],
    )
    assert kernel.shape == (3, 3, 3, 4, 8) and kernel[0, 1, 2, 3, 5] == weight[5, 3, 0, 1, 2]
    kernel, weight = (
        params["decoder"]["middle"]["attention"]["qkv"]["kernel"],
        tensors["decoder.middle.1.to_qkv.weight"],
    )
    assert kernel.shape == (8, 24) and kernel[2, 17] == weight[17, 2, 0, 0]
    kernel, weight = params["decoder"]["stage_0_up"]["conv"]["kernel"], tensors["decoder.upsamples.2.resample.1.weight"]
    assert kernel.shape == (3, 3, 8, 4) and kernel[2, 1, 6, 3] == weight[3, 6, 2, 1]


def test_bfloat16():
    config = SMALL["4x"]
    params = NETWORKS["wan-vae"].from_torch(
        NETWORKS["wan-vae"].to_torch(random_params(config), config), config, dtype="bfloat16"
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(jax.dtypes.bfloat16)}


@pytest.mark.parametrize("names", ["wan", "diffusers"])
def test_config_of_the_released_file(names):
    stored = stored_shapes(WanVAEConfig(), names)
    assert convert.config_from_tensors(stored) == WanVAEConfig()
    assert (
        convert.config_from_tensors(stored, latent_mean=(0.0,) * 16, latent_std=(1.0,) * 16).latent_mean == (0.0,) * 16
    )


def test_checkpoints_that_do_not_fit():
    config = SMALL["4x"]
    tensors = NETWORKS["wan-vae"].to_torch(random_params(config), config)
    with pytest.raises(ValueError, match="wrong shape"):
        NETWORKS["wan-vae"].from_torch(tensors, WanVAEConfig(4, 8, (1, 2, 2), 1, (True, True), **LATENTS))
    with pytest.raises(ValueError, match="in the checkpoint but not in the table"):
        NETWORKS["wan-vae"].from_torch(tensors, WanVAEConfig(4, 4, (1, 2, 2), 1, (True, False), **LATENTS))
    with pytest.raises(ValueError, match="give latent_mean and latent_std"):
        convert.config_from_tensors(tensors)
    with pytest.raises(ValueError, match=re.escape("not a Wan VAE")):
        convert.config_from_tensors({"model.embed.weight": np.zeros(1)})
    with pytest.raises(ValueError, match="latent_mean needs one value per latent channel"):
        convert.config_from_tensors(tensors, latent_mean=(0.0,), latent_std=(1.0,))
    with pytest.raises(ValueError, match="same tensor under two names"):
        NETWORKS["wan-vae"].from_torch(tensors | {"quant_conv.bias": tensors["conv1.bias"]}, config)
