"""Pi3: recorded outputs of the original, and the names of the published file at their full size, there and back."""

import dataclasses
import math

import jax
import numpy as np
import pytest

from shotverse_jax.config import Pi3Config, pi3
from shotverse_jax.conversion import core
from shotverse_jax.conversion.networks import NETWORKS, recognise
from shotverse_jax.conversion.pi3 import TABLE, config_from_tensors
from shotverse_jax.conversion.verify import verify_record
from shotverse_jax.parallel.rules import spec
from shotverse_jax.weights.trees import flatten


def linear(name: str, wide: int, deep: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (wide, deep), f"{name}.bias": (wide,)}


def block(name: str, gains: bool = True, normed: bool = True) -> dict[str, tuple[int, ...]]:
    shapes = {f"{name}.norm{i}.{part}": (1024,) for i in (1, 2) for part in ("weight", "bias")}
    shapes |= linear(f"{name}.attn.qkv", 3072, 1024) | linear(f"{name}.attn.proj", 1024, 1024)
    shapes |= linear(f"{name}.mlp.fc1", 4096, 1024) | linear(f"{name}.mlp.fc2", 1024, 4096)
    shapes |= {f"{name}.ls{i}.gamma": (1024,) for i in (1, 2) if gains}
    return shapes | {f"{name}.attn.{x}_norm.{part}": (64,) for x in "qk" for part in ("weight", "bias") if normed}


def published() -> dict[str, tuple[int, ...]]:
    """Names and shapes of Pi3's model.safetensors, written from what is known of it."""
    shapes = {"image_mean": (1, 3, 1, 1), "image_std": (1, 3, 1, 1), "register_token": (1, 1, 5, 1024)}
    shapes |= {"encoder.cls_token": (1, 1, 1024), "encoder.pos_embed": (1, 1370, 1024)}
    shapes |= {"encoder.register_tokens": (1, 4, 1024), "encoder.patch_embed.proj.weight": (1024, 3, 14, 14)}
    shapes |= {f"encoder.{name}": (1024,) for name in ("patch_embed.proj.bias", "norm.weight", "norm.bias")}
    for i in range(24):
        shapes |= block(f"encoder.blocks.{i}", normed=False)
    for i in range(36):
        shapes |= block(f"decoder.{i}")
    for tower, out in (("point", 1024), ("conf", 1024), ("camera", 512)):
        shapes |= linear(f"{tower}_decoder.projects", 1024, 2048) | linear(f"{tower}_decoder.linear_out", out, 1024)
        for i in range(5):
            shapes |= block(f"{tower}_decoder.blocks.{i}", gains=False, normed=False)
    shapes |= linear("point_head.proj", 588, 1024) | linear("conf_head.proj", 196, 1024)
    for name in (*(f"res_conv.{i}.res_conv{j}" for i in (0, 1) for j in (1, 2, 3)), "more_mlps.0", "more_mlps.2"):
        shapes |= linear(f"camera_head.{name}", 512, 512)
    return shapes | linear("camera_head.fc_t", 3, 512) | linear("camera_head.fc_rot", 9, 512)


@pytest.fixture(scope="module")
def full():
    """(the published tensors as shapes, our parameters as shapes)"""
    tensors = {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in published().items()}
    return tensors, NETWORKS["pi3"].abstract(config_from_tensors(tensors))


def test_the_published_size(full):
    tensors, ours = full
    assert len(tensors) == 1210 and sum(math.prod(x.shape) for x in tensors.values()) == 958_696_738
    assert config_from_tensors(tensors) == Pi3Config() == pi3()
    assert sum(math.prod(x.shape) for x in jax.tree.leaves(ours)) == 958_696_738
    plan = core.match(TABLE, tensors, ours)
    assert sorted(name for names in plan.values() for name in names) == sorted(tensors)
    assert plan["decoder/frame/qkv/kernel"][17] == "decoder.34.attn.qkv.weight"
    assert plan["decoder/scene/qkv/kernel"][0] == "decoder.1.attn.qkv.weight"
    assert core.torch_shapes(TABLE, flatten(ours)) == tensors
    assert recognise(tensors)[0] == ("pi3", "pi3", 1.0)


def test_a_mesh_splits_all_that_is_large(full):
    held = {path: spec(path, leaf.shape, {"fsdp": 8}) for path, leaf in flatten(full[1]).items()}
    whole = [path for path, leaf in flatten(full[1]).items() if not any(held[path]) and leaf.size > 1 << 20]
    assert whole == []


def test_the_record_replays(reference, record_property):
    report = verify_record(reference / "golden" / "pi3_tiny.npz", tol=1e-4)
    assert report.ok and [output.name for output in report.outputs] == [
        "points",
        "local_points",
        "conf",
        "camera_poses",
    ]
    for output in report.outputs:
        record_property("parity", (output.name, output.max_rel_rms))
        assert 0 < output.max_abs < 1e-4


def test_what_is_no_pi3(full):
    tensors = full[0]
    flat = tensors | {"encoder.pos_embed": jax.ShapeDtypeStruct((1370,), np.float32)}
    for wrong in (flat, {name: leaf for name, leaf in tensors.items() if name != "encoder.pos_embed"}):
        with pytest.raises(ValueError, match=r"not a Pi3: encoder\.pos_embed missing or of another shape"):
            config_from_tensors(wrong)
    missing = {name: leaf for name, leaf in tensors.items() if name != "decoder.35.ls2.gamma"}
    with pytest.raises(ValueError, match=r"missing from the checkpoint \(1\): decoder\.35\.ls2\.gamma"):
        core.match(TABLE, missing, full[1])


def test_the_size_for_a_laptop():
    leaves = jax.tree.leaves(NETWORKS["pi3"].abstract(pi3("tiny")))
    assert sum(leaf.size for leaf in leaves) == 10_945_410


def test_sizes_that_cannot_be():
    with pytest.raises(ValueError, match="Pi3's sizes are large, base, small, tiny; got 'giant'"):
        pi3("giant")
    for values in ({"head_dim": 6, "hidden_size": 12, "tower_size": 12}, {"decoder_layers": 3}, {"pixels": 100}):
        with pytest.raises(ValueError, match="of Pi3Config"):
            dataclasses.replace(pi3("tiny"), **values)
