"""Whether a film fits its devices: what is proposed where it does not, and the refusal before anything is loaded."""

import dataclasses
import math

import pytest

from shotverse_jax import api, cli
from shotverse_jax.infer import fits
from shotverse_jax.infer.cinematographer import Cinematographer
from shotverse_jax.infer.need import GIB, Networks, Place, Request, need

PAPER = Networks.of("paper")


@pytest.mark.parametrize(
    ("frames", "size", "memory", "place"),
    [
        (249, (480, 832), 31.25, Place()),
        (249, (480, 832), 60, Place(dtype="float32")),
        (249, (480, 832), 70, Place()),
        (993, (720, 1280), 73.2, Place(offload="experts")),
        (249, (480, 832), 15.75, Place({"fsdp": 4, "sequence": 2}, platform="tpu")),
    ],
)
def test_what_is_proposed_fits(frames, size, memory, place):
    request, limit = Request.of(PAPER, frames, size), memory * GIB
    said = fits.problem(PAPER, request, place, limit)
    assert said.startswith(f"a film of {frames} frames of {size[0]}x{size[1]} in {place.dtype} needs ")
    ways = said.partition("; it would fit with ")[2].split(" or ")
    assert ("quantize int8" in ways) == (memory in (70, 36))
    for way in ways:
        if way.endswith("frames"):
            shorter = dataclasses.replace(request, frames=int(way.split()[0]))
            longer = dataclasses.replace(shorter, frames=shorter.frames + 4)
            assert not fits.problem(PAPER, shorter, place, limit) and fits.problem(PAPER, longer, place, limit)
            continue
        name, _, value = way.partition(" ")
        if name == "mesh":
            sizes = {axis: int(n) for axis, _, n in (part.partition("=") for part in value.split(","))}
            assert math.prod(sizes.values()) <= fits.MOST
            change = {"sizes": sizes}
        else:
            change = {name: value}
        assert not fits.problem(PAPER, request, dataclasses.replace(place, **change), limit), way


def test_a_film_that_fits_nothing_says_so_and_one_that_fits_has_no_problem():
    assert fits.problem(PAPER, Request.of(PAPER), Place(), 80 * GIB) == ""
    assert fits.problem(PAPER, Request.of(PAPER), Place(), GIB / 4).endswith("it fits no mesh of up to 64 devices")


def test_offloading_follows_the_memory():
    parts = {"high": 10, "low": 10, "text": 5, "vae": 1}
    found = [fits.offload_for(parts, room / (1 - fits.ROOM)) for room in (25.1, 24.9, 20.1, 19.9)]
    assert found == ["none", "text", "text", "experts"]


def test_a_film_is_refused_before_anything_is_loaded(controller_folder, monkeypatch, capsys):
    """As on a machine with a little memory."""
    monkeypatch.setattr(Cinematographer, "load", lambda *_, **__: pytest.fail("it was loaded"))
    monkeypatch.setattr(fits, "host_memory", lambda: 1 << 16)
    with pytest.raises(ValueError, match="a film of 17 frames of 32x48 in float32 needs .* GiB of memory, and this"):
        api.film("examples/red_coat.txt", model=controller_folder)
    with pytest.raises(ValueError, match="a film of 9 frames of 32x64 in "):
        fits.check_fits(controller_folder, 9, (32, 64))
    assert cli.main(["film", "examples/red_coat.txt", "--model", str(controller_folder), "--frames", "9"]) == 2
    assert "shotverse film: a film of 9 frames of 32x48 in float32 needs " in capsys.readouterr().err
    monkeypatch.setattr(fits, "host_memory", lambda: 1 << 40)
    fits.check_fits(controller_folder, 9)
    monkeypatch.setattr(fits, "host_memory", lambda: 100 * GIB)
    with pytest.raises(ValueError, match="would fit with dtype bfloat16 or quantize int8$"):
        fits.check_fits("paper", 81)
    monkeypatch.setattr(fits, "host_memory", lambda: None)
    fits.check_fits("paper")


def test_the_memory_of_a_film_on_a_cpu_is_what_was_measured():
    """`shotverse film examples/red_coat.txt` had so many GiB at its peak (`benchmarks.memory`), less than estimated."""
    networks, place = Networks.of("controller_small"), Place(dtype="float32", platform="cpu")
    peaks = {
        (33, 64, 96): 0.67,
        (33, 240, 416): 1.23,
        (17, 480, 832): 2.60,
        (33, 256, 384): 1.22,
        (129, 128, 192): 0.78,
    }
    for (frames, *size), gib in peaks.items():
        found = need(networks, Request.of(networks, frames, tuple(size)), place).total / GIB
        assert gib <= found < 1.1 * gib, (frames, size, found)
