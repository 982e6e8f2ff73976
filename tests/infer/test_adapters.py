"""Adapters in films: folded or kept beside they mean the same, weights compile nothing, nothing is there twice."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from small_models import change

from shotverse_jax import lora
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.infer import denoise
from shotverse_jax.infer.cinematographer import Cinematographer
from shotverse_jax.infer.denoise import generate
from shotverse_jax.infer.take import prepare
from shotverse_jax.lora import Lora


@pytest.fixture(scope="module")
def crew(controller_folder):
    return Cinematographer.load(controller_folder)


@pytest.fixture(scope="module")
def take(crew):
    example = sample_example(3, "train", num_shots=2)
    return prepare(crew, example.screenplay, example.trajectory)


@pytest.fixture(scope="module")
def loras(crew):
    """Of both experts with norms; of one expert, another rank and other linears; of the other expert."""
    return [
        Lora("all", 0.5, {"high": change(crew.high, 0, deltas=True), "low": change(crew.low, 1, deltas=True)}),
        Lora("high", 1.0, {"high": change(crew.high, 2, 5, ("q_proj", "ffn_out"))}),
        Lora("low", -0.7, {"low": change(crew.low, 3, 2)}),
    ]


@pytest.mark.slow
def test_folded_and_beside_are_the_same_film(crew, take, loras):
    plain = np.asarray(generate(crew, [take]))
    folded = np.asarray(generate(crew.with_loras(loras), [take]))
    beside = np.asarray(generate(crew.with_loras(loras, fold=False), [take]))
    assert np.abs(folded - plain).max() > 0.1
    np.testing.assert_allclose(beside, folded, atol=1e-5 * np.abs(folded).max())
    one_by_one = crew
    for part in loras:
        one_by_one = one_by_one.with_loras([part])
    np.testing.assert_allclose(generate(one_by_one, [take]), folded, atol=1e-5 * np.abs(folded).max())
    np.testing.assert_array_equal(generate(crew, [take]), plain)  # it is still who it was


def test_a_fold_is_the_written_sum_in_every_layer(crew):
    part = change(crew.high, 0, deltas=True)
    before, after = flatten_dict(crew.high, sep="/"), flatten_dict(lora.fold(crew.high, [(part, 0.5)]), sep="/")
    expected = {path: np.asarray(leaf, np.float64) for path, leaf in before.items()}
    for path, pair in flatten_dict(part.adapter).items():
        expected["/".join((*path[:-1], "kernel"))] += 0.5 * 2.0 * np.asarray(pair.a, np.float64) @ pair.b
    for path, delta in part.deltas.items():
        expected[path] += 0.5 * delta
    for path, leaf in after.items():
        np.testing.assert_allclose(leaf, expected[path], atol=1e-6, err_msg=path)


def test_sums_are_rounded_once(crew):
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), crew.high)
    parts = [(change(crew.high, seed), 0.3) for seed in range(4)]
    folded = flatten_dict(lora.fold(half, parts), sep="/")["blocks/ffn_in/kernel"]
    exact = np.asarray(half["blocks"]["ffn_in"]["kernel"], np.float64)
    for part, weight in parts:
        pair = part.adapter["blocks"]["ffn_in"]["adapter"]
        exact = exact + weight * pair.scale * np.asarray(pair.a, np.float64) @ pair.b
    assert folded.dtype == jnp.bfloat16
    # All but those that float32 puts on the other side of the middle between two values.
    assert np.mean(np.asarray(folded) != exact.astype(jnp.bfloat16)) < 1e-3


def test_other_weights_compile_nothing(crew, take, loras):
    mixed, plain = crew.with_loras(loras, fold=False), np.asarray(generate(crew, [take]))
    films = [np.asarray(generate(mixed, [take]))]
    programs = denoise._denoise._cache_size()
    for weights in ((0.0, 0.0, 0.0), (1.0, 0.0, 0.2), (0.5, 1.0, -0.7)):
        films.append(np.asarray(generate(mixed.weighing(*weights), [take])))
    assert denoise._denoise._cache_size() == programs
    np.testing.assert_array_equal(films[1], plain)  # the base's own program
    np.testing.assert_array_equal(films[3], films[0])
    assert np.abs(films[2] - films[0]).max() > 1e-2
    with pytest.raises(ValueError, match=r"3 LoRAs are kept beside the weights \(all, high, low\), got \(1.0,\)"):
        mixed.weighing(1.0)
    with pytest.raises(ValueError, match="fold adapters before others are kept beside"):
        mixed.with_loras(loras)


def test_a_donating_fold_leaves_no_second_copy(crew, loras, monkeypatch):
    own = jax.tree.map(jnp.copy, crew)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(own.high))
    largest = max(leaf.nbytes for leaf in jax.tree.leaves(own.high))
    before, most = sum(x.nbytes for x in jax.live_arrays()), 0
    add = lora._add_donated

    def watched(*args):
        nonlocal most
        result = add(*args)
        most = max(most, sum(x.nbytes for x in jax.live_arrays()) - before)
        return result

    monkeypatch.setattr(lora, "_add_donated", watched)
    folded = own.with_loras(loras, donate=True)
    assert most <= largest < size / 4
    assert own.high["blocks"]["ffn_in"]["kernel"].is_deleted()
    expected = crew.with_loras(loras)
    jax.tree.map(np.testing.assert_array_equal, folded.high, expected.high)


def test_weights_stay_where_they_are(crew, loras):
    """On the host, pinned or as NumPy arrays, in their sharding."""
    waiting = jax.tree.map(lambda x: jax.device_put(x, x.sharding.with_memory_kind("pinned_host")), crew.high)
    waits = dataclasses.replace(crew, high=waiting, design=dataclasses.replace(crew.design, waiting=("high",)))
    expected = crew.with_loras(loras).high
    folded = waits.with_loras(loras)
    assert {leaf.sharding.memory_kind for leaf in jax.tree.leaves(folded.high)} == {"pinned_host"}
    jax.tree.map(np.testing.assert_array_equal, folded.high, expected)
    arrays = dataclasses.replace(crew, high=jax.tree.map(np.asarray, crew.high)).with_loras(loras).high
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(arrays))
    jax.tree.map(np.testing.assert_array_equal, arrays, expected)


def test_an_adapter_of_another_network_is_refused(crew):
    other = change(crew.low, 0)
    wide = other.adapter["blocks"]["ffn_in"]["adapter"]
    other.adapter["blocks"]["ffn_in"]["adapter"] = wide.replace(b=wide.b[..., :-1])
    for fold in (True, False):
        with pytest.raises(ValueError, match=r"another network, which has blocks/ffn_in/kernel \[2, 64, 63\]"):
            crew.with_loras([Lora("x", 1.0, {"low": other})], fold=fold)
