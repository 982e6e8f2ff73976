"""Whether a film fits its devices, what would make it fit, and the refusal of one that does not.

`shotverse fit film` shows it for devices that are not there; `check_fits` asks those of this machine.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from shotverse_jax.infer.execution import DTYPES, choose
from shotverse_jax.infer.need import GIB, WAITING, Networks, Offload, Place, Request, need, weights
from shotverse_jax.limits import host_memory
from shotverse_jax.models.wan_vae import time_factor
from shotverse_jax.screenplay import snap

ROOM = 0.35
"""The share of a device's memory that is kept free of weights, where `offload` is not given."""

QUANTIZE = "int8"
"""The type of weights in 8 bits that is proposed: of the two it changes a film less (docs/faster.md)."""

MOST = 64
"""Devices of the largest mesh that is proposed."""


def offload_for(parts: Mapping[str, int], memory: float) -> Offload:
    """The least that must wait on the host, so that a share of the memory stays free.

    Args:
        parts: bytes of the weights of every part on one device.
        memory: bytes of the device.
    """
    room, experts = memory * (1 - ROOM), parts["high"] + parts["low"]
    return "none" if experts + parts["text"] <= room else "text" if experts <= room else "experts"


def problem(networks: Networks, request: Request, place: Place, memory: float) -> str:
    """Why a film does not fit devices of so many bytes, and what would, in one sentence; "" if it fits."""
    total = need(networks, request, place).total
    if total <= memory:
        return ""
    film = f"a film of {request.frames} frames of {request.height}x{request.width}"
    where = "memory, and this machine has" if place.platform == "cpu" else "each device, which has"
    needs = f"{film} in {place.kind} needs {total / GIB:.1f} GiB of {where} {memory / GIB:.1f}"
    ways = _remedies(networks, request, place, memory)
    if not ways:
        return needs if place.platform == "cpu" else f"{needs}; it fits no mesh of up to {MOST} devices"
    return f"{needs}; it would fit with {' or '.join(ways)}"


def _remedies(networks: Networks, request: Request, place: Place, memory: float) -> list[str]:
    """What would make a film fit, the least change of the film or of its place first."""

    def fits(request=request, **changes):
        try:
            return need(networks, request, dataclasses.replace(place, **changes)).total <= memory
        except ValueError:  # it does not divide
            return False

    size = jnp.dtype(place.dtype).itemsize
    ways = [f"dtype {name}" for name in DTYPES if jnp.dtype(name).itemsize < size and fits(dtype=name)]
    more = [] if place.platform == "cpu" else list(WAITING)[list(WAITING).index(place.offload) + 1 :]
    ways += [f"offload {name}" for name in more if fits(offload=name)][:1]
    ways += [f"quantize {QUANTIZE}"] if place.quantize is None and fits(quantize=QUANTIZE) else []
    stride = time_factor(networks.vae)
    shorter = range(request.frames - stride, 0, -stride)
    ways += [f"{n} frames" for n in shorter if fits(dataclasses.replace(request, frames=n, shots=1))][:1]
    mesh = "" if place.platform == "cpu" else smallest_mesh(networks, request, place, memory)
    return ways + ([f"mesh {mesh}"] if mesh else [])


def smallest_mesh(networks: Networks, request: Request, place: Place, memory: float) -> str:
    """The mesh of the fewest devices, powers of two, that a film fits, such as "fsdp=4"; "" for none up to MOST.

    Of one number of devices the mesh that splits the film least comes first: it exchanges least.
    """
    for devices in (2**i for i in range(1, MOST.bit_length())):
        for sequence in (2**i for i in range(devices.bit_length())):
            sizes = {"fsdp": devices // sequence, "sequence": sequence}
            try:
                total = need(networks, request, dataclasses.replace(place, sizes=sizes)).total
            except ValueError:  # it does not divide
                continue
            if total <= memory:
                return ",".join(f"{axis}={size}" for axis, size in sizes.items() if size > 1)
    return ""


def check_fits(
    name_or_folder: str | Path,
    frames: int | None = None,
    size: tuple[int, int] | None = None,
    *,
    whole: int | None = None,
    mesh: Mesh | None = None,
    dtype: str | None = None,
    offload: Offload | None = None,
    quantize: str | None = None,
) -> None:
    """Refuses a film that will not fit the memory of the devices of this machine; nothing is loaded.

    A CPU has the memory of its machine. On devices that do not say how much memory they have, every film passes.

    Args:
        name_or_folder: the controller, as `Networks.of` takes it.
        frames, size: of the film; None takes what `infer.take.prepare` does.
        whole: frames of the screenplay; None for a film of the controller's own length where `frames` is None.
        mesh, dtype, offload: as `Cinematographer.load` takes them.
        quantize: as `Cinematographer.quantized` takes it; None leaves the weights as they are.

    Raises:
        ValueError: the film does not fit; the message says what would.
    """
    networks, request, place, memory = _asked(name_or_folder, frames, size, whole, mesh, dtype, offload, quantize)
    if memory is not None and (found := problem(networks, request, place, memory)):
        raise ValueError(found)


def film_memory(
    name_or_folder: str | Path,
    frames: int | None = None,
    size: tuple[int, int] | None = None,
    *,
    whole: int | None = None,
    mesh: Mesh | None = None,
    dtype: str | None = None,
    offload: Offload | None = None,
    quantize: str | None = None,
) -> int:
    """Bytes that a film needs of every device of this machine; on a CPU, of the process. Arguments as `check_fits`."""
    networks, request, place, _ = _asked(name_or_folder, frames, size, whole, mesh, dtype, offload, quantize)
    return need(networks, request, place).total


def _asked(
    name_or_folder, frames, size, whole, mesh, dtype, offload, quantize
) -> tuple[Networks, Request, Place, int | None]:
    """The networks, the film, where it is made, and the bytes of memory there; None where it is not known."""
    platform = jax.default_backend()
    memory = host_memory() if platform == "cpu" else device_memory(mesh)
    networks = Networks.of(name_or_folder)
    request = Request.of(networks, snap(frames or min(whole or networks.config.frames, networks.config.frames)), size)
    # All devices of a CPU are one memory, in which nothing needs to wait.
    sizes = {} if mesh is None or platform == "cpu" else dict(mesh.shape)
    kind = platform if platform in ("cpu", "tpu") else "gpu"
    place = Place(sizes, dtype or choose(mesh)[0].dtype, quantize=quantize, platform=kind)
    if platform != "cpu":
        least = "none" if memory is None else offload_for(weights(networks, place), memory)
        place = dataclasses.replace(place, offload=offload or least)
    return networks, request, place, memory


def device_memory(mesh: Mesh | None) -> int | None:
    """Bytes that a program can use of a device of this process; None where it does not say, as a CPU."""
    device = jax.local_devices()[0] if mesh is None else mesh.local_devices[0]
    return (device.memory_stats() or {}).get("bytes_limit")
