"""PyTorch files, read lazily: plain, wrapped and in half precision; what a pickle must not do, and what is damaged."""

import os
import pickle
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from shotverse_jax.conversion import sources  # noqa: E402
from shotverse_jax.conversion.sources import open_checkpoint  # noqa: E402


def tensors():
    make = torch.Generator().manual_seed(0)
    return {
        "a.weight": torch.randn(5, 3, generator=make),
        "a.turned": torch.randn(4, 6, generator=make).t(),
        "b.half": torch.randn(7, generator=make).to(torch.bfloat16),
        "b.scalar": torch.tensor(3.5, dtype=torch.float16),
        "c.count": torch.arange(4),
    }


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".bin"])
@pytest.mark.parametrize("wrap", [None, "state_dict", "model_state"])
def test_names_values_and_dtypes(tmp_path, suffix, wrap):
    held = tensors()
    torch.save({wrap: held, "epoch": 3} if wrap else held, tmp_path / f"model{suffix}")
    for path in (tmp_path, tmp_path / f"model{suffix}"):
        source = open_checkpoint(path)
        assert source.shapes.keys() == held.keys()
        for name, tensor in held.items():
            assert source[name].shape == source.shapes[name].shape == tuple(tensor.shape)
            assert source[name].dtype == source.shapes[name].dtype
            np.testing.assert_array_equal(source[name].astype(np.float32), tensor.float().numpy())
    assert source["b.half"].dtype == ml_dtypes.bfloat16


def test_it_is_mapped_anew(tmp_path, monkeypatch):
    torch.save(tensors(), tmp_path / "model.pth")
    monkeypatch.setattr(sources, "REMAP", 1)
    source = open_checkpoint(tmp_path / "model.pth")
    first = source["a.weight"]
    for name, tensor in tensors().items():
        np.testing.assert_array_equal(source[name].astype(np.float32), tensor.float().numpy())
    np.testing.assert_array_equal(first, tensors()["a.weight"].numpy())  # what was handed out stays good


class Program:
    def __reduce__(self):
        return os.system, ("touch ran-a-program",)


def test_a_pickle_that_needs_more_is_refused_and_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": torch.zeros(2), "args": Program()}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match="model.pth holds more than tensors and is not opened"):
        open_checkpoint(tmp_path / "model.pth")
    assert not (tmp_path / "ran-a-program").exists()


def test_damaged_and_foreign_files(tmp_path):
    path = tmp_path / "model.pth"
    torch.save(tensors(), path)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(ValueError, match="model.pth is not a PyTorch file of version 1.6 or later, or is cut off"):
        open_checkpoint(path)
    torch.save(tensors(), path, _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match="model.pth is not a PyTorch file of version 1.6 or later"):
        open_checkpoint(path)
    path.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(ValueError, match="model.pth"):
        open_checkpoint(path)
    torch.save({"weight": torch.zeros(2), "step": 3}, path)
    assert open_checkpoint(path).metadata == {"step": 3} and list(open_checkpoint(path)) == ["weight"]
    torch.save({"weight": torch.zeros(2), "moments": [torch.zeros(2)]}, path)
    with pytest.raises(ValueError, match=r"holds things that are not tensors: moments \(list\)"):
        open_checkpoint(path)
    torch.save(torch.zeros(2), path)
    with pytest.raises(ValueError, match="holds a Tensor, expected tensors by name"):
        open_checkpoint(path)
    torch.save({"weight": torch.zeros(3).to_sparse()}, path)
    with pytest.raises(ValueError, match="weight is sparse or quantized"):
        open_checkpoint(path)


def test_a_bit_that_flips_is_noticed(tmp_path):
    """PyTorch itself reads such files as if nothing had happened."""
    path, weight = tmp_path / "model.pth", torch.linspace(1, 2, 64)
    for more in ({}, {"optimizer": {"moments": [torch.ones(9)] * 2}, "step": 3}):
        torch.save({"model": {"a": weight, "half": weight[:32], "b": torch.ones(5)}, **more}, path)
        data = path.read_bytes()
        place = data.index(weight.numpy().tobytes()) + 150
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        source = open_checkpoint(path)
        assert (source["b"] == 1).all()
        for name in ("a", "half", "a"):
            with pytest.raises(ValueError, match="model.pth is damaged: 'model/data/0' in it is not as it was written"):
                source[name]
    # Where PyTorch was told to write no checksums, there is nothing to compare.
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"a": weight}, path)
    finally:
        torch.serialization.set_crc32_options(True)
    np.testing.assert_array_equal(open_checkpoint(path)["a"], weight.numpy())


MEASURED = """
import resource, sys
from shotverse_jax.conversion import sources
sources.REMAP = 4 << 20
source = sources.open_checkpoint(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
total = sum(source[name].sum() for name in source)
print(total, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


def test_pages_that_were_read_are_let_go(tmp_path):
    """40 MB in 40 tensors, of which 4 MB are mapped at a time."""
    torch.save({f"layer.{i}": torch.ones(1 << 18) for i in range(40)}, tmp_path / "model.pth")
    command = [sys.executable, "-c", MEASURED, str(tmp_path / "model.pth")]
    total, grown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert float(total) == 40 * (1 << 18) and float(grown) < 24 << 20
