"""Damaged and malicious files end with one sentence and exit code 2: no traceback, no hang, nothing read as another."""

import dataclasses
import json
import math
import re
import struct
import time
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save_file

from shotverse_jax import cli
from shotverse_jax.config import UMT5Config, WanDiTConfig, controller_small, from_dict
from shotverse_jax.files import read_json, reading
from shotverse_jax.inputs.tokenizer import load_text_tokenizer

torch = pytest.importorskip("torch", reason="PyTorch is not installed: its files cannot be made")


def refused(capsys, *arguments) -> str:
    """The sentence of a command that ends with exit code 2 within seconds."""
    start = time.monotonic()
    assert cli.main([str(argument) for argument in arguments]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "Traceback" not in said and time.monotonic() - start < 10
    return said


def itself():
    held = {"x": torch.zeros(2)}
    held["model"] = held
    return held


def deep(levels):
    held = {"x": torch.zeros(2)}
    for _ in range(levels):
        held = {"model": held}
    return held


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (itself(), "holds things that are not tensors"),
        (deep(200), "not tensors|expected tensors"),
        ({5: torch.zeros(2)}, "holds things under 5, which is no name"),
        ({("a", "b"): torch.zeros(2)}, "which is no name|holds more than tensors"),
        ({"a": torch.zeros(2, dtype=torch.complex64).conj()}, "a conjugate or negative view"),
        ({"a": torch.zeros(2, dtype=torch.complex64).conj().imag}, "a conjugate or negative view"),
        ({"a": torch.zeros(1).expand(10**12)}, "a claims 4,000,000,000,000 bytes, more than are stored of it"),
        ([torch.zeros(2)], "holds a list, expected tensors by name"),
        ({}, "holds a dict, expected tensors by name"),
    ],
)
def test_pytorch_files(tmp_path, capsys, held, said):
    torch.save(held, tmp_path / "a.pth")
    assert re.search(said, refused(capsys, "inspect", tmp_path / "a.pth"))
    assert refused(capsys, "convert", tmp_path / "a.pth", "--as", "umt5", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "value", [[], 3, None, {}, {"weight_map": {}}, {"weight_map": {"a": 5}}, {"weight_map": {"a": "b", "c": ["d"]}}]
)
def test_indices_of_shards(tmp_path, capsys, value):
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps(value))
    assert str(path) in refused(capsys, "inspect", path)


def test_records_that_are_damaged_or_unpack_to_anything(tmp_path, capsys):
    whole = tmp_path / "whole.npz"
    np.savez(whole, meta=np.array(json.dumps({"model": "umt5", "inputs": ["x"], "outputs": ["x"]})), x=np.zeros(9))
    data, rng = whole.read_bytes(), np.random.default_rng(0)
    for number in range(30):
        damaged = bytearray(data)
        for place in rng.integers(0, len(data), 1 + number % 4):
            damaged[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "r.npz").write_bytes(damaged[: len(data) - number % 3 * 40])
        refused(capsys, "verify", tmp_path / "r.npz")
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("meta.npy", bytes(80 << 20))
    assert "would unpack to 83,886,080 bytes" in refused(capsys, "verify", tmp_path / "bomb.npz")
    for meta in (
        '{"model": ["umt5"], "inputs": [], "outputs": []}',
        '{"model": "umt5", "inputs": [[1]], "outputs": []}',
    ):
        np.savez(tmp_path / "m.npz", meta=np.array(meta))
        assert "`meta` must be JSON" in refused(capsys, "verify", tmp_path / "m.npz")


def test_adapters_with_nan(tmp_path, capsys):
    stem = "diffusion_model.blocks.0.self_attn.q"
    for name, value in (("lora_A.weight", math.nan), ("lora_B.weight", math.inf), ("alpha", math.nan)):
        pair = {"lora_A.weight": np.ones((2, 64)), "lora_B.weight": np.ones((64, 2)), "alpha": np.array(2.0)}
        pair[name] = pair[name] * value
        tensors = {f"{stem}.{key}": np.asarray(array, np.float32) for key, array in pair.items()}
        save_file(tensors, tmp_path / "a.safetensors")
        assert "holds NaN or infinity" in refused(capsys, "inspect", tmp_path / "a.safetensors")


@pytest.mark.parametrize("text", ["[]", "3", "null", '"x"', "[" * 100_000, "{", "", "\x00", '{"a": NaN'])
def test_json_of_another_kind(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"a\.json"):
        read_json(tmp_path / "a.json")
    with pytest.raises(ValueError, match="does not exist"):
        read_json(tmp_path / "none.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 5}', '{"model": {"type": "BPE", "vocab": 3}}', "x" * 99])
def test_tokenizers(tmp_path, text):
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(ValueError, match="cannot be read as a tokenizer.json"):
        load_text_tokenizer(tmp_path / "tokenizer.json")


@pytest.mark.parametrize(
    "error", [KeyError("x"), struct.error("y"), RecursionError(), MemoryError(), zipfile.BadZipFile()]
)
def test_whatever_a_library_raises_is_one_sentence(error):
    with pytest.raises(ValueError, match=r"^a\.bin cannot be read as a thing"), reading("a.bin", "a thing"):
        raise error
    with pytest.raises(type(error)), reading("a.bin", "a thing", passing=(type(error),)):
        raise error
    with pytest.raises(KeyboardInterrupt), reading("a.bin", "a thing"):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_layers": "2"}, "num_layers of WanDiTConfig must be a whole number from 1 to 4096, got '2'"),
        ({"num_layers": 2.0}, "must be a whole number .*, got 2.0"),
        ({"num_layers": True}, "must be a whole number .*, got True"),
        ({"num_layers": 2**63}, "must be a whole number"),
        ({"patch": [1, 2]}, "patch of WanDiTConfig is 3 values"),
        ({"patch": 2}, "got 2"),
        ({"patch": [1, 2, "x"]}, "must be a whole number .*, got 'x'"),
        ({"self_attention": "half"}, "'full' or 'sparse', got 'half'"),
        ({"self_attention": ["full"]}, "got \\['full'\\]"),
        ({"depth": 3}, "has no depth"),
    ],
)
def test_configs_are_checked_field_by_field(change, said):
    values = dataclasses.asdict(WanDiTConfig(16, 2, 2, 32))
    assert from_dict(WanDiTConfig, json.loads(json.dumps(values))) == WanDiTConfig(16, 2, 2, 32)
    with pytest.raises(ValueError, match=said):
        from_dict(WanDiTConfig, values | change)


def test_configs_of_other_shapes():
    for values in ([], 3, None, "x"):
        with pytest.raises(ValueError, match="should be a mapping"):
            from_dict(UMT5Config, values)
    with pytest.raises(ValueError, match="dit should be a mapping|WanDiTConfig should be a mapping"):
        from_dict(type(controller_small()), dataclasses.asdict(controller_small()) | {"dit": 3})


def test_the_cases_of_others(reference, capsys, tmp_path):
    folder = reference / "cases" / "hostile"
    if not folder.is_dir():
        pytest.skip("the cases are not here")
    files = [*folder.glob("*.pth"), *folder.glob("idx/*"), *folder.glob("lora_nan/*"), folder / "missing_chunk"]
    for path in [*files, folder / "o_man_list"]:
        refused(capsys, "inspect", path)
    for name in ("missing_chunk", "o_man_list"):
        refused(capsys, "convert", folder / name, "--to", "wan", "--out", tmp_path / "a.safetensors")
    for path in folder.glob("verify/*"):
        refused(capsys, "verify", path)
    refused(capsys, "preview", folder / "wide.json", "--out", tmp_path / "a.mp4")
    assert cli.main(["inspect", str(folder / "names.safetensors")]) == 0
    assert "\x1b" not in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "too little memory on this machine; ask for less"),
        (MemoryError("Unable to allocate 3 TiB"), "too little memory on this machine: Unable to allocate 3 TiB; ask"),
        (
            RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nallocating 9 bytes"),
            "on the device: RESOURCE_EXHAUSTED: Out",
        ),
    ],
)
def test_too_little_memory_says_what_to_do(capsys, monkeypatch, error, said):
    def fail(args):
        raise error

    monkeypatch.setattr(cli.COMMANDS["inspect"], "run", fail)
    assert said in refused(capsys, "inspect", "x")


def test_other_errors_of_devices_are_not_hidden(monkeypatch):
    def fail(args):
        raise RuntimeError("INTERNAL: a fault of the device")

    monkeypatch.setattr(cli.COMMANDS["inspect"], "run", fail)
    with pytest.raises(RuntimeError, match="INTERNAL"):
        cli.main(["inspect", "x"])


def test_parts_of_a_pytorch_file_have_the_sizes_of_its_tensors(tmp_path, capsys):
    torch.save({"a": torch.ones(1000), "b": torch.ones(2)}, tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth") as whole, zipfile.ZipFile(tmp_path / "b.pth", "w") as cut:
        for entry in whole.infolist():
            data = whole.read(entry)
            cut.writestr(entry.filename, data[:64] if len(data) == 4000 else data)
        cut.writestr("a/padding", bytes(9000))
    assert "its tensors have other sizes than the parts of the file" in refused(capsys, "inspect", tmp_path / "b.pth")
    assert cli.main(["inspect", str(tmp_path / "a.pth")]) == 0
