"""Streaming: chunks, memory that does not grow with the checkpoint, and a kill in the middle that costs one array."""

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from shotverse_jax.config import UMT5Config
from shotverse_jax.conversion import commands, core, prepare, stream, umt5
from shotverse_jax.conversion.networks import NETWORKS
from shotverse_jax.conversion.sources import open_checkpoint
from shotverse_jax.files import locked
from shotverse_jax.weights.folder import open_weights

CONFIG = UMT5Config(vocab_size=20, hidden_size=8, num_layers=3, num_heads=2, head_dim=3, mlp_size=12, buckets=8)


@pytest.mark.parametrize(
    ("path", "shape", "mesh", "expected"),
    [
        ("blocks/ffn_in/kernel", (40, 5120, 13824), {"fsdp": 8}, (40, 640, 13824)),
        ("blocks/ffn_in/kernel", (40, 5120, 13824), {"fsdp": 8, "tensor": 4}, (40, 640, 3456)),
        ("blocks/ffn_out/kernel", (40, 13824, 5120), {"fsdp": 8, "tensor": 2}, (40, 6912, 640)),
        ("blocks/ffn_in/kernel", (40, 5120, 13824), {}, (40, 5120, 13824)),
        ("embedding", (256384, 4096), {"fsdp": 8}, (256384, 512)),
        ("embedding", (256384, 4090), {"fsdp": 8}, (32048, 4090)),  # the axis that can be divided
        ("blocks/modulation", (40, 6, 5120), {"fsdp": 8}, (40, 6, 5120)),
        ("blocks/ffn_in/kernel", (40, 64, 64), {"fsdp": 8}, (40, 64, 64)),  # too small
    ],
)
def test_what_a_device_holds(path, shape, mesh, expected):
    assert stream.shard_shape(path, shape, len(shape) > 2, mesh, 2) == expected


@pytest.mark.parametrize("shape", [(40, 5120, 13824), (40, 5120), (256384, 4096), (7,), (), (3, 5, 7, 200, 300, 400)])
@pytest.mark.parametrize("mesh", [{}, {"fsdp": 8}])
def test_chunks_tile_the_parts_and_are_bounded(shape, mesh):
    path = "conv/kernel" if len(shape) > 3 else "blocks/ffn_in/kernel" if len(shape) > 1 else "norm/scale"
    chunks, part = (fit(path, shape, len(shape) > 2, mesh, 2) for fit in (stream.chunk_shape, stream.shard_shape))
    assert math.prod(chunks) * 2 <= stream.CHUNK
    assert all(chunk <= size for chunk, size in zip(chunks, part, strict=True))
    if mesh and shape == (40, 5120, 13824):
        assert chunks == (3, 640, 13824)  # a chunk never lies in the parts of two devices


@pytest.mark.parametrize(
    "dtypes", [(np.float32, np.float32), (np.float32, ml_dtypes.bfloat16), (np.float16, np.float32)]
)
@pytest.mark.parametrize("shape", [(700, 300), (256, 256), (1, 900), (5, 1), (3, 4, 5)])
def test_copy_is_a_cast_of_any_view(shape, dtypes):
    stored = np.random.default_rng(0).normal(size=shape).astype(dtypes[0])
    for view in (stored, stored.T, stored.T[: max(1, shape[-1] // 2)]):
        out = np.empty(view.shape, dtypes[1])
        stream.copy(out, view)
        np.testing.assert_array_equal(out, view.astype(dtypes[1]))


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_finite(dtype):
    array = np.full(200_001, np.finfo(np.float32).min / 2, np.float32).astype(dtype)
    assert stream.finite(array)
    for value in (np.nan, -np.nan, np.inf, -np.inf):
        for place in (0, 123_456, 200_000):
            broken = array.copy()
            broken[place] = value
            assert not stream.finite(broken)


# ---------------------------------------------------------------------------------------------------- a kill


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), NETWORKS["umt5"].abstract(CONFIG)
    )
    path = tmp_path_factory.mktemp("source") / "encoder.safetensors"
    save_file(core.to_torch(umt5.TABLE, params), path)
    return path, core.flatten_dict(params, sep="/")


def python(code: str, *args) -> subprocess.CompletedProcess:
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


KILLED = """
    import os, signal, sys
    from shotverse_jax.conversion import commands, prepare, stream
    from shotverse_jax.conversion.sources import open_checkpoint
    stream.CHUNK = 100
    create = stream._create
    def killed(path, leaf, chunks):
        array = create(path, leaf, chunks)
        killed.count += 1
        if killed.count == 5:
            array[0].write(0).result()  # an array of which a part is there
            os.kill(os.getpid(), signal.SIGKILL)
        return array
    killed.count = 0
    stream._create = killed
    commands.convert(prepare.prepare(open_checkpoint(sys.argv[1]), "umt5"), sys.argv[2], tokenizer="none")
"""


def test_a_killed_conversion_goes_on(tmp_path, checkpoint, monkeypatch):
    path, params = checkpoint
    assert python(KILLED, path, tmp_path / "ours").returncode == -signal.SIGKILL
    assert [p.name for p in tmp_path.iterdir()] == [".ours.model.converting"]  # absent, as far as anyone can load it
    journal = tmp_path / ".ours.model.converting" / stream.JOURNAL
    done = sorted(json.loads(journal.read_text())["done"])
    assert len(done) == 3  # of four; the last chunks of the fourth were on their way
    lost = tmp_path / ".ours.model.converting" / "model" / stream.array_name(done[0])
    next(file for file in lost.iterdir() if file.name != ".zarray").write_bytes(b"")  # as a power cut may leave it
    changed = lost.with_name(stream.array_name(done[1]))
    file = next(file for file in changed.iterdir() if file.name != ".zarray")
    file.write_bytes(bytes(255 - byte for byte in file.read_bytes()))  # as somebody may

    written, write = [], stream._write_array

    def counted(source, entry, *rest):
        written.append(entry.target)
        return write(source, entry, *rest)

    monkeypatch.setattr(stream, "_write_array", counted)
    commands.convert(prepare.prepare(open_checkpoint(path), "umt5"), tmp_path / "ours", tokenizer="none")
    assert set(written) == params.keys() - set(done[2:])
    assert [p.name for p in tmp_path.iterdir()] == ["ours"]
    arrays = open_weights(tmp_path / "ours" / "model")
    assert arrays.keys() == params.keys()
    for name, leaf in params.items():
        np.testing.assert_array_equal(np.asarray(arrays[name]), leaf)


def test_two_conversions_into_one_folder(tmp_path, checkpoint):
    path, _ = checkpoint
    work = tmp_path / ".ours.model.converting"
    work.mkdir()
    with locked(work), pytest.raises(ValueError, match="another process is writing to .*converting"):
        commands.convert(prepare.prepare(open_checkpoint(path), "umt5"), tmp_path / "ours", tokenizer="none")
    assert work.is_dir() and not (tmp_path / "ours").exists()
    commands.convert(prepare.prepare(open_checkpoint(path), "umt5"), tmp_path / "ours", tokenizer="none")
    assert [p.name for p in tmp_path.iterdir()] == ["ours"]


def test_a_folder_above_this_one(tmp_path, checkpoint, monkeypatch):
    path, params = checkpoint
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    commands.convert(prepare.prepare(open_checkpoint(path), "umt5"), Path("../ours"), tokenizer="none")
    found = open_weights(Path("../ours/model"))
    assert found.keys() == params.keys()
    for name, expected in params.items():
        np.testing.assert_allclose(np.asarray(found[name], np.float32), expected, rtol=1e-2)


def test_what_is_left_of_another_conversion_is_not_continued(tmp_path, checkpoint):
    path, _ = checkpoint
    folder = tmp_path / "work"
    folder.mkdir()
    files = {"embedding/0": "00"}
    stream.Journal(folder, {"dtype": "float32"}).finish("embedding", files, {"a"})
    assert stream.Journal(folder, {"dtype": "float32"}).done == {"embedding": files}
    assert stream.Journal(folder, {"dtype": "float32"}).bad == {"a"}
    assert stream.Journal(folder, {"dtype": "bfloat16"}).done == {}


@pytest.mark.parametrize("text", ["[]", "{}", '{"identity": {}, "done": [1], "bad": 3}', "null", '{"identity": {}}'])
def test_a_journal_that_somebody_changed_begins_anew(tmp_path, text):
    (tmp_path / stream.JOURNAL).write_text(text)
    journal = stream.Journal(tmp_path, {})
    assert journal.done == {} and journal.bad == set()


def test_other_flags_begin_a_conversion_anew(tmp_path, checkpoint):
    path, params = checkpoint
    assert python(KILLED, path, tmp_path / "ours").returncode == -signal.SIGKILL
    written = json.loads((tmp_path / ".ours.model.converting" / stream.JOURNAL).read_text())
    assert written["identity"]["allow_nan"] is False
    commands.convert(prepare.prepare(open_checkpoint(path), "umt5"), tmp_path / "ours", None, True, "none")
    assert open_weights(tmp_path / "ours" / "model").keys() == params.keys()


# ---------------------------------------------------------------------------------------------------- memory

MEASURED = """
    import resource, sys
    from shotverse_jax.conversion import commands, prepare, stream
    from shotverse_jax.conversion.sources import open_checkpoint
    stream.CHUNK = 1 << 19
    for source, out in zip(sys.argv[1::2], sys.argv[2::2]):
        commands.convert(prepare.prepare(open_checkpoint(source), "umt5"), out, tokenizer="none")
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def sparse_checkpoint(path, config):
    """Zeros that take no space on the disk."""
    leaves, header, end = core.flatten_dict(NETWORKS["umt5"].abstract(config), sep="/"), {}, 0
    for entry in umt5.TABLE.entries:
        leaf = leaves[entry.target]
        shape = jax.eval_shape(
            entry.transform.to_torch,
            jax.ShapeDtypeStruct(leaf.shape[1:] if entry.stacked else leaf.shape, np.float32),
        )
        for i in range(config.num_layers if entry.stacked else 1):
            begin, end = end, end + 4 * shape.size
            header[entry.name(i)] = {"dtype": "F32", "shape": shape.shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return end


def test_memory_does_not_grow_with_the_checkpoint(tmp_path):
    """A checkpoint of 143 MB, its largest stack 34 MB: not even one stack is held."""
    large = UMT5Config(vocab_size=4096, hidden_size=512, num_layers=8, num_heads=8, head_dim=64, mlp_size=2048)
    sparse_checkpoint(tmp_path / "small.safetensors", CONFIG)
    size = sparse_checkpoint(tmp_path / "large.safetensors", large)
    assert size > 140_000_000
    pairs = [tmp_path / name for name in ("small.safetensors", "a", "large.safetensors", "b")]
    ran = python(MEASURED, *pairs)
    assert ran.returncode == 0, ran.stderr
    before, after = map(int, ran.stdout.split())
    assert after - before < 24 << 20
