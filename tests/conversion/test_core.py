"""The strict converter on a small table: both directions, and every way a checkpoint can be wrong."""

import json

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from shotverse_jax.conversion import core
from shotverse_jax.conversion.core import TRANSPOSE, Entry, Table, Transform, match, to_flax, to_torch

PATCH = Transform(lambda w: w.reshape(w.shape[0], -1).T, lambda k: k.T.reshape(-1, 3, 2))
TABLE = Table(
    entries=(
        Entry("net.embed.weight", "embedding"),
        Entry("net.patch.weight", "patch/kernel", PATCH),
        Entry("net.layers.{i}.fc.weight", "layers/fc/kernel", TRANSPOSE),
        Entry("net.layers.{i}.norm.weight", "layers/norm/scale"),
    ),
    aliases=((r"(net\.)?(?=(embed|patch|layers)\.)", "net."),),
    ignore=(r"vision\.",),
    ties=(("head.weight", "net.embed.weight"),),
)
SHAPES = {
    "net.embed.weight": (7, 4),
    "net.patch.weight": (5, 3, 2),
    **{f"net.layers.{i}.fc.weight": (6, 4) for i in range(3)},
    **{f"net.layers.{i}.norm.weight": (4,) for i in range(3)},
}
ABSTRACT = {
    "embedding": jax.ShapeDtypeStruct((7, 4), np.float32),
    "patch": {"kernel": jax.ShapeDtypeStruct((6, 5), np.float32)},
    "layers": {
        "fc": {"kernel": jax.ShapeDtypeStruct((3, 4, 6), np.float32)},
        "norm": {"scale": jax.ShapeDtypeStruct((3, 4), np.float32)},
    },
}


@pytest.fixture
def tensors():
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def problems(tensors, table=TABLE, abstract=ABSTRACT, **options):
    with pytest.raises(ValueError) as caught:
        to_flax(table, tensors, abstract, **options)
    return str(caught.value)


def test_round_trip_is_exact(tensors):
    params = to_flax(TABLE, tensors, ABSTRACT)
    np.testing.assert_array_equal(params["layers"]["fc"]["kernel"][2], tensors["net.layers.2.fc.weight"].T)
    np.testing.assert_array_equal(params["patch"]["kernel"][:, 1], tensors["net.patch.weight"][1].ravel())
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), params) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), ABSTRACT
    )
    back = to_torch(TABLE, params)
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(back[name], tensor)
        assert back[name].flags.c_contiguous  # safetensors writes raw memory


def test_aliases_ignored_and_tied_names(tensors):
    renamed = {name.removeprefix("net."): tensor for name, tensor in tensors.items()}
    renamed |= {"vision.anything": np.zeros(3), "head.weight": tensors["net.embed.weight"]}
    expected, params = to_flax(TABLE, tensors, ABSTRACT), to_flax(TABLE, renamed, ABSTRACT)
    jax.tree.map(np.testing.assert_array_equal, params, expected)


def test_all_problems_are_told_at_once(tensors):
    del tensors["net.layers.1.fc.weight"]
    tensors["net.layers.3.fc.weight"] = tensors["net.layers.0.fc.weight"]  # one layer too many
    tensors["optimizer.step"] = np.zeros(1, np.float32)
    tensors["net.embed.weight"] = np.zeros((8, 4), np.float32)
    tensors["net.patch.weight"] = tensors["net.patch.weight"].astype(np.float16)
    text = problems(tensors)
    assert "missing from the checkpoint (1): net.layers.1.fc.weight" in text
    assert "in the checkpoint but not in the table (2): net.layers.3.fc.weight, optimizer.step" in text
    assert "wrong shape (1): net.embed.weight (8, 4) becomes (8, 4), embedding needs (7, 4)" in text
    assert "wrong dtype (1): net.patch.weight float16, patch/kernel needs float32" in text


def test_a_transposed_weight_is_refused(tensors):
    tensors["net.layers.0.fc.weight"] = tensors["net.layers.0.fc.weight"].T
    assert "wrong shape (1): net.layers.0.fc.weight" in problems(tensors)


def test_the_same_tensor_under_two_names(tensors):
    tensors["embed.weight"] = tensors["net.embed.weight"]
    assert "under two names (1): net.embed.weight = embed.weight" in problems(tensors)


def test_a_tied_tensor_must_be_equal(tensors):
    tensors["head.weight"] = tensors["net.embed.weight"] + 1
    assert "must be equal (1): head.weight and net.embed.weight" in problems(tensors)


def test_table_and_network_must_agree(tensors):
    entries = (*TABLE.entries, Entry("net.bias", "bias"), Entry("net.other", "embedding"))
    text = problems(tensors, table=Table(entries, TABLE.aliases), abstract=ABSTRACT | {"extra": ABSTRACT["embedding"]})
    assert "in the table but not in the network (1): bias" in text
    assert "in the network but not in the table (1): extra" in text
    assert "set by two entries of the table (1): embedding" in text
    text = problems(
        tensors,
        table=Table((*TABLE.entries, Entry("net.embed.weight", "extra"))),
        abstract=ABSTRACT | {"extra": ABSTRACT["embedding"]},
    )
    assert "read by two entries of the table (1): net.embed.weight" in text


def test_cast_is_asked_for_and_floats_only(tensors):
    half = {name: tensor.astype(ml_dtypes.bfloat16) for name, tensor in tensors.items()}
    assert "wrong dtype (8)" in problems(half)
    params = to_flax(TABLE, half, ABSTRACT, cast=True)
    assert params["embedding"].dtype == np.float32
    np.testing.assert_array_equal(params["embedding"], half["net.embed.weight"].astype(np.float32))
    tensors["net.embed.weight"] = tensors["net.embed.weight"].astype(np.int32)
    assert "wrong dtype (1): net.embed.weight int32" in problems(tensors, cast=True)


def test_long_lists_are_cut():
    text = problems({f"x.{i}": np.zeros(1, np.float32) for i in range(50)})
    assert "in the checkpoint but not in the table (50)" in text and "and 30 more" in text


def test_match_reads_no_value():
    plan = match(TABLE, {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in SHAPES.items()}, ABSTRACT)
    assert plan["layers/norm/scale"] == [f"net.layers.{i}.norm.weight" for i in range(3)]


def test_to_torch_is_strict(tensors):
    params = to_flax(TABLE, tensors, ABSTRACT)
    params["lora"] = params.pop("embedding")
    with pytest.raises(ValueError) as caught:
        to_torch(TABLE, params)
    assert "missing from the parameters (1): embedding" in str(caught.value)
    assert "in the parameters but not in the table (1): lora" in str(caught.value)


def shard(folder, tensors):
    """A checkpoint of two files and its index, one tensor in bfloat16."""
    names = sorted(tensors)
    parts = {"a.safetensors": names[:4], "b.safetensors": names[4:]}
    for file, held in parts.items():
        save_file({name: np.ascontiguousarray(tensors[name]) for name in held}, folder / file)
    weight_map = {name: file for file, held in parts.items() for name in held}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index


def test_read_safetensors(tmp_path, tensors):
    tensors["net.embed.weight"] = tensors["net.embed.weight"].astype(ml_dtypes.bfloat16)
    index = shard(tmp_path, tensors)
    (tmp_path / "one").mkdir()
    save_file(tensors, tmp_path / "one" / "model.safetensors")
    for path in (index, tmp_path, tmp_path / "one", tmp_path / "one" / "model.safetensors"):
        read = core.read_safetensors(path)
        assert read.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert read[name].dtype == tensor.dtype
            np.testing.assert_array_equal(read[name], tensor)


def test_read_safetensors_errors(tmp_path, tensors):
    with pytest.raises(ValueError, match="does not exist"):
        core.read_safetensors(tmp_path / "no.safetensors")
    with pytest.raises(ValueError, match="holds 0 checkpoints"):
        core.read_safetensors(tmp_path)
    index = shard(tmp_path, tensors)
    first = sorted(tensors)[0]
    save_file({name: tensors[name] for name in sorted(tensors)[1:4]}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=rf"not in both \(1\): {first} \(a.safetensors\)"):
        core.read_safetensors(index)
    (tmp_path / "a.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(ValueError, match="is not a safetensors file"):
        core.read_safetensors(index)
    (tmp_path / "a.safetensors").unlink()
    with pytest.raises(ValueError, match="a.safetensors does not exist"):
        core.read_safetensors(index)
    index.write_text("{}")
    with pytest.raises(ValueError, match="is not the index of a sharded checkpoint"):
        core.read_safetensors(index)
