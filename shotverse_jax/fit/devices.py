"""The devices of a cluster that is not there: those of a TPU slice, or one CPU divided into many devices."""

import importlib.util
import os

import jax
from jax.experimental import topologies

from shotverse_jax.cost.accelerators import ACCELERATORS, Accelerator


def accelerator(topology: str, name: str | None) -> Accelerator:
    """The kind of the devices of a topology.

    Args:
        topology: kind and shape, such as "v5p:4x4x4", or "cpu:96" for 96 devices of this machine's CPU.
        name: the accelerator that the devices of a CPU stand for; a TPU topology names its own.

    Raises:
        ValueError: an unknown kind, a CPU without `name`, or a TPU with the name of another kind.
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
    """The devices of a topology. Programs can be compiled for them, but not run.

    Call it before anything else runs on a device: afterwards the process uses its CPU only.

    Raises:
        ValueError: the CPU already has another number of devices; libtpu is missing, in use or knows no such slice.
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
