"""The time of a step at the peak of the devices, that MFU is measured by."""

import functools
import types

import jax
import pytest

from shotverse_jax.config import MeshConfig
from shotverse_jax.cost import accelerators, flops
from shotverse_jax.fit.config_file import read
from shotverse_jax.parallel.mesh import make_mesh
from shotverse_jax.train import outline, read_config
from shotverse_jax.train.tasks import planner

KINDS = {
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA H200": 989e12,
    "NVIDIA H20": 148e12,
    "NVIDIA B200": 2250e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
    "cpu": None,
    "TPU v4": None,
}


@pytest.mark.parametrize("kind", KINDS)
def test_devices_are_known_by_the_names_that_jax_has_for_them(kind):
    assert accelerators.peak(kind) == KINDS[kind]


def test_a_step_takes_its_work_over_the_peak_of_all_devices(monkeypatch):
    config, mesh = read_config(read("configs/planner/nano.py", ())), make_mesh(MeshConfig(), jax.devices()[:1])
    work = functools.partial(planner.work, config)
    assert accelerators.ideal_step_seconds(config.batch, work, mesh) is None  # nobody knows the peak of this CPU
    monkeypatch.setattr(accelerators, "peak", lambda kind: 1e12)
    ideal, plan = accelerators.ideal_step_seconds(config.batch, work, mesh), outline(config, mesh)
    monkeypatch.setattr(jax, "eval_shape", None)  # the network is not traced to know its work
    most = len(config.shot_weights)
    assert ideal(most) == pytest.approx(config.batch * sum(part.step() for part in plan.work) / 1e12)
    assert 0 < ideal(1) < ideal(2) < ideal(most)
    two = types.SimpleNamespace(devices=mesh.devices, size=2)
    assert accelerators.ideal_step_seconds(config.batch, work, two)(1) == pytest.approx(ideal(1) / 2)
    assert flops.forward(plan.work) > 0
