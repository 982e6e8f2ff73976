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

from shotverse_jax.config import MeshConfig, from_dict
from shotverse_jax.fit.devices import Accelerator, accelerator, devices
from shotverse_jax.fit.outline import Outline, outline
from shotverse_jax.fit.program import Collective, Memory, collectives
from shotverse_jax.nn.attention import KERNELS, kernels_on
from shotverse_jax.parallel.mesh import make_mesh
from shotverse_jax.train.placement import Placement
from shotverse_jax.train.state import init_state, make_optimizer
from shotverse_jax.train.step import make_train_step

GIB = 1 << 30


@dataclasses.dataclass(frozen=True)
class Report:
    """What a training step needs of each device of a topology; sizes are bytes.

    held: what lies there between steps, by kind. memory, collectives: of the compiled step, None where the compiler
    refused it for its memory, or does not show it. useful, executed: operations of a step on all devices
    (`fit/flops.py`). seconds: of a step, at the utilisation asked for. problem: why it does not fit, "" if it does.
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
        return self.useful / (math.prod(self.mesh.values()) * self.accelerator.peak * 1e12 * self.mfu)


def fit(values: dict, topology: str, device: str | None = None, mfu: float = 0.4) -> Report:
    """Compiles the training step of a config's values for a topology ("v5p:4x4x4", "cpu:96") and measures it.

    device: what the fake devices of a CPU stand for. mfu: useful operations over the peak, for the predicted time.
    Call it in a process that has not used a device yet.

    Raises:
        ValueError: a config, topology, device, mesh or batch that cannot be.
    """
    kind = accelerator(topology, device)
    mesh = _mesh(from_dict(MeshConfig, values["mesh"]), topology)
    kernel, notes = _kernel(values["execution"]["attention"], topology)
    plan = outline(values, mesh, kernel)
    step, place, arguments = _step(plan, mesh)
    started = time.monotonic()
    compiled, problem = _compile(step, arguments)
    memory = None if compiled is None else Memory.of(compiled)
    if memory is not None and memory.total > kind.memory * GIB:
        problem = f"a step needs {memory.total / GIB:.1f} GiB of each device, of which it has {kind.memory:g}"
    exchanged = None if compiled is None else _exchanged(compiled)
    if compiled is not None and exchanged is None:
        notes += (f"the compiler of {topology} does not show its programs: collectives are not counted",)
    remat, flash = plan.run.execution.remat, KERNELS[values["execution"]["attention"]].residual is not None
    return Report(
        topology,
        dict(mesh.shape),
        kind,
        _held(plan, arguments[0], place),
        memory,
        exchanged,
        plan.run.batch * sum(part.step() for part in plan.work),
        plan.run.batch * sum(part.executed(remat, flash) for part in plan.work),
        mfu,
        time.monotonic() - started,
        notes,
        problem,
    )


def _mesh(config: MeshConfig, topology: str) -> Mesh:
    try:
        return make_mesh(config, devices(topology))
    except NotImplementedError as error:  # of a slice, whose links are a grid
        raise ValueError(f"the mesh cannot be laid on {topology}: {error}") from error


def _kernel(wanted: str, topology: str) -> tuple[str | None, tuple[str, ...]]:
    """(the attention kernel to compile with where it is another than the config's, notes)."""
    if not topology.startswith("cpu:"):
        if "tpu" not in KERNELS[wanted].platforms:
            others = ", or to ".join(kernels_on("tpu"))
            raise ValueError(f"attention {wanted} does not run on {topology}; set execution.attention to {others}")
        return None, ()
    notes = ("temporaries are those of XLA's CPU compiler: good to compare meshes and changes, not an accelerator's",)
    [default] = kernels_on("cpu")
    if wanted != default:
        notes += (f"{wanted} attention is not on a CPU; compiled with {default}'s, which keeps no residuals",)
    return default, notes


def _step(plan: Outline, mesh: Mesh) -> tuple[Any, Placement, tuple]:
    """The run's training step, where its arguments lie, and their shapes."""
    optimizer, schedule = make_optimizer(plan.run)
    state = jax.eval_shape(lambda params: init_state(params, optimizer, ema=plan.run.ema > 0), plan.trainable)
    place = Placement.of(plan.run, state, plan.frozen, mesh)
    step = make_train_step(plan.loss_fn, optimizer, schedule, plan.run.ema, place, plan.run.accumulate, plan.whole)
    key = jax.eval_shape(lambda: jax.random.key(0))
    return step, place, (state, plan.frozen, plan.batch, key, plan.layout)


def _compile(step: Any, arguments: tuple) -> tuple[Any, str]:
    """(the compiled step, ""), or None and what the compiler says about memory."""
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
    try:
        return collectives(compiled.as_text())
    except jax.errors.JaxRuntimeError:  # libtpu of 2026 for v6e
        return None


def _held(plan: Outline, state: Any, place: Placement) -> dict[str, int]:
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
    """The report for people."""
    sizes = " x ".join(f"{axis} {size}" for axis, size in report.mesh.items() if size > 1) or "alone"
    yield f"{report.topology}: {math.prod(report.mesh.values())} devices, {sizes}"
    yield "on each device"
    held = dict(report.held)
    if report.memory is not None:
        held |= {"temporaries": report.memory.temporaries, "all of the step": report.memory.total}
    yield from (f"  {kind:<22}{_shown(size, 1024, 'B', 'KiB', 'MiB', 'GiB'):>12}" for kind, size in held.items())
    if report.collectives is not None:
        yield "received by each device in a step"
        for kind, found in report.collectives.items():
            yield f"  {kind:<22}{_shown(found.size, 1024, 'B', 'KiB', 'MiB', 'GiB'):>12}  in {found.count}"
    flop = [_shown(count, 1000, "", "K", "M", "G", "T", "P") for count in (report.useful, report.executed)]
    yield f"{flop[0]}FLOP a step, {flop[1]}FLOP with what is computed again"
    yield f"{report.seconds:.3g} s a step at {report.mfu:.0%} of {report.accelerator.peak:g} TFLOP/s a device"
    yield f"compiled in {report.compile_seconds:.0f} s"
    yield from (f"note: {note}" for note in report.notes)
    yield f"does not fit: {report.problem}" if report.problem else "fits"


def _shown(value: float, base: int, *units: str) -> str:
    place = 0
    while value >= base and place < len(units) - 1:
        value, place = value / base, place + 1
    return f"{value:.4g} {units[place]}"
