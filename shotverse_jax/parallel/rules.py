"""How parameters are split over a mesh: one table from the path of a leaf to the mesh axes that split it.

A pattern is matched with the end of a path, so that one rule holds for a parameter, its average and what an optimizer
keeps for it. Every path has exactly one rule. A rule's mesh axes belong to the last axes of the array; the axes before
them (the layers of a stack, the taps of a convolution) are never split. A mesh axis that does not divide the axis of
the array leaves it whole; fsdp then takes another of the rule's axes if it divides that one. So small models run on any
mesh.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

RULES: tuple[tuple[str, P], ...] = (
    # Matrices [in, out] of attention and MLP: into heads or the hidden layer, and out of them (arXiv 1909.08053).
    (r"(q_proj|k_proj|v_proj|gate_proj|up_proj|fc1|linear_fc1|ffn_in)/kernel", P("fsdp", "tensor")),
    (r"(o_proj|out_proj|down_proj|fc2|linear_fc2|ffn_out|proj)/kernel", P("tensor", "fsdp")),
    # Tables [rows, width].
    (r"embedding|embed|head|positions|position|queries|registers|codebook", P("tensor", "fsdp")),
    # Other matrices and convolutions [..., in, out].
    (
        r"(project|head|cut_head|change_head|lm_head|path_probe|view_probe|hidden\d?|squeeze|out|shortcut|quant|post_quant|qkv)/kernel",
        P("fsdp", None),
    ),
    (r"(patch_embed|text_in|text_out|time_in|time_out|time_proj|camera)/kernel", P("fsdp", None)),
    (r"(translation|rotation)/kernel", P("fsdp", None)),
    (r"(conv|conv1|conv2|conv_in|conv_out|time_conv|down_\d+)/kernel", P("fsdp", None)),
    # Adapters, [in, rank] and [rank, out].
    (r"adapter/a", P("fsdp", None)),
    (r"adapter/b", P(None, "fsdp")),
    # Small things, and the counters of a run: a copy on every device.
    (
        r"\w+/(bias|scale|mean|variance)|modulation|head_modulation|relative_bias|logit_scale|separator|image_mean|image_std",
        P(),
    ),
    (r"count|step|bad_steps|ns_coeffs", P()),
)

LARGE = 1 << 25
"""Arrays with more elements must be split by fsdp: a copy on every device would hardly be intended."""


def rule(path: str) -> P:
    """The mesh axes for the last axes of the array at `path`.

    Raises:
        ValueError: no rule matches the path, or several do.
    """
    found = [axes for pattern, axes in _COMPILED if pattern.fullmatch(path)]
    if len(found) != 1:
        raise ValueError(
            f"{path} has {len(found) or 'no'} sharding rule{'s' * (len(found) > 1)}; every parameter needs exactly "
            "one in parallel/rules.py"
        )
    return found[0]


_COMPILED = tuple((re.compile(f"(?:.*/)?(?:{pattern})"), axes) for pattern, axes in RULES)


def spec(path: str, shape: tuple[int, ...], sizes: Mapping[str, int]) -> P:
    """The PartitionSpec of the array at `path`.

    sizes: devices along each mesh axis. Axes of size 1 split nothing and are left out.

    Raises:
        ValueError: no rule matches, or several do; or a large array that fsdp cannot split.
    """
    wanted = tuple(rule(path))
    parts: list[str | None] = [None] * len(shape)
    places = range(len(shape) - len(wanted), len(shape))

    def fits(place, axis):
        return parts[place] is None and shape[place] % sizes[axis] == 0

    for place, axis in zip(places, wanted, strict=True):
        if axis is not None and sizes.get(axis, 1) > 1 and fits(place, axis):
            parts[place] = axis
    # Where fsdp's own axis does not divide, it takes the longest of the rule's other axes that does.
    fsdp = sizes.get("fsdp", 1)
    if "fsdp" in wanted and fsdp > 1 and "fsdp" not in parts:
        others = [place for place in places if fits(place, "fsdp")]
        if others:
            parts[max(others, key=lambda place: shape[place])] = "fsdp"
        elif math.prod(shape) > LARGE:
            best = max(math.gcd(fsdp, shape[place]) for place in places)
            raise ValueError(
                f"fsdp={fsdp} divides no axis of {path} {list(shape)}, and it is too large to be kept by every device; "
                f"take fsdp={best}, and the rest of the devices for data"
            )
    return P(*parts) if any(parts) else P()


def shardings(tree: Any, mesh: Mesh) -> Any:
    """A tree with the NamedSharding of every leaf of a tree of arrays or shapes. Raises ValueError as `spec`."""

    def place(path, leaf):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return NamedSharding(mesh, spec(name, leaf.shape, mesh.shape))

    return jax.tree_util.tree_map_with_path(place, tree)


def placed(tree: Any, mesh: Mesh, dtype: str, memory: str | None = None) -> Any:
    """A tree with the shape of every leaf, in `dtype` and with its sharding, as a reader of files wants it.

    memory: the kind of memory, for example "pinned_host"; None takes the devices' own.
    """

    def place(leaf, sharding):
        return jax.ShapeDtypeStruct(leaf.shape, dtype, sharding=sharding.with_memory_kind(memory))

    return jax.tree.map(place, tree, shardings(tree, mesh))


def create(make: Callable[[], Any], mesh: Mesh) -> Any:
    """The tree that `make` returns, each device making its own parts. The values do not depend on the mesh."""
    return jax.jit(make, out_shardings=shardings(jax.eval_shape(make), mesh))()
