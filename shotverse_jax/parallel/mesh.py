"""The mesh of a run: its devices, arranged along the axes data, fsdp, sequence and tensor (`config.MeshConfig`)."""

import math
from collections.abc import Sequence
from typing import Any

import jax
from jax.experimental import mesh_utils, multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from shotverse_jax.config import MeshConfig

AXES = ("data", "fsdp", "sequence", "tensor")
BATCH = ("data", "fsdp")
"""The mesh axes that the samples of a batch are split over."""


def make_mesh(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh of `config` over `devices`; default: all devices of all processes.

    Raises:
        ValueError: sizes that do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else list(devices)
    sizes = axis_sizes(config, len(devices))
    kinds = (AxisType.Auto,) * len(AXES)  # the compiler places arrays; JAX's default, Explicit, asks for every place
    # An axis of the mesh may be a part of an axis of a TPU slice: 8 of the 16 in a 16x16, 2 x 4 of a 4x4x4.
    grid = mesh_utils.create_device_mesh(tuple(sizes.values()), devices, allow_split_physical_axes=True)
    return Mesh(grid, AXES, axis_types=kinds)


def parse_sizes(text: str, axes: Sequence[str] = AXES) -> dict[str, int]:
    """Reads sizes of mesh axes, "fsdp=8,tensor=2"; ValueError for other axes and sizes."""
    sizes = {}
    for part in text.split(","):
        name, _, size = part.partition("=")
        if name not in axes or not size.isdigit() or int(size) < 1:
            raise ValueError(f"a mesh is written fsdp=8 or fsdp=8,tensor=2, got {text!r}")
        sizes[name] = int(size)
    return sizes


def axis_sizes(config: MeshConfig, devices: int) -> dict[str, int]:
    """The number of devices along each axis, -1 replaced by the rest. Raises ValueError as `make_mesh`."""
    sizes = {axis: getattr(config, axis) for axis in AXES}
    shown = ", ".join(f"{axis}={size}" for axis, size in sizes.items())
    open_axes = [axis for axis, size in sizes.items() if size == -1]
    if len(open_axes) > 1 or any(size < 1 and size != -1 for size in sizes.values()):
        raise ValueError(f"a mesh has positive sizes, and one of them may be -1 for the rest; got {shown}")
    given = math.prod(size for size in sizes.values() if size != -1)
    if open_axes and devices % given == 0:
        sizes[open_axes[0]] = devices // given
    if math.prod(sizes.values()) != devices:
        raise ValueError(f"a mesh of {shown} does not use all devices, of which there are {devices}; change one axis")
    return sizes


def batch_sharding(mesh: Mesh, size: int | None = None) -> NamedSharding:
    """The placement of a batch: its first axis, samples, split over data and fsdp.

    size: number of samples, to be checked.

    Raises:
        ValueError: `size` samples do not divide over the devices along data and fsdp.
    """
    parts = math.prod(mesh.shape[axis] for axis in BATCH)
    if size is not None and size % parts:
        raise ValueError(
            f"a batch of {size} does not divide over data x fsdp = {mesh.shape['data']} x {mesh.shape['fsdp']} devices"
        )
    return NamedSharding(mesh, PartitionSpec(BATCH))


def batch_share(mesh: Mesh) -> tuple[int, int]:
    """(index, count): this process reads part `index` of the `count` equal parts of every batch.

    Processes whose devices differ only along sequence and tensor read the same part.

    Raises:
        ValueError: the devices of this process do not hold one of several equal parts.
    """
    rows = mesh.devices.reshape(math.prod(mesh.devices.shape[:2]), -1)
    own = [i for i, row in enumerate(rows) if any(device.process_index == jax.process_index() for device in row)]
    if own != list(range(own[0], own[0] + len(own))) or len(rows) % len(own) or own[0] % len(own):
        raise ValueError(
            f"the devices of process {jax.process_index()} hold the samples {own} of {len(rows)}, which is not one "
            "of several equal parts; make data x fsdp a multiple or a divisor of the number of processes"
        )
    return own[0] // len(own), len(rows) // len(own)


def together(tree: Any) -> Any:
    """A tree that this process can read whole: with several processes, it gathers the shards of the others."""
    # tiled: what the processes have are parts of one array, not an array each.
    return tree if jax.process_count() == 1 else multihost_utils.process_allgather(tree, tiled=True)
