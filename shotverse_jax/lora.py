"""Low-rank adapters (LoRA, arXiv 2106.09685) as a variable collection of their own: made, folded in, or kept beside.

A network with an adapter is called as `model.apply({"params": params, "lora": adapter}, ...)`, without one as
`model.apply({"params": params}, ...)`. Only this file and `nn/linear.py`, with the side path, know an
adapter's form.

Adapters that are used and no longer trained are `Changes`. `fold` adds them to the parameters once, `stack` keeps
several beside the parameters, with weights that change without another program.
"""

import dataclasses
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import NamedSharding, Sharding

from shotverse_jax.config import LoraConfig
from shotverse_jax.nn.linear import Adapter

Tree = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Changes:
    """What an adapter changes of one network.

    Attributes:
        adapter: the `lora` collection, float32 NumPy.
        deltas: {"blocks/cross_norm/scale": array}: arrays that are added to whole parameters; {} for a plain LoRA.
        unused: keys of its file for parameters that the network lacks.
    """

    adapter: Tree
    deltas: Mapping[str, np.ndarray]
    unused: tuple[str, ...] = ()

    @property
    def is_zero(self) -> bool:
        """Whether it changes nothing: of every scale, A and B one is zero, and so are the deltas."""
        pairs = flatten_dict(self.adapter).values()
        return not any(map(_changes_anything, pairs)) and not any(map(np.any, self.deltas.values()))


def _changes_anything(pair: Adapter) -> bool:
    # A B is the sum of a column of A times a row of B for every rank, and of a stack each layer's own.
    return bool(pair.scale) and bool(np.any(np.any(pair.a, axis=-2) & np.any(pair.b, axis=-1)))


@dataclasses.dataclass(frozen=True, eq=False)
class Lora:
    """An adapter of a controller, as it is used.

    Attributes:
        name: what people call it: the file that it was read from, or the name that shots ask for it by.
        weight: factor of all its changes.
        experts: {"high": its changes of that expert, "low": …}; an expert that it leaves alone is missing.
        notes: one sentence for everything about it that its user should know.
        always: whether it counts in every frame (default), or only in the shots that ask for it by its name.
    """

    name: str
    weight: float
    experts: Mapping[str, Changes]
    notes: tuple[str, ...] = ()
    always: bool = True


def name_key(name: str) -> str:
    """The name of an adapter as it is compared: "Low angle", "low_angle" and "low-angle" are one."""
    return re.sub(r"[\s_-]+", "-", name.strip().casefold())


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


# ---------------------------------------------------------------------------------------------------- folded


def fold(params: Tree, changes: Sequence[tuple[Changes, float]], *, donate: bool = False) -> dict[str, Any]:
    """The parameters with several adapters added, each times its weight: W + sum of weight scale A B, and the deltas.

    The sum is in float32 and is rounded once to the dtype of W. Parameters are changed one at a time, and those of a
    stack layer by layer, so that beside them there is never more than one parameter and the float32 sum of one layer.
    Each stays where it is: as a NumPy array, on its devices with its sharding, or in the memory of the host.

    Args:
        params: of the network.
        changes: the adapters with their weights.
        donate: whether the changed arrays of `params` are given up, so that there are never two of them.

    Raises:
        ValueError: an adapter of another network.
    """
    leaves = flatten_dict(params, sep="/")
    _check(leaves, [change for change, _ in changes])
    for target, (a, b, delta) in _sums(changes).items():
        leaves[target] = _add_to(leaves[target], a, b, delta, donate)
    return unflatten_dict(leaves, sep="/")


def _sums(changes: Sequence[tuple[Changes, float]]) -> dict[str, tuple[Any, Any, Any]]:
    """{parameter: (A, B, delta)} of all adapters together: ranks side by side, weights and scales in B; or None."""
    pairs: dict[str, list] = {}
    deltas: dict[str, np.ndarray] = {}
    for change, weight in changes:
        for path, pair in flatten_dict(change.adapter).items():
            pairs.setdefault("/".join((*path[:-1], "kernel")), []).append(
                (np.asarray(pair.a, np.float32), np.asarray(pair.b, np.float32) * np.float32(weight * pair.scale))
            )
        for target, delta in change.deltas.items():
            deltas[target] = deltas.get(target, 0) + np.float32(weight) * np.asarray(delta, np.float32)
    return {
        target: (*_side_by_side(pairs[target]), deltas.get(target)) if target in pairs else (None, None, deltas[target])
        for target in sorted({*pairs, *deltas})
    }


def _side_by_side(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([a for a, _ in pairs], axis=-1), np.concatenate([b for _, b in pairs], axis=-2)


def _check(leaves: Mapping[str, Any], changes: Iterable[Changes]) -> None:
    """Raises ValueError for changes of parameters that are not there or have another shape."""
    shapes = set()
    for change in changes:
        for path, pair in flatten_dict(change.adapter).items():
            shapes.add(("/".join((*path[:-1], "kernel")), (*pair.a.shape[:-1], pair.b.shape[-1])))
        shapes |= {(target, delta.shape) for target, delta in change.deltas.items()}
    wrong = [f"{target} {list(shape)}" for target, shape in sorted(shapes) if np.shape(leaves.get(target)) != shape]
    if wrong:
        raise ValueError(f"the adapter is of another network, which has {', '.join(wrong)}; load the one it is for")


def _add_to(leaf: Any, a: Any, b: Any, delta: Any, donate: bool) -> Any:
    """`_add` for a parameter wherever it is."""
    if isinstance(leaf, np.ndarray):
        return np.asarray(_add(leaf, a, b, delta, None))
    home = leaf.sharding
    place = home.with_memory_kind("device") if home.memory_kind == "pinned_host" else home
    if place is home:
        return (_add_donated if donate else _add)(leaf, a, b, delta, home)
    there = jax.device_put(_add_donated(jax.device_put(leaf, place), a, b, delta, place), home)
    if donate:
        leaf.delete()
    return there


def _add(leaf, a, b, delta, place: Sharding | None):
    def one(leaf, a, b, delta):
        exact = leaf.astype(jnp.float32)
        if a is not None:
            # HIGHEST: as in `merge`.
            exact += jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
        return (exact if delta is None else exact + delta).astype(leaf.dtype)

    if leaf.ndim > 2:
        # One layer at a time, in place: the float32 sum of a whole stack would be twice a bfloat16 stack.
        changes = a, b, delta

        def layer(i, leaf):
            return leaf.at[i].set(one(leaf[i], *jax.tree.map(lambda x: x[i], changes)))

        leaf = jax.lax.fori_loop(0, len(leaf), layer, jnp.asarray(leaf))
    else:
        leaf = one(leaf, a, b, delta)
    return jax.lax.with_sharding_constraint(leaf, place) if isinstance(place, NamedSharding) else leaf


_add_donated = jax.jit(_add, static_argnames="place", donate_argnums=0)
_add = jax.jit(_add, static_argnames="place")


# ---------------------------------------------------------------------------------------------------- kept beside


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SideBySide:
    """Several adapters of one linear, whose ranks are side by side: y += (x A * weights) B.

    a: [in, sum of ranks], with leading axes where layers are stacked.
    b: [sum of ranks, out], likewise; every adapter's own scale is in it.
    ranks: of every adapter, 0 for one that leaves this linear alone; a constant of the tree.
    """

    a: jax.Array
    b: jax.Array
    ranks: tuple[int, ...] = dataclasses.field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Stacked:
    """Several adapters of one network, kept beside its parameters.

    Attributes:
        adapters: the form of a `lora` collection, with a `SideBySide` for every linear that one of them changes.
        deltas: {parameter: [adapters, ...]}, what they add to whole parameters.
    """

    adapters: dict[str, Any]
    deltas: dict[str, jax.Array]


def stack(params: Tree, changes: Sequence[Changes | None]) -> Stacked:
    """Several adapters side by side, in the dtypes of the parameters, NumPy. None leaves this network alone.

    Raises:
        ValueError: an adapter of another network.
    """
    leaves = flatten_dict(params, sep="/")
    _check(leaves, [change for change in changes if change is not None])
    trees = [{} if change is None else flatten_dict(change.adapter) for change in changes]
    adapters, deltas = {}, {}
    for path in sorted(set().union(*trees)):
        pairs = [(tree[path].a, tree[path].b * np.float32(tree[path].scale)) for tree in trees if path in tree]
        dtype = leaves["/".join((*path[:-1], "kernel"))].dtype
        a, b = (np.asarray(x).astype(dtype) for x in _side_by_side(pairs))
        adapters[path] = SideBySide(a, b, tuple(tree[path].a.shape[-1] if path in tree else 0 for tree in trees))
    for number, change in enumerate(changes):
        for target, delta in ({} if change is None else change.deltas).items():
            whole = deltas.setdefault(target, np.zeros((len(changes), *delta.shape), leaves[target].dtype))
            whole[number] = delta
    return Stacked(unflatten_dict(adapters), deltas)


def weighted(
    params: Tree,
    stacked: Stacked,
    weights_N: jax.Array,
    of_linear: Callable[[str], jax.Array] | None = None,
) -> dict[str, dict[str, Any]]:
    """The variables {"params", "lora"} of a network with stacked adapters.

    Args:
        params, stacked: of the network.
        weights_N: one of each adapter; may be traced.
        of_linear: (path of a linear) -> its weights, [B, runs, N] or [B, N], where not all that it reads has the same;
            as `Adapter.weight`, by adapter in place of column. What adapters add to whole parameters has weights_N.
    """

    def adapter(path: str, side: SideBySide) -> Adapter:
        weights = weights_N if of_linear is None else of_linear(path)
        columns = jnp.repeat(weights, np.array(side.ranks), axis=-1, total_repeat_length=side.a.shape[-1])
        # Scanned layers take the layer's part of every leaf, so that each layer has a weight.
        return Adapter(side.a, side.b, 1.0, weight=jnp.broadcast_to(columns, (*side.a.shape[:-2], *columns.shape)))

    leaves = flatten_dict(params, sep="/")
    for target, delta in stacked.deltas.items():
        change = jnp.tensordot(weights_N, delta.astype(jnp.float32), 1)
        leaves[target] = (leaves[target].astype(jnp.float32) + change).astype(leaves[target].dtype)
    sides = flatten_dict(stacked.adapters)
    adapters = {path: adapter("/".join(path[:-1]), side) for path, side in sides.items()}
    return {"params": unflatten_dict(leaves, sep="/"), "lora": unflatten_dict(adapters)}


def balanced(changes: Sequence[Changes | None]) -> list[Changes | None]:
    """Adapters of one network, rescaled so that in every layer of every linear their changes have one size.

    The size is the Frobenius norm of scale A B, and the common one is the geometric mean of the adapters that change
    that layer, so that no adapter drowns another there ("norm consistency" of LiON-LoRA, arXiv 2507.05678). One adapter
    alone stays as it is, and so do changes of whole parameters.
    """
    norms: dict[tuple, list[np.ndarray]] = {}
    flat = [{} if change is None else flatten_dict(change.adapter) for change in changes]
    for tree in flat:
        for path, pair in tree.items():
            norms.setdefault(path, []).append(_norm(pair))

    def rescaled(path: tuple, pair: Adapter) -> Adapter:
        logs = np.log(np.where(np.stack(norms[path]) > 0, np.stack(norms[path]), 1.0))
        there = (np.stack(norms[path]) > 0).sum(0)
        common, own = np.exp(logs.sum(0) / np.maximum(there, 1)), _norm(pair)
        factor = np.where(own > 0, common / np.where(own > 0, own, 1.0), 1.0)
        return pair.replace(b=(np.asarray(pair.b, np.float32) * factor[..., None, None]).astype(np.float32))

    return [
        None
        if change is None
        else dataclasses.replace(
            change, adapter=unflatten_dict({path: rescaled(path, pair) for path, pair in tree.items()})
        )
        for change, tree in zip(changes, flat, strict=True)
    ]


def _norm(pair: Adapter) -> np.ndarray:
    """The Frobenius norm of scale A B, of every layer of a stack; by products of rank x rank alone."""
    a, b = np.asarray(pair.a, np.float64), np.asarray(pair.b, np.float64)
    square = np.sum((np.swapaxes(a, -1, -2) @ a) * (b @ np.swapaxes(b, -1, -2)), axis=(-1, -2))
    return abs(pair.scale) * np.sqrt(np.maximum(square, 0.0))
