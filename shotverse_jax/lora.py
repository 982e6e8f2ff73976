"""Low-rank adapters (LoRA, arXiv 2106.09685) as a variable collection of their own: made for a tree, or folded into it.

A network with an adapter is called as `model.apply({"params": params, "lora": adapter}, ...)`, without one as
`model.apply({"params": params}, ...)`. Only this file and `nn/linear.py`, with the side path, know an
adapter's form.
"""

import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from shotverse_jax.config import LoraConfig
from shotverse_jax.nn.linear import Adapter

Tree = Mapping[str, Any]


def init(key: jax.Array, params: Tree, config: LoraConfig) -> dict[str, Any]:
    """An adapter that changes nothing yet, for every linear of `params` whose name is in `config.targets`.

    As in peft, A is uniform in +-1/sqrt(in) and B zero, both float32. Kernels stacked on axis 0 get stacked adapters.
    To adapt one part of a network, give that part's parameters, and nest the result as that part is nested.

    Args:
        params: the network's, arrays or shapes (`jax.eval_shape`).

    Raises:
        ValueError: a target names no linear of `params`.
    """
    adapters, found = {}, set()
    for path, kernel in flatten_dict(params).items():
        if path[-1] != "kernel" or path[-2] not in config.targets:
            continue
        *stack, width_in, width_out = kernel.shape
        # The key depends on the path alone: a linear starts the same whatever else is adapted.
        path_key = jax.random.fold_in(key, zlib.crc32("/".join(path).encode()))
        bound = width_in**-0.5
        adapters[(*path[:-1], "adapter")] = Adapter(
            a=jax.random.uniform(path_key, (*stack, width_in, config.rank), minval=-bound, maxval=bound),
            b=jnp.zeros((*stack, config.rank, width_out)),
            scale=config.alpha / config.rank,
            dropout=config.dropout,
        )
        found.add(path[-2])
    if missing := sorted(set(config.targets) - found):
        raise ValueError(
            f"LoRA targets {missing} name no linear of this network; take the names from its parameter tree"
        )
    return unflatten_dict(adapters)


def merge(params: Tree, adapter: Tree) -> dict[str, Any]:
    """The parameters with the adapter folded in, W + scale A B, summed in float32 and rounded to the dtype of W.

    Raises:
        ValueError: the adapter has an entry for a linear that `params` lacks.
    """
    merged, adapters = flatten_dict(params), flatten_dict(adapter)
    kernels = {path: (*path[:-1], "kernel") for path in adapters}
    if missing := sorted("/".join(kernel) for kernel in kernels.values() if kernel not in merged):
        raise ValueError(
            f"the adapter changes linears that the network lacks: {missing}; load the network it was made for"
        )
    for path, leaf in adapters.items():
        kernel = merged[kernels[path]]
        # HIGHEST: accelerators take float32 products with fewer bits by default, and a fold is made once for all uses.
        delta = leaf.scale * jnp.matmul(
            leaf.a.astype(jnp.float32), leaf.b.astype(jnp.float32), precision=jax.lax.Precision.HIGHEST
        )
        merged[kernels[path]] = (kernel.astype(jnp.float32) + delta).astype(kernel.dtype)
    return unflatten_dict(merged)
