"""Names of accelerators and topologies, and what is said where they cannot be had."""

import importlib.util

import jax
import pytest

from shotverse_jax.fit.devices import ACCELERATORS, accelerator, devices


def test_a_slice_has_its_own_chips_and_a_cpu_those_it_stands_for():
    assert accelerator("v5p:4x4x4", None) is ACCELERATORS["v5p"]
    assert accelerator("cpu:96", "h20") is ACCELERATORS["h20"]
    assert accelerator("cpu:64", "v6e").tpu


@pytest.mark.parametrize(
    ("topology", "name", "message"),
    [
        ("v5p", None, r"'v5p' is none of cpu:<devices>, v5e:…, v5p:…, v6e:… \(like v5p:4x4x4\)"),
        ("h100:8", None, "'h100:8' is none of cpu:<devices>"),
        ("cpu:8", None, "name the device that cpu:8 stands for, one of a100, h100"),
        ("cpu:8", "h900", "one of a100, .*; got h900"),
        ("v6e:4x4", "h100", "the devices of v6e:4x4 are v6e, not h100"),
    ],
)
def test_what_is_not_known_is_refused(topology, name, message):
    with pytest.raises(ValueError, match=message):
        accelerator(topology, name)


def test_without_libtpu_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.delenv("TPU_LIBRARY_PATH", raising=False)
    with pytest.raises(ValueError, match=r"compiled by libtpu, which is not here: pip install 'shotverse_jax\[tpu\]'"):
        devices("v5p:2x2x1")


def test_a_cpu_with_other_devices_already_is_refused():
    assert devices(f"cpu:{jax.device_count()}") == jax.devices()
    with pytest.raises(ValueError, match=r"this process has \d+ CPU devices, not 95"):
        devices("cpu:95")
    with pytest.raises(ValueError, match="are a number, as in cpu:96"):
        devices("cpu:4x4")
