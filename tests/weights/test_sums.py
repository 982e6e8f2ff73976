"""Weights that are damaged are an error, and never other numbers."""

import random
import shutil
import subprocess

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from shotverse_jax import weights
from shotverse_jax.config import UMT5Config
from shotverse_jax.conversion import commands, core, prepare, stream, umt5
from shotverse_jax.conversion.sources import open_checkpoint
from shotverse_jax.weights.folder import open_weights
from shotverse_jax.weights.sums import read_sums, sums_file

CONFIG = UMT5Config(vocab_size=37, hidden_size=16, num_layers=2, num_heads=2, head_dim=8, mlp_size=16)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """One network as a file, as an export writes it, and as arrays of several chunks, as a conversion does."""
    place, rng = tmp_path_factory.mktemp("weights"), np.random.default_rng(0)
    shapes = weights.abstract("text_encoder", CONFIG)
    params = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(ml_dtypes.bfloat16).astype(np.float32), shapes)
    tokenizer = weights.find_tokenizer("text_small")
    weights.export("text_encoder", params, CONFIG, place / "file", tokenizer_file=tokenizer)
    save_file(core.to_torch(umt5.TABLE, params), place / "torch.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "CHUNK", 256)
        source = prepare.prepare(open_checkpoint(place / "torch.safetensors"), "umt5")
        commands.convert(source, place / "arrays", tokenizer=tokenizer)
    shutil.copy(place / "file" / "config.json", place / "arrays" / "config.json")
    return place


def values(folder):
    return jax.tree.leaves(weights.load("text_encoder", folder).params)


@pytest.mark.parametrize("kind", ["file", "arrays"])
def test_whole_folders_are_read_and_the_program_sha256sum_agrees(folders, kind):
    for ours, other in zip(values(folders / kind), values(folders / "file"), strict=True):
        np.testing.assert_array_equal(ours, other)
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "-c", "--quiet", "model.sha256"], cwd=folders / kind, check=True)


@pytest.mark.parametrize("kind", ["file", "arrays"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "remove", "swap"])
def test_damage_is_an_error(folders, tmp_path, kind, damage):
    expected, draw, refused = values(folders / kind), random.Random(0), 0
    for number in range(12):
        copied = tmp_path / str(number)
        shutil.copytree(folders / kind, copied)
        files = sorted(p for p in copied.rglob("*") if p.is_file() and "model" in p.relative_to(copied).parts[0])
        file, other = draw.sample(files, 2)
        data = bytearray(file.read_bytes())
        if damage == "flip":
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        if damage == "cut":
            del data[draw.randrange(len(data)) :]
        if damage == "empty":
            data.clear()
        if damage == "swap":
            data, old = other.read_bytes(), bytes(data)
            other.write_bytes(old)
        file.write_bytes(data)
        if damage == "remove":
            file.unlink()
        try:
            found = values(copied)
        except ValueError as error:
            refused += 1
            assert str(copied) in str(error)
            continue
        for ours, wanted in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours, wanted)
    assert refused >= (3 if damage == "remove" else 8)


def test_a_missing_part_is_an_error_without_digests_too(folders, tmp_path):
    shutil.copytree(folders / "arrays", tmp_path / "a")
    (tmp_path / "a" / "model.sha256").unlink()
    assert len(values(tmp_path / "a")) == len(values(folders / "file"))
    [chunk, *_] = sorted((tmp_path / "a" / "model" / "embedding").glob("[0-9]*"))
    data = chunk.read_bytes()
    for change in (lambda: chunk.write_bytes(data[:-1]), chunk.unlink):
        change()
        with pytest.raises(ValueError, match="embedding is damaged: a part of the array is not there or cut off"):
            open_weights(tmp_path / "a" / "model")


def test_only_what_is_read_is_checked(folders, tmp_path):
    shutil.copytree(folders / "arrays", tmp_path / "a")
    chunks = sorted((tmp_path / "a" / "model" / "embedding").glob("[0-9]*"), key=lambda p: int(p.name.split(".")[0]))
    chunks[-1].write_bytes(bytes(len(chunks[-1].read_bytes())))
    embedding = open_weights(tmp_path / "a" / "model")["embedding"]
    for index in (0, slice(0, 4), (slice(0, 4), slice(None)), (..., slice(0, 0)), (1, slice(2, 5))):
        np.testing.assert_array_equal(embedding[index], open_weights(folders / "arrays" / "model")["embedding"][index])
    for index in (..., -1, slice(0, 37), (slice(30, 37), slice(0, 2))):
        with pytest.raises(ValueError, match=f"{chunks[-1].name} is not as it was written; make or fetch"):
            embedding[index]


@pytest.mark.parametrize("text", ["", "x", "0" * 64 + " model.safetensors", "\x00" * 200])
def test_digests_that_are_none(folders, tmp_path, text):
    shutil.copytree(folders / "file", tmp_path / "a")
    sums_file(tmp_path / "a" / "model.safetensors").write_text(text)
    with pytest.raises(ValueError, match="model.sha256 is damaged"):
        read_sums(tmp_path / "a" / "model.safetensors")
