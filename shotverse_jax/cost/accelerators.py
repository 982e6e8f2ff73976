"""Accelerators by name: memory, peak and bandwidth, and the shortest time that they could take for a training step."""

import dataclasses
import functools
from collections.abc import Callable, Hashable

from jax.sharding import Mesh

from shotverse_jax.cost.flops import Work


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """One device of a kind.

    Attributes:
        memory: GiB that a program can use.
        peak: 10^12 dense bfloat16 operations a second, without sparsity.
        bandwidth: GB (10^9 bytes) a second that it reads from its memory.
        tpu: whether it is a TPU.
    """

    memory: float
    peak: float
    bandwidth: float
    tpu: bool = False


# Memory of a GPU: 0.92 of what nvidia-smi shows, as the files in launch/ set XLA_PYTHON_CLIENT_MEM_FRACTION; of a TPU
# chip: the limit of its compiler. Peaks and bandwidths are those of the vendors' data sheets, of GPUs the SXM form.
ACCELERATORS = {
    "a100": Accelerator(73.6, 312, 2039),
    "h100": Accelerator(73.2, 989, 3350),
    "h200": Accelerator(129.1, 989, 4800),
    "h20": Accelerator(87.9, 148, 4000),
    "b200": Accelerator(164.7, 2250, 8000),
    "v5e": Accelerator(15.75, 197, 819, tpu=True),
    "v5p": Accelerator(95.74, 459, 2765, tpu=True),
    "v6e": Accelerator(31.25, 918, 1638, tpu=True),
}


def accelerator_of(device: str) -> Accelerator:
    """The row of a device. Raises ValueError for an unknown one."""
    if device not in ACCELERATORS:
        raise ValueError(f"the device is one of {', '.join(ACCELERATORS)}; got {device}")
    return ACCELERATORS[device]


def peak(kind: str) -> float | None:
    """Dense bfloat16 operations a second of a device, by JAX's `device_kind`; None where it is not known."""
    # JAX's names are not the vendors': "TPU v5 lite" is a v5e, "TPU v6 lite" a v6e and "TPU v5" a v5p.
    words = kind.lower().replace("-", " ").replace("v5 lite", "v5e").replace("v6 lite", "v6e")
    words = [*words.split(), "v5p"] if words == "tpu v5" else words.split()
    return next((ACCELERATORS[word].peak * 1e12 for word in words if word in ACCELERATORS), None)


def ideal_step_seconds(
    batch: int, work: Callable[[Hashable], tuple[Work, ...]], mesh: Mesh
) -> Callable[[Hashable], float] | None:
    """The seconds that a step would take if all devices of a mesh ran at their peak, as a function of the bucket.

    Args:
        batch: samples of a step.
        work: (bucket) → operations of one sample.
        mesh: the devices of the run.

    Returns:
        (bucket) → seconds; None where the peak of the devices is not known.
    """
    fastest = peak(mesh.devices.flat[0].device_kind)
    if fastest is None:
        return None

    @functools.cache
    def seconds(bucket: Hashable) -> float:
        return batch * sum(part.step() for part in work(bucket)) / (fastest * mesh.size)

    return seconds
