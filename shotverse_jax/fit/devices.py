"""Accelerators by name, and the devices of a cluster that is not there: those of a TPU slice, or a CPU's made many."""

import dataclasses
import importlib.util
import os

import jax
from jax.experimental import topologies


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """memory: GiB that a program can have; peak: 10^12 dense bfloat16 operations a second, without sparsity."""

    memory: float
    peak: float
    tpu: bool = False


# Memory of a GPU: 0.92 of what nvidia-smi shows, as the files in launch/ set XLA_PYTHON_CLIENT_MEM_FRACTION; of a TPU
# chip: the limit of its compiler. Peaks are those of the vendors' data sheets.
ACCELERATORS = {
    "a100": Accelerator(73.6, 312),
    "h100": Accelerator(73.2, 989),
    "h200": Accelerator(129.1, 989),
    "h20": Accelerator(87.9, 148),
    "b200": Accelerator(164.7, 2250),
    "v5e": Accelerator(15.75, 197, tpu=True),
    "v5p": Accelerator(95.74, 459, tpu=True),
    "v6e": Accelerator(31.25, 918, tpu=True),
}


def accelerator(topology: str, name: str | None) -> Accelerator:
    """What the devices of a topology are: its own kind for "v5p:4x4x4", the one called `name` for "cpu:96".

    Raises:
        ValueError: a kind that is not known, a CPU without `name`, or a TPU with another.
    """
    kind, colon, shape = topology.partition(":")
    if not (colon and shape) or (kind != "cpu" and not _tpu(kind)):
        tpus = ", ".join(f"{kind}:…" for kind in ACCELERATORS if _tpu(kind))
        raise ValueError(f"topology {topology!r} is none of cpu:<devices>, {tpus} (like v5p:4x4x4)")
    if kind != "cpu" and name not in (None, kind):
        raise ValueError(f"the devices of {topology} are {kind}, not {name}; leave the device away")
    name = name if kind == "cpu" else kind
    if name not in ACCELERATORS:
        raise ValueError(f"name the device that {topology} stands for, one of {', '.join(ACCELERATORS)}; got {name}")
    return ACCELERATORS[name]


def _tpu(kind: str) -> bool:
    return kind in ACCELERATORS and ACCELERATORS[kind].tpu


def devices(topology: str) -> list[jax.Device]:
    """The devices of a topology, to compile for and nothing else.

    Call it before anything else runs on a device: it leaves the process with a CPU alone.

    Raises:
        ValueError: a CPU that has another number of devices already; libtpu is missing, in use or knows no such slice.
    """
    kind, _, shape = topology.partition(":")
    jax.config.update("jax_platforms", "cpu")
    return _cpus(topology, shape) if kind == "cpu" else _slice(topology)


def _cpus(topology, count):
    if not count.isdecimal() or not int(count):
        raise ValueError(f"topology {topology!r}: the devices of a CPU are a number, as in cpu:96")
    try:
        jax.config.update("jax_num_cpu_devices", int(count))
    except RuntimeError:  # they are there already
        if jax.device_count() != int(count):
            message = f"this process has {jax.device_count()} CPU devices, not {count}; use a new one"
            raise ValueError(message) from None
    return jax.devices()


def _slice(topology):
    if not (importlib.util.find_spec("libtpu") or os.environ.get("TPU_LIBRARY_PATH")):
        raise ValueError(f"{topology} is compiled by libtpu, which is not here: pip install 'shotverse_jax[tpu]'")
    # Without these libtpu asks the network which machine this is.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5p-8")
    try:
        return list(topologies.get_topology_desc(topology_name=topology, platform="tpu").devices)
    except jax.errors.JaxRuntimeError as error:
        if "lockfile" in str(error):
            raise ValueError("libtpu serves one process of a machine at a time; another has it") from error
        raise ValueError(f"libtpu has no topology {topology}: {error}") from error
