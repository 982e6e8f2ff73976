"""Many adapters in one file: what comes back, what is picked, what is refused."""

import dataclasses

import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from shotverse_jax.config import ControllerConfig
from shotverse_jax.conversion.adapters import is_named, read_loras
from shotverse_jax.conversion.commands import inspect
from shotverse_jax.conversion.styles import is_styles, read_styles, style_names, write_styles
from shotverse_jax.lora import Changes, Lora
from shotverse_jax.nn.linear import Adapter


def adapter(seed, rank=2):
    rng = np.random.default_rng(seed)
    pair = Adapter(*(rng.integers(-8, 8, size=s).astype(np.float32) for s in ((3, 6, rank), (3, rank, 4))), scale=0.5)
    return Changes({"blocks": {"ffn_in": {"adapter": pair}}}, {})


LORAS = [
    Lora("low angle", 2.0, {"high": adapter(0), "low": adapter(1)}),
    Lora("pan-left", 1.0, {"high": adapter(2, 3)}),
]


def product(changes):
    pair = flatten_dict(changes.adapter)["blocks", "ffn_in", "adapter"]
    return pair.scale * pair.a @ pair.b


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "a.safetensors"
    write_styles(path, LORAS)
    assert is_styles(path) and is_named(f"{path}@0.5") and style_names(path) == ("low angle", "pan-left")
    assert [lora.name for lora in read_styles(path, ["Pan_Left", "none"])] == ["pan-left"]
    for lora, read in zip(LORAS, read_styles(path, ["low-angle", "pan-left"]), strict=True):
        assert read.name == lora.name and not read.always and read.experts.keys() == lora.experts.keys()
        for expert, changes in lora.experts.items():
            np.testing.assert_array_equal(product(read.experts[expert]), lora.weight * product(changes))
    half, only = (
        read_loras([f"{path}@0.5"], ControllerConfig()),
        read_loras([f"{path}:low"], ControllerConfig(), ["low angle"]),
    )
    assert [lora.weight for lora in half] == [0.5, 0.5]
    assert [(lora.name, *lora.experts) for lora in only] == [("low angle", "low")]
    with pytest.raises(ValueError, match="names of their own"):
        read_loras([f"x={path}"], ControllerConfig())
    with pytest.raises(ValueError, match="pan-left does not change the expert low"):
        read_loras([f"{path}:low"], ControllerConfig())


def test_what_a_file_holds_in_words(tmp_path):
    path, zero = tmp_path / "a.safetensors", adapter(3)
    zero = Changes(
        {"blocks": {"q_proj": {"adapter": zero.adapter["blocks"]["ffn_in"]["adapter"].replace(scale=0.0)}}}, {}
    )
    write_styles(path, [*LORAS, Lora("nothing", 1.0, {"high": zero})])
    head, *lines = inspect(path)
    assert head == f"{path}: 3 adapters (LoRA), each for the shots that ask for its name"
    assert lines == [
        "  low angle        expert high, rank 2, 60 parameters: ffn_in",
        "  low angle        expert low, rank 2, 60 parameters: ffn_in",
        "  pan-left         expert high, rank 3, 90 parameters: ffn_in",
        "  nothing          expert high, rank 2, 60 parameters: q_proj; it changes nothing, its matrices are zero",
    ]


def test_what_no_file_holds(tmp_path):
    path, whole = tmp_path / "a.safetensors", Changes({}, {"head/bias": np.ones(3, np.float32)})
    bad = adapter(0).adapter["blocks"]["ffn_in"]["adapter"].replace(a=np.full((3, 6, 2), np.nan))
    for loras, words in (
        ([LORAS[0], dataclasses.replace(LORAS[1], name="Low-Angle")], "a name of its own"),
        ([Lora("x", 1.0, {"high": whole})], "whole parameters"),
        ([Lora("x", 1.0, {"high": Changes({"blocks": {"ffn_in": {"adapter": bad}}}, {})})], "NaN or infinity"),
    ):
        with pytest.raises(ValueError, match=words):
            write_styles(path, loras)
    assert not path.exists()
    with pytest.raises(ValueError, match="written to a file"):
        write_styles(tmp_path / "a.bin", LORAS)


def test_one_name_for_an_adapter_of_each_expert():
    high, low = (Lora("a", 0.5, {name: adapter(0)}, always=False) for name in ("high", "low"))
    [both] = read_loras([high, dataclasses.replace(low, name="A")], ControllerConfig())
    assert both.experts.keys() == {"high", "low"}
    with pytest.raises(ValueError, match="the name a is given to two adapters"):
        read_loras([high, high], ControllerConfig())
