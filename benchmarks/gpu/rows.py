"""What the sections of `python -m benchmarks.gpu` share; no device is touched, and JAX is imported where it is used.

A row is a plain dict that says `what` was measured; its other keys are numbers with their unit in the name: `ms`,
`tflops` (TFLOP/s, of the operations that `shotverse_jax/cost/flops.py` counts), `compile_s` (seconds to trace and
compile), `peak_gib` (the most memory that the process has held so far, as the device says).
"""

import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np

Row = dict[str, object]

GIB = 2**30


def kernel() -> str:
    """The attention kernel of this machine."""
    import jax

    from shotverse_jax.nn.attention import kernels_on

    return kernels_on(jax.default_backend())[0]


def peak_gib() -> Row:
    """{"peak_gib"} of this process so far; nothing where the device does not say."""
    import jax

    stats = jax.devices()[0].memory_stats() or {}
    return {"peak_gib": stats["peak_bytes_in_use"] / GIB} if "peak_bytes_in_use" in stats else {}


def seconds(run: Callable[[], object], rounds: int, inner: int = 1) -> float:
    """Median time of a call over `rounds`; a round makes `inner` calls and waits for the last one."""
    import jax

    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(inner):
            # Calls are only queued here and waited for once, so that the host's time between two calls is hidden.
            result = run()
        jax.block_until_ready(result)
        taken.append((time.perf_counter() - start) / inner)
    return statistics.median(taken)


def compiled(function: Callable, *arguments: object) -> tuple[Callable, float]:
    """(the program of a jitted function for these arguments, seconds that it took to trace and compile)."""
    start = time.perf_counter()
    program = function.lower(*arguments).compile()
    return program, time.perf_counter() - start


def timed(what: str, function: Callable, *arguments: object, operations: float, rounds: int, inner: int = 1) -> Row:
    """The row of a jitted function: it is compiled, run once to warm up, and timed."""
    import jax

    program, compile_seconds = compiled(function, *arguments)
    jax.block_until_ready(program(*arguments))
    each = seconds(lambda: program(*arguments), rounds, inner)
    row = {"what": what, "ms": 1e3 * each, "tflops": operations / each / 1e12, "compile_s": compile_seconds}
    return row | peak_gib()


def attempt(what: str, section: Callable[..., Iterator[Row]], *arguments: object) -> Iterator[Row]:
    """The rows of a part of a section; where it fails, a row with the first line of its error, so that others go on."""
    try:
        yield from section(*arguments)
    except Exception as error:  # noqa: BLE001
        text = f"{type(error).__name__}: {error}".strip().splitlines()
        yield {"what": what, "error_text": text[0][:300]}


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """The norm of the difference over the norm of b."""
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))
