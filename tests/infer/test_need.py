"""What a film needs of a device, by arithmetic: against shapes on a mesh, and against what was measured on a GPU."""

import dataclasses
import json
import math
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh

from shotverse_jax.cost import flops
from shotverse_jax.infer import need
from shotverse_jax.infer.need import GIB, Networks, Place, Request
from shotverse_jax.parallel.mesh import AXES
from shotverse_jax.parallel.rules import shardings
from shotverse_jax.weights import abstract

RECORD = json.loads((Path(__file__).parents[2] / "benchmarks/records/nvidia_h200.json").read_text(encoding="utf-8"))
PAPER = Networks.of("paper")


def recorded(section, what):
    [row] = [row for row in RECORD[section]["rows"] if row["what"] == what]
    return row


def blocks(networks, count):
    """The same networks with fewer blocks."""
    dit = dataclasses.replace(networks.config.dit, num_layers=count)
    return dataclasses.replace(networks, config=dataclasses.replace(networks.config, dit=dit))


@pytest.mark.parametrize("kind", ["controller", "text_encoder", "vae"])
def test_weights_of_a_device_are_its_parts_of_the_arrays(kind):
    config = {"controller": PAPER.config, "text_encoder": PAPER.text, "vae": PAPER.vae}[kind]
    expert = "high" if kind == "controller" else None
    shapes = abstract(kind, config, expert=expert)
    leaves = jax.tree.leaves(shapes)
    for sizes in ((1, 1, 1, 1), (2, 4, 1, 1), (1, 8, 2, 1), (1, 2, 1, 4)):
        places = jax.tree.leaves(shardings(shapes, AbstractMesh(sizes, AXES)))
        parts = sum(math.prod(p.shard_shape(x.shape)) for p, x in zip(places, leaves, strict=True))
        assert need.held(kind, config, dict(zip(AXES, sizes, strict=True)), "bfloat16", expert) == 2 * parts


def test_the_papers_networks_have_the_sizes_that_are_known():
    found = need.weights(PAPER, Place())
    # Wan2.2's experts of 14.3e9 parameters, here with cameras in one; UMT5-XXL's encoder of 5.7e9.
    assert found["low"] / 2 == pytest.approx(14.29e9, rel=1e-3) and found["text"] / 2 == pytest.approx(5.68e9, rel=1e-3)
    dit = PAPER.config.dit
    assert found["high"] - found["low"] == 2 * dit.num_layers * (12 * dit.hidden_size + dit.hidden_size)


@pytest.mark.parametrize(
    "what", ["full attention, 4 blocks, 98,280 tokens", "sparse attention, 4 shots, 4 blocks, 98,280 tokens"]
)
def test_memory_of_a_step_is_what_a_gpu_had(what):
    networks = blocks(PAPER, 4)
    request = Request.of(networks, 249, shots=4)
    assert request.tokens(networks) == 98280
    ours = need.weights(networks, Place())["high"] + need.need(networks, request, Place()).temporaries["denoise"]
    # Never less, since a film that does not fit ends at its first step; and not much more.
    assert 1.0 <= ours / GIB / recorded("forward", what)["peak_gib"] < 1.1


@pytest.mark.parametrize(
    ("frames", "sizes", "gib"),
    [
        (81, {}, 8.70),
        (249, {}, 17.47),
        (249, {"sequence": 4}, 6.69),
        (81, {"fsdp": 4}, 4.83),
        (249, {"fsdp": 2}, 13.54),
    ],
)
def test_memory_of_a_step_is_what_the_compiler_of_tpus_says(frames, sizes, gib):
    """Temporaries of `_denoise`, high-noise expert, splash, by jax 0.10.2 and libtpu 0.0.42.1 for v5p:2x2x1.

    The last one is for v6e:2x2.
    """
    found = need.need(PAPER, Request.of(PAPER, frames), Place(sizes, platform="tpu")).temporaries["denoise"]
    assert 1.0 <= found / GIB / gib < 1.4


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_memory_of_the_decoder_is_what_a_gpu_had(dtype):
    found = need.need(PAPER, Request.of(PAPER, 33), Place(dtype=dtype)).temporaries["decode"]
    peak = recorded("vae", f"decode a latent frame (4 of 480x832), {dtype}")["peak_gib"]
    assert found / GIB == pytest.approx(peak, rel=0.03)


def test_a_device_holds_less_of_a_film_whose_tokens_are_split():
    request = Request.of(PAPER, 249)
    alone, four = (need.need(PAPER, request, Place({"sequence": n})) for n in (1, 4))
    assert four.weights == alone.weights
    assert 0.25 < four.temporaries["denoise"] / alone.temporaries["denoise"] < 0.35
    both = need.need(PAPER, request, Place({"fsdp": 4}))
    assert both.weights["high"] == pytest.approx(alone.weights["high"] / 4, rel=2e-3)
    assert both.weights["vae"] == alone.weights["vae"]


def test_what_waits_on_the_host_is_there_in_its_own_phase_alone():
    request = Request.of(PAPER, 81)
    none, text, experts = (need.need(PAPER, request, Place(offload=offload)) for offload in need.WAITING)
    parts = none.weights
    assert none.phases["denoise"] - text.phases["denoise"] == parts["text"]
    assert none.phases["text"] == text.phases["text"]
    assert text.phases["denoise"] - experts.phases["denoise"] == min(parts["high"], parts["low"])
    assert none.total > text.total > experts.total


def test_operations_of_a_film_are_those_of_its_steps():
    request = Request.of(PAPER, 249)
    high, low = (flops.forward(flops.dit(PAPER.config.expert(name), 63, 60, 104)) for name in ("high", "low"))
    found = need.work(PAPER, request)
    # With shift 5 the expert of high noise makes 21 of 50 steps above sigma 0.875.
    assert found["denoise"] == pytest.approx(2 * (21 * high + 29 * low))
    once = need.work(PAPER, dataclasses.replace(request, guidance=1.0))
    assert once["denoise"] == found["denoise"] / 2 and once["decode"] == found["decode"]
    sparse = need.work(PAPER.sparse(), dataclasses.replace(request, shots=5))
    assert 0.4 < sparse["denoise"] / found["denoise"] < 0.5  # HoloCine §3.2.2
    tiled = need.work(PAPER, Request.of(PAPER, 81, (720, 1280)))
    assert tiled["decode"] > 2 * need.work(PAPER, Request.of(PAPER, 81))["decode"] * 720 * 1280 / (480 * 832)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"frames": 250}, r"a film has 4t\+1 frames, got 250"),
        ({"size": (480, 830)}, "multiples of 16, got 480x830"),
        ({"frames": 5, "shots": 3}, "5 frames cannot be divided into 3 shots"),
    ],
)
def test_films_that_cannot_be_made_are_refused(asked, message):
    with pytest.raises(ValueError, match=message):
        Request.of(PAPER, **asked)


def test_meshes_that_do_not_divide_are_refused():
    request = Request.of(PAPER)
    with pytest.raises(ValueError, match="98280 tokens do not divide over sequence=16 devices"):
        need.need(PAPER, request, Place({"sequence": 16}))
    with pytest.raises(ValueError, match=r"40 heads do not divide over sequence x tensor = 3"):
        need.need(PAPER, request, Place({"sequence": 3}))


def test_a_controllers_folder_is_sized_by_its_own_configs(controller_folder):
    networks = Networks.of(controller_folder)
    assert networks.config.frames == 17 and networks.vae.latent_channels == 4 and networks.text.hidden_size == 16
    assert Networks.of("holocine").experts == ("base", "base")
    with pytest.raises(ValueError, match="no controller called nobody"):
        Networks.of("nobody")
    assert np.isfinite(need.need(networks, Request.of(networks), Place(dtype="float32")).total)
