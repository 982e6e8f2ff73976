"""Whether a training run fits a cluster: its step, compiled for devices that need not be there."""

import dataclasses
import math
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from shotverse_jax.config import MeshConfig
from shotverse_jax.cost.accelerators import Accelerator
from shotverse_jax.fit.capacity import bytes_shown, flop_shown
from shotverse_jax.fit.devices import accelerator, devices
from shotverse_jax.fit.program import Collective, Memory, collectives
from shotverse_jax.nn.attention import KERNELS, kernels_on
from shotverse_jax.parallel.mesh import make_mesh
from shotverse_jax.train import outline, read_config
from shotverse_jax.train.placement import Placement
from shotverse_jax.train.state import init_state, make_optimizer
from shotverse_jax.train.step import make_steps
from shotverse_jax.train.task import Outline

GIB = 1 << 30


@dataclasses.dataclass(frozen=True)
class Report:
    """What a training step needs of each device of a topology; sizes are bytes.

    Attributes:
        topology: the devices, as they were asked for.
        mesh: number of devices along each axis.
        accelerator: the kind of the devices.
        held: what stays in memory between steps, by kind.
        memory: of the compiled step; None where the compiler refused it for its memory.
        collectives: data that the devices exchange in a step; None where there is no program or it cannot be read.
        useful: floating-point operations of a step on all devices that the mathematics needs (`cost/flops.py`).
        executed: operations of a step on all devices, with those that are computed again for the gradient.
        mfu: the assumed share of the devices' peak that `useful` reaches.
        compile_seconds: time that the compiler took.
        notes: what to know about these numbers.
        problem: why the step does not fit; "" if it does.
    """

    topology: str
    mesh: Mapping[str, int]
    accelerator: Accelerator
    held: Mapping[str, int]
    memory: Memory | None
    collectives: Mapping[str, Collective] | None
    useful: float
    executed: float
    mfu: float
    compile_seconds: float
    notes: tuple[str, ...]
    problem: str

    @property
    def seconds(self) -> float:
        """Predicted time of a step, at the assumed `mfu`."""
        return self.useful / (math.prod(self.mesh.values()) * self.accelerator.peak * 1e12 * self.mfu)


def fit(values: dict, topology: str, device: str | None = None, mfu: float = 0.4) -> Report:
    """Compiles the training step of a run for devices that need not be there, and measures it.

    Call it in a process that has not used a device yet.

    Args:
        values: a training config as plain values, as a file of `configs/` has them.
        topology: kind and shape, such as "v5p:4x4x4", or "cpu:96" for 96 devices of this machine's CPU.
        device: the accelerator that the devices of a CPU stand for.
        mfu: useful operations over the peak, for the predicted time.

    Raises:
        ValueError: an unknown value, topology or device, or a mesh or batch that does not fit the devices.
    """
    kind = accelerator(topology, device)
    config = read_config(values)
    mesh = _mesh(config.mesh, topology)
    wanted = config.execution.attention
    kernel, notes = _kernel(wanted, topology)
    execution = dataclasses.replace(config.execution, attention=kernel)
    plan = outline(dataclasses.replace(config, execution=execution), mesh)
    step, place, arguments = _step(plan, mesh)
    started = time.monotonic()
    compiled, problem = _compile(step, arguments)
    memory = None if compiled is None else Memory.of(compiled)
    # The compiler of a CPU refuses no program for its memory, so the limit of the real device is checked here.
    if memory is not None and memory.total > kind.memory * GIB:
        problem = f"a step needs {memory.total / GIB:.1f} GiB of each device, of which it has {kind.memory:g}"
    exchanged = None if compiled is None else _exchanged(compiled)
    if compiled is not None and exchanged is None:
        notes += (f"the compiler of {topology} does not show its programs: collectives are not counted",)
    # Operations are those of the kernel that was asked for, which on a CPU is not the one that was compiled.
    remat, flash = config.execution.remat, KERNELS[wanted].residual is not None
    return Report(
        topology,
        dict(mesh.shape),
        kind,
        _held(plan, arguments[0], place),
        memory,
        exchanged,
        config.batch * sum(part.step() for part in plan.work),
        config.batch * sum(part.executed(remat, flash) for part in plan.work),
        mfu,
        time.monotonic() - started,
        notes,
        problem,
    )


def _mesh(config: MeshConfig, topology: str) -> Mesh:
    """The mesh of a run on the devices of a topology."""
    try:
        return make_mesh(config, devices(topology))
    except NotImplementedError as error:  # of a slice, whose links are a grid
        raise ValueError(f"the mesh cannot be laid on {topology}: {error}") from error


def _kernel(wanted: str, topology: str) -> tuple[str, tuple[str, ...]]:
    """(the attention kernel to compile with, notes); on a CPU it is always XLA's."""
    if not topology.startswith("cpu:"):
        if "tpu" not in KERNELS[wanted].platforms:
            others = ", or to ".join(kernels_on("tpu"))
            raise ValueError(f"attention {wanted} does not run on {topology}; set execution.attention to {others}")
        return wanted, ()
    notes = ("temporaries are those of XLA's CPU compiler: good to compare meshes and changes, not an accelerator's",)
    [default] = kernels_on("cpu")
    if wanted != default:
        notes += (f"{wanted} attention is not on a CPU; compiled with {default}'s, which keeps no residuals",)
    return default, notes


def _step(plan: Outline, mesh: Mesh) -> tuple[Any, Placement, tuple]:
    """The run's training step, the placement of its arguments, and their shapes."""
    optimizer, _ = make_optimizer(plan.config)
    # The state is made as shapes alone: that of a pod's run does not fit this machine.
    state = jax.eval_shape(lambda params: init_state(params, optimizer, ema=plan.config.ema > 0), plan.trainable)
    place = Placement.of(plan.config, state, plan.frozen, mesh)
    key = jax.eval_shape(lambda: jax.random.key(0))
    return make_steps(plan, place).train, place, (state, plan.frozen, plan.batch, key, plan.bucket)


def _compile(step: Any, arguments: tuple) -> tuple[Any, str]:
    """(the compiled step, ""), or (None, why) where the compiler refuses it for its memory."""
    try:
        return step.lower(*arguments).compile(), ""
    except jax.errors.JaxRuntimeError as error:
        text = str(error)
        if "RESOURCE_EXHAUSTED" not in text:
            raise
        if used := re.search(r"Used (\S+) of (\S+) \w+", text):
            return None, f"the compiler refuses the step: it needs {used[1]} of the {used[2]} of each device"
        return None, f"the compiler refuses the step: {text.partition(': ')[2].splitlines()[0]}"


def _exchanged(compiled: Any) -> dict[str, Collective] | None:
    """The collectives of a program; None where its compiler does not show the program."""
    try:
        return collectives(compiled.as_text())
    except jax.errors.JaxRuntimeError:  # libtpu of 2026 for v6e
        return None


def _held(plan: Outline, state: Any, place: Placement) -> dict[str, int]:
    """Bytes on one device between steps, by kind."""
    batch = jax.tree.map(lambda _: place.batch, plan.batch)
    return {
        "frozen parameters": _size(plan.frozen, place.frozen),
        "trained parameters": _size(state.params, place.state.params),
        "optimizer": _size(state.opt_state, place.state.opt_state),
        "average": _size(state.ema, place.state.ema),
        "batch": _size(plan.batch, batch),
    }


def _size(tree: Any, places: Any) -> int:
    """Bytes of a tree on one device."""
    sizes = jax.tree.map(
        lambda leaf, place: math.prod(place.shard_shape(leaf.shape)) * np.dtype(leaf.dtype).itemsize, tree, places
    )
    return sum(jax.tree.leaves(sizes))


def lines(report: Report) -> Iterator[str]:
    """The report in lines for people."""
    sizes = " x ".join(f"{axis} {size}" for axis, size in report.mesh.items() if size > 1) or "alone"
    yield f"{report.topology}: {math.prod(report.mesh.values())} devices, {sizes}"
    yield "on each device"
    held = dict(report.held)
    if report.memory is not None:
        held |= {"temporaries": report.memory.temporaries, "all of the step": report.memory.total}
    yield from (f"  {kind:<22}{bytes_shown(size):>12}" for kind, size in held.items())
    if report.collectives is not None:
        yield "received by each device in a step"
        for kind, found in report.collectives.items():
            yield f"  {kind:<22}{bytes_shown(found.size):>12}  in {found.count}"
    yield f"{flop_shown(report.useful)} a step, {flop_shown(report.executed)} with what is computed again"
    yield f"{report.seconds:.3g} s a step at {report.mfu:.0%} of {report.accelerator.peak:g} TFLOP/s a device"
    yield f"compiled in {report.compile_seconds:.0f} s"
    yield from (f"note: {note}" for note in report.notes)
    yield f"does not fit: {report.problem}" if report.problem else "fits"
