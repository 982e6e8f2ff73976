"""The sections of `python -m benchmarks.gpu` about the device itself and its attention kernel."""

import dataclasses
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.gpu.rows import Row, attempt, compiled, distance, kernel, peak_gib, seconds, timed
from shotverse_jax.nn.attention import attend


def device(small: bool) -> Iterator[Row]:
    """Names and versions, and the two rates that every other number is measured by."""
    here = jax.devices()[0]
    yield {
        "what": "device",
        "device": here.device_kind,
        "jax": jax.__version__,
        "platform": here.client.platform_version.replace("\n", " "),
        "driver": _driver(),
        "attention": kernel(),
    }
    side, inner = (512, 2) if small else (8192, 20)
    a, b = (jax.random.normal(jax.random.key(i), (side, side), jnp.bfloat16) for i in range(2))
    product = jax.jit(jnp.matmul)
    yield timed(f"matmul {side}x{side}x{side}, bf16", product, a, b, operations=2 * side**3, rounds=5, inner=inner)
    if not small:  # the widest product of a block, which may run slower than a square one
        tokens, wide, mlp = 32760, 5120, 13824
        a, b = (
            jax.random.normal(jax.random.key(i), s, jnp.bfloat16) for i, s in enumerate(((tokens, wide), (wide, mlp)))
        )
        what = f"matmul {tokens}x{wide}x{mlp}, bf16"
        yield timed(what, product, a, b, operations=2 * tokens * wide * mlp, rounds=5, inner=5)
    array = jax.random.normal(jax.random.key(2), (1 << (20 if small else 30),), jnp.bfloat16)
    copy, _ = compiled(jax.jit(jnp.negative), array)
    jax.block_until_ready(copy(array))
    each = seconds(lambda: copy(array), rounds=5, inner=5)
    yield {
        "what": f"read and write of {array.nbytes >> 20} MiB",
        "ms": 1e3 * each,
        "gb_s": 2 * array.nbytes / each / 1e9,
    } | peak_gib()


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "none"


@dataclasses.dataclass(frozen=True)
class Case:
    """One use of `attend`. mask: "" for none, "keys" [B, 1, S], "windows" [B, T, S], "blind" with a query that sees
    nothing. lengths: whether samples have different numbers of real keys."""

    what: str
    batch: int
    queries: int
    keys: int
    heads: int
    kv_heads: int
    width: int = 128
    causal: bool = False
    mask: str = ""
    lengths: bool = False


CASES = (
    Case("DiT, self", 1, 1560, 1560, 8, 8),
    Case("DiT, sparse inter-shot", 3, 780, 1248, 8, 8),
    Case("DiT, text windows by shot", 4, 780, 512, 8, 8, mask="keys"),
    Case("DiT, text windows by token", 2, 1560, 512, 8, 8, mask="windows"),
    Case("Qwen3-VL, causal with padding", 2, 384, 384, 16, 8, causal=True, mask="keys"),
    Case("Qwen3-VL, one screenplay of odd length", 1, 383, 383, 16, 8, causal=True),
    Case("vision tower, frames of different sizes", 3, 576, 576, 16, 16, width=64, lengths=True),
    Case("CLIP, causal with padding, 77 tokens", 2, 77, 77, 8, 8, width=64, causal=True, mask="keys"),
    Case("CLaTr, odd length with padding", 2, 301, 301, 4, 4, width=64, mask="keys"),
    Case("a query that sees nothing", 2, 128, 128, 4, 4, width=64, mask="blind"),
)


def parity(small: bool) -> Iterator[Row]:
    """Errors of the device's kernel and of `xla`, both in bf16, against `xla` in float32 on the same inputs.

    error, error_xla: norm of the difference over the norm of the reference; then that of the worst gradient. The cases
    are compiled in threads, as compiling is nearly all of the work.
    """
    cases = CASES
    if small:
        cases = [dataclasses.replace(c, queries=c.queries // 8 + 1, keys=c.keys // 8 + 1) for c in cases]
    with ThreadPoolExecutor(1 if small else 8) as pool:
        for rows in pool.map(lambda case: list(attempt(case.what, _parity, case)), cases):
            yield from rows


def attention(small: bool) -> Iterator[Row]:
    """Speed of the attention kernel alone, at the tokens of 81 and of 249 frames of 480x832."""
    wide, heads = (128, 4) if small else (5120, 40)
    for tokens in (256,) if small else (32760, 98280):
        yield from attempt(f"{tokens:,} tokens", _attention_speed, tokens, wide, heads)


def _parity(case: Case) -> Iterator[Row]:
    rng = np.random.default_rng(0)
    shapes = [(case.queries, case.heads), (case.keys, case.kv_heads), (case.keys, case.kv_heads)]
    shapes += shapes[:1]  # weights of the output, whose gradients are compared
    q, k, v, weights = (
        jnp.asarray(rng.normal(size=(case.batch, n, heads, case.width)), jnp.bfloat16) for n, heads in shapes
    )
    mask = None
    if case.mask:
        rows = 1 if case.mask == "keys" else case.queries
        mask = rng.random((case.batch, rows, case.keys)) < 0.7
        # Every query sees one key at least: a softmax over nothing has no value to compare.
        mask[..., 0] = True
        if case.mask == "blind":
            mask[0, 0] = False
            # A query that sees nothing may get any value, so its weight is zero, and it is not compared.
            weights = weights.at[0, 0].set(0)
    lengths = np.arange(case.batch, dtype=np.int32) * 7 + case.keys // 2 if case.lengths else None

    def results(kernel, dtype):
        @jax.jit
        def both(q, k, v, weights, mask, lengths):
            def run(q, k, v):
                return attend(q, k, v, kernel=kernel, causal=case.causal, mask_BTS=mask, kv_lengths=lengths)

            out, vjp = jax.vjp(run, q, k, v)
            return (out * (weights != 0), *vjp(weights))

        # The default would round the reference too: accelerators take float32 products with fewer bits.
        with jax.default_matmul_precision("highest"):
            results = both(*(x.astype(dtype) for x in (q, k, v, weights)), mask, lengths)
            return [np.asarray(x, np.float32) for x in results]

    exact = results("xla", "float32")

    def errors(kernel, suffix=""):
        distances = [distance(a, b) for a, b in zip(results(kernel, "bfloat16"), exact, strict=True)]
        return {f"error{suffix}": distances[0], f"gradient_error{suffix}": max(distances[1:])}

    ours = errors(kernel()) if kernel() != "xla" else {}
    yield {"what": case.what} | ours | errors("xla", "_xla")


def _attention_speed(tokens: int, wide: int, heads: int) -> Iterator[Row]:
    shape = 1, tokens, heads, wide // heads
    q, k, v, weights = (jax.random.normal(jax.random.key(i), shape, jnp.bfloat16) for i in range(4))
    forward = jax.jit(lambda q, k, v: attend(q, k, v, kernel=kernel()))
    operations, name = 4 * tokens**2 * wide, f"{tokens:,} tokens, {heads} heads of {wide // heads}"
    yield timed(f"{name}, forward", forward, q, k, v, operations=operations, rounds=3)

    def gradients(q, k, v, weights):
        out, vjp = jax.vjp(lambda *qkv: attend(*qkv, kernel=kernel()), q, k, v)
        return out, vjp(weights)

    gradients = jax.jit(gradients)
    yield timed(f"{name}, with gradients", gradients, q, k, v, weights, operations=3 * operations, rounds=3)
