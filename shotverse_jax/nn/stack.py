"""A stack of identical blocks whose parameters are stacked on axis 0."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from shotverse_jax.config import Execution
from shotverse_jax.nn.attention import KERNELS


def run_stack(
    block: nn.Module, length: int, execution: Execution, x: jax.Array, *args: Any, per_layer: Any = None, **static: Any
) -> Any:
    """Applies `length` blocks of one form to x, one after the other: x = block(x, *args, **static); returns x.

    Neither the parameter tree nor the random numbers depend on `execution`.

    Args:
        block: a submodule of the caller. Every leaf of its `params` (and `lora`) gets a leading axis of `length`.
        length: how many blocks.
        execution: `unroll` makes straight code instead of a loop, `remat` says what the backward pass computes again,
            `spread` places x on a mesh.
        x: an array, or a tree of arrays; `spread` places each by its first axis, that of samples.
        args: arrays (or None) that all blocks read.
        per_layer: a tree of arrays [length, ...], of which block i reads item i. Given it, a block is called as
            `x, y = block(x, *args, layer=per_layer[i], **static)` and the result is (x, every y stacked on axis 0).
        static: Python values that all blocks read.
    """

    def body(block, x, layer, *args):
        if execution.spread is not None:  # at every block; `Ulysses.samples` says why
            x = jax.tree.map(execution.spread.samples, x)
        if per_layer is None:
            return block(x, *args, **static), None
        return block(x, *args, layer=layer, **static)

    if execution.remat != "none":
        policy = {"full": None, "save_attention": _saving(execution.attention)}[execution.remat]
        # Inside a loop XLA cannot merge the two copies of a block, so the barrier against it is only for straight code.
        body = nn.remat(body, policy=policy, prevent_cse=execution.unroll)
    scan = nn.scan(
        body,
        variable_axes={"params": 0, "lora": 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=(0, *([nn.broadcast] * len(args))),
        length=length,
        unroll=length if execution.unroll else 1,
    )
    x, outputs = scan(block, x, per_layer, *args)
    return x if per_layer is None else (x, outputs)


def _saving(kernel: str) -> Callable[..., bool] | None:
    """The policy of `jax.checkpoint` that keeps what the attention kernel's own backward pass reads.

    Keeping the kernel's named output alone would not stop it from running again: its backward pass also reads the
    log-sum of its scores. None, which recomputes all, for a kernel without residuals.
    """
    residual = KERNELS[kernel].residual
    return residual and (lambda primitive, *args, **params: residual(primitive.name, params))
