"""Meshes from their configs, and the ways in which they do not fit."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from shotverse_jax.config import MeshConfig, TrainConfig, from_dict
from shotverse_jax.parallel.mesh import axis_sizes, batch_share

TEST = Path(__file__)


def test_sizes():
    assert axis_sizes(MeshConfig(), 8) == {"data": 8, "fsdp": 1, "sequence": 1, "tensor": 1}
    assert axis_sizes(MeshConfig(data=2, fsdp=-1, tensor=2), 8) == {"data": 2, "fsdp": 2, "sequence": 1, "tensor": 2}
    assert axis_sizes(MeshConfig(data=1, sequence=4), 4)["sequence"] == 4
    run = from_dict(TrainConfig, {"mesh": {"data": 1, "fsdp": -1}})
    assert axis_sizes(run.mesh, 3)["fsdp"] == 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": 3}, "data=3, fsdp=1, sequence=1, tensor=1 does not use all devices, of which there are 8"),
        ({"fsdp": 16}, "does not use all devices"),
        ({"fsdp": 3}, "data=-1, fsdp=3, .* does not use all devices"),
        ({"fsdp": -1}, "one of them may be -1"),
        ({"fsdp": 0}, "positive sizes"),
        ({"tensor": -2}, "tensor of MeshConfig must be a whole number from -1"),
    ],
)
def test_sizes_that_do_not_fit(values, message):
    with pytest.raises(ValueError, match=message):
        axis_sizes(MeshConfig(**values), 8)


def processes(data, fsdp, inner, owner):
    """A mesh of (data, fsdp, 1, inner) devices, whose processes are owner[i], of device i."""
    devices = np.array([SimpleNamespace(process_index=p) for p in owner], object)
    return SimpleNamespace(devices=devices.reshape(data, fsdp, 1, inner))


def test_share_of_the_batch(monkeypatch):
    def shares(*mesh):
        found = []
        for index in range(max(mesh[-1]) + 1):
            monkeypatch.setattr("jax.process_index", lambda index=index: index)
            found.append(batch_share(processes(*mesh)))
        return found

    assert shares(4, 1, 1, [0, 0, 1, 1]) == [(0, 2), (1, 2)]
    assert shares(2, 2, 1, [0, 1, 2, 3]) == [(0, 4), (1, 4), (2, 4), (3, 4)]
    assert shares(2, 1, 2, [0, 1, 2, 3]) == [(0, 2), (0, 2), (1, 2), (1, 2)]  # two hosts hold the same samples
    assert shares(1, 1, 4, [0, 0, 1, 1]) == [(0, 1), (0, 1)]
    with pytest.raises(ValueError, match="process 0 hold the samples .* make data x fsdp a multiple"):
        shares(3, 1, 2, [0, 0, 0, 1, 1, 1])


def test_on_eight_devices():
    """jax.make_mesh with Auto axes; batches that divide over it, and that do not."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "8"}
    done = subprocess.run([sys.executable, TEST], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["shape"] == {"data": 2, "fsdp": 2, "sequence": 1, "tensor": 2} and found["kinds"] == ["Auto"] * 4
    assert found["shard"] == [2, 3]
    assert found["error"] == "a batch of 6 does not divide over data x fsdp = 2 x 2 devices"
    assert found["share"] == [0, 1]


def on_eight_devices():
    import jax

    from shotverse_jax.parallel.mesh import batch_sharding, make_mesh

    mesh = make_mesh(MeshConfig(data=2, fsdp=-1, tensor=2))
    x = jax.device_put(np.zeros((8, 3)), batch_sharding(mesh, 8))
    try:
        batch_sharding(mesh, 6)
    except ValueError as error:
        message = str(error)
    kinds = [kind.name for kind in mesh.axis_types]
    shard = x.addressable_shards[0].data.shape
    return {"shape": dict(mesh.shape), "kinds": kinds, "shard": shard, "error": message, "share": batch_share(mesh)}


if __name__ == "__main__":
    print(json.dumps(on_eight_devices()))
