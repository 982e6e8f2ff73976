"""What the devices of a run could do at best: the seconds of a step that MFU is measured by."""

import functools
from collections.abc import Callable, Hashable

from jax.sharding import Mesh

from shotverse_jax.fit.devices import ACCELERATORS
from shotverse_jax.fit.outline import TASKS, work


def peak(kind: str) -> float | None:
    """Dense bfloat16 operations a second of a device, by JAX's `device_kind`; None where it is not known."""
    words = kind.lower().replace("-", " ").replace("v5 lite", "v5e").replace("v6 lite", "v6e")
    words = [*words.split(), "v5p"] if words == "tpu v5" else words.split()
    return next((ACCELERATORS[word].peak * 1e12 for word in words if word in ACCELERATORS), None)


def ideal_seconds(values: dict, mesh: Mesh) -> Callable[[Hashable], float] | None:
    """ideal(layout): seconds of a step of a config's values at the peak of a mesh's devices (`fit/flops.py` counts).

    None where the work of the task or the peak of the devices is not known.
    """
    fastest = peak(mesh.devices.flat[0].device_kind)
    if fastest is None or values["task"] not in TASKS:
        return None

    @functools.cache
    def ideal(layout: Hashable) -> float:
        return values["batch"] * sum(part.step() for part in work(values, layout)) / (fastest * mesh.size)

    return ideal
