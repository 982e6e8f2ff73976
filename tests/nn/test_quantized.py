"""Weights in 8 bits: near the weights they stand for, also in scanned stacks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotverse_jax.config import MeshConfig
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.infer import cinematographer
from shotverse_jax.infer.cinematographer import HOST, Cinematographer
from shotverse_jax.infer.denoise import generate
from shotverse_jax.infer.fits import ROOM
from shotverse_jax.infer.need import Networks, Place, held, weights
from shotverse_jax.infer.take import prepare
from shotverse_jax.lora import Changes, Lora
from shotverse_jax.nn.quantized import is_quantized, quantize
from shotverse_jax.parallel.mesh import make_mesh


@pytest.mark.parametrize(("name", "most"), [("int8", 0.5 / 127), ("float8", 1 / 16)])
def test_values_and_scales(name, most):
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(2, 16, 8)).astype(np.float32) * np.logspace(-3, 3, 8, dtype=np.float32)
    kernel[1, :, 3] = 0  # a channel of zeros
    params = {"blocks": {"q_proj": {"kernel": kernel}, "camera": {"kernel": kernel}}, "head": {"kernel": kernel[0]}}
    found = quantize(params, name)
    small = found["blocks"]["q_proj"]
    assert small["kernel"].dtype.itemsize == 1 and small["scale"].shape == (2, 8)
    restored = np.asarray(small["kernel"].astype(jnp.float32)) * np.asarray(small["scale"])[:, None]
    largest = np.abs(kernel).max(axis=1, keepdims=True)
    assert (np.abs(restored - kernel) <= most * largest + 1e-12).all()
    assert np.abs(restored - kernel).max() > 0
    assert found["blocks"]["camera"]["kernel"] is kernel and found["head"]["kernel"].dtype == np.float32
    with pytest.raises(ValueError, match="quantized already"):
        quantize(found, name)
    with pytest.raises(ValueError, match="to int8 or float8, got 'int4'"):
        quantize(params, "int4")


@pytest.fixture(scope="module")
def crew(controller_folder):
    return Cinematographer.load(controller_folder)


@pytest.mark.parametrize(("name", "most"), [("int8", 0.02), ("float8", 0.2)])
def test_a_film_of_weights_in_8_bits(crew, name, most):
    example = sample_example(3, "train", num_shots=2)
    take = prepare(crew, example.screenplay, example.trajectory)
    plain = np.asarray(generate(crew, [take], steps=2))
    small = crew.quantized(name)
    error = np.sqrt(np.mean((np.asarray(generate(small, [take], steps=2)) - plain) ** 2) / np.mean(plain**2))
    assert 0 < error < most
    assert is_quantized(small.high) and not is_quantized(crew.high)
    sizes = [sum(x.nbytes for x in jax.tree.leaves(c.low["blocks"]["ffn_in"]["kernel"])) for c in (small, crew)]
    assert sizes[0] * 4 == sizes[1]
    held_bytes = held("controller", crew.config, {}, "float32", "low", name)
    assert sum(x.nbytes for x in jax.tree.leaves(small.low)) == held_bytes
    with pytest.raises(ValueError, match="folded before weights are quantized"):
        small.with_loras([Lora("x", {"low": Changes({}, {})}, 1.0)])


def kinds(params):
    return {leaf.sharding.memory_kind for leaf in jax.tree.leaves(params)}


def test_experts_that_wait_on_the_host_are_quantized_there_and_come_back_where_they_fit(controller_folder, monkeypatch):
    crew = Cinematographer.load(controller_folder, make_mesh(MeshConfig(data=1), jax.devices()[:1]), offload="experts")
    waits = crew.quantized("int8")
    assert waits.design.waiting == crew.design.waiting
    assert kinds(waits.low) == kinds(waits.high) == kinds(waits.text) == {HOST} and is_quantized(waits.low)
    back = crew.quantized("int8", "none")
    assert HOST not in kinds(back.low) | kinds(back.high) | kinds(back.text) and back.design.waiting == ()
    jax.tree.map(
        np.testing.assert_array_equal, jax.tree.map(np.asarray, waits.high), jax.tree.map(np.asarray, back.high)
    )
    # Devices that hold the experts in 8 bits, and no larger ones.
    place = Place({}, "float32")
    sizes = [weights(Networks.of(controller_folder), p) for p in (place, dataclasses.replace(place, quantize="int8"))]
    whole = [part["high"] + part["low"] + part["text"] for part in sizes]
    monkeypatch.setattr(cinematographer, "device_memory", lambda mesh: sum(whole) / 2 / (1 - ROOM))
    assert crew.quantized("int8").design.waiting == ()
    assert Cinematographer.load(controller_folder, crew.design.mesh).design.waiting
