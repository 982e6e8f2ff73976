"""Weights of a stack of blocks in 8 bits: each output channel of each layer has a scale of its own.

Only weights are rounded; products are taken in the dtype of the activations, after the values are widened. A kernel
in 8 bits has a leaf `scale` [layers, out] beside it; `nn.linear.Linear` multiplies its product by that. Nothing else
of a network changes, and stacks are still scanned.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

LARGEST = {"int8": 127.0, "float8_e4m3fn": 448.0}
"""The types of quantized weights, and the largest value of each."""

NAMES = {"int8": "int8", "float8": "float8_e4m3fn"}
"""The types by the names that people give."""


def quantize(params: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The parameters with the kernels of their `blocks` in 8 bits; those of camera encoders, which are small, stay.

    params: with stacked `blocks`, as of `models.wan_dit.WanDiT`. Leaves are replaced one by one, so that the whole is
    never there twice if the caller keeps no other reference. Those in the memory of the host come to its devices one
    by one too, and what replaces them stays there.

    Raises:
        ValueError: an unknown type, or weights that are quantized already.
    """
    if name not in NAMES:
        raise ValueError(f"weights are quantized to {' or '.join(NAMES)}, got {name!r}")
    if is_quantized(params):
        raise ValueError("these weights are quantized already; load them anew")
    leaves = flatten_dict(params, sep="/")
    for path in [path for path in leaves if path.startswith("blocks/") and path.endswith("/kernel")]:
        if "/camera/" not in path:
            kernel = _on_device(leaves[path])
            leaves[path], leaves[path.removesuffix("kernel") + "scale"] = _quantize(kernel, NAMES[name])
    return unflatten_dict(leaves, sep="/")


def is_quantized(params: Mapping[str, Any]) -> bool:
    """Whether some of the parameters are in 8 bits."""
    return any(str(leaf.dtype) in LARGEST for leaf in jax.tree.leaves(params))


def _on_device(leaf: Any) -> Any:
    """The leaf in the memory of its devices, where programs can use it."""
    if not isinstance(leaf, jax.Array) or isinstance(leaf, jax.core.Tracer):
        return leaf
    return jax.device_put(leaf, leaf.sharding.with_memory_kind("device"))


@functools.partial(jax.jit, static_argnames="dtype")
def _quantize(kernel_LIO: jax.Array, dtype: str) -> tuple[jax.Array, jax.Array]:
    """(values [L, I, O], scale [L, O]) of kernels [layers, in, out]."""

    def layer(kernel_IO):
        kernel_IO = kernel_IO.astype(jnp.float32)
        most_O = jnp.max(jnp.abs(kernel_IO), axis=0)
        scale_O = jnp.where(most_O > 0, most_O / LARGEST[dtype], 1.0)
        values_IO = kernel_IO / scale_O
        values_IO = jnp.round(values_IO) if dtype == "int8" else values_IO
        return values_IO.astype(dtype), scale_O

    # Layer by layer: the whole stack in float32 would take four times the memory of the result.
    return jax.lax.map(layer, kernel_LIO)
