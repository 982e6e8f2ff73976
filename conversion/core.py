"""The strict converter of weights: one table per network, which is used in both directions."""

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from .problems import Problems
from .sources import read_safetensors as read_safetensors

Tensors = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Transform:
    """How one stored tensor becomes one of our arrays (`to_flax`) and back. Both use only methods of the array."""

    to_flax: Callable[[Any], Any]
    to_torch: Callable[[Any], Any]


COPY = Transform(lambda w: w, lambda w: w)
TRANSPOSE = Transform(lambda w: w.T, lambda w: w.T)  # torch Linear weight [out, in] <-> kernel [in, out]

_LAYER = re.compile(r"\{(\d*)i(?:\+(\d+))?\}")


@dataclass(frozen=True)
class Entry:
    """One tensor, or one per layer when `source` has an `{i}`: those are stacked on axis 0.

    Attributes:
        source: The stored name. Of layers of two sorts in turn, `{2i}` names the even ones and `{2i+1}` the odd ones.
        target: The name of our parameter, for example "a/b/kernel".
        transform: How one becomes the other.
    """

    source: str
    target: str
    transform: Transform = COPY

    @property
    def stacked(self) -> bool:
        """True when it stands for one tensor per layer."""
        return _LAYER.search(self.source) is not None

    def name(self, i: int) -> str:
        """Returns the stored name of the `i`-th layer of its stack."""
        return _LAYER.sub(lambda match: str(int(match[1] or 1) * i + int(match[2] or 0)), self.source)


@dataclass(frozen=True)
class Table:
    """How the tensors of a checkpoint become our parameters. All patterns match from the start of a name.

    Attributes:
        entries: One for each parameter.
        aliases: (pattern, replacement) pairs that rewrite a stored name, in this order, so that every known spelling
            becomes the one in the entries.
        ignore: Patterns of stored names that are left out on purpose.
        ties: (name, other) pairs. `name` may be stored although it is the same tensor as `other`; the two must be
            equal then.
    """

    entries: tuple[Entry, ...]
    aliases: tuple[tuple[str, str], ...] = ()
    ignore: tuple[str, ...] = ()
    ties: tuple[tuple[str, str], ...] = ()

    @functools.cached_property
    def _own(self) -> re.Pattern:
        names = [entry.source for entry in self.entries] + [name for name, _ in self.ties]
        # Which numbers a stack has is found out by `match`.
        parts = (r"\d+".join(map(re.escape, _LAYER.split(name)[::3])) for name in dict.fromkeys(names))
        return re.compile("|".join(parts))

    def canonical(self, stored: str) -> str | None:
        """Returns the name in the entries (with a layer's number) of a stored name; None when there is none.

        The stored name may have any of the spellings in `aliases`, below any of the wrappers in `unwrapped`.
        """
        for name in unwrapped(stored):
            for pattern, replacement in self.aliases:
                name = re.sub(rf"^(?:{pattern})", replacement, name)
            if self._own.fullmatch(name):
                return name
        return None

    def ignores(self, stored: str) -> bool:
        """Returns True for a stored name that is left out on purpose."""
        return any(re.match(pattern, name) for name in unwrapped(stored) for pattern in self.ignore)


# Programs store a network below the attribute that holds it, and below what wraps it while it is trained.
_HOLDERS = (
    *("model", "module", "diffusion_model", "base_model", "net", "network", "generator", "student", "ema", "ema_model"),
    *("model_ema", "denoiser", "backbone", "pipe", "pipeline", "dit", "dit2", "unet", "transformer", "transformer_2"),
    *("vae", "first_stage_model", "text_encoder", "text_encoders", "umt5xxl", "cond_stage_model", "state_dict"),
)
_HOLDER = re.compile(rf"(?:{'|'.join(_HOLDERS)})\.")
_WRAPPER = re.compile(r"(?:(?<=\.)|^)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")


def unwrapped(stored: str) -> Iterator[str]:
    """Yields a stored name, and then the name without the first, the first two, … of the attributes that hold it."""
    # torch.compile, FSDP and activation checkpoints put their own words anywhere in a name.
    name = _WRAPPER.sub("", stored)
    yield name
    while match := _HOLDER.match(name):
        name = name[match.end() :]
        yield name


def linear(source: str, target: str, transform: Transform = TRANSPOSE) -> tuple[Entry, Entry]:
    """Returns the two entries of a torch Linear and our module; with another `transform`, of a convolution."""
    return Entry(f"{source}.weight", f"{target}/kernel", transform), Entry(f"{source}.bias", f"{target}/bias")


def norm(source: str, target: str) -> tuple[Entry, Entry]:
    """Returns the two entries of a torch LayerNorm and our module."""
    return Entry(f"{source}.weight", f"{target}/scale"), Entry(f"{source}.bias", f"{target}/bias")


def canonical_names(table: Table, names: Any) -> dict[str, str]:
    """Returns {name in the entries: stored name} of all stored names that are not ignored; others stand for themselves.

    Raises:
        ValueError: Two stored names become the same one.
    """
    found, problems = {}, Problems()
    for stored in names:
        name = table.canonical(stored)
        if name is None and table.ignores(stored):
            continue
        name = stored if name is None else name
        if name in found:
            problems.add("the same tensor under two names", f"{found[name]} = {stored}")
        found[name] = stored
    problems.raise_any("the checkpoint")
    return found


def match(table: Table, stored: Mapping[str, Any], abstract: Mapping[str, Any], cast: bool = False) -> dict[str, list]:
    """Returns {name of our parameter: [stored names, in layer order]} for every parameter of the network.

    Every stored name is used once or ignored, every parameter is set once, and shapes and dtypes agree.

    Args:
        table: The table of the network.
        stored: Anything with shape and dtype by name, arrays or ShapeDtypeStructs. No value is read.
        abstract: Our parameters as shapes.
        cast: Whether a floating dtype may become another one.

    Raises:
        ValueError: One message with everything that does not fit.
    """
    names, leaves, problems = canonical_names(table, stored), flatten_dict(abstract, sep="/"), Problems()
    for target, count in Counter(entry.target for entry in table.entries).items():
        if count > 1:
            problems.add("set by two entries of the table", target)
    # A tied name may be stored, but no entry reads it: it counts as used from the start.
    plan, used = {}, {name for name, _ in table.ties}
    for entry in table.entries:
        if entry.target not in leaves:
            problems.add("in the table but not in the network", entry.target)
            continue
        leaf = leaves[entry.target]
        wanted = [entry.name(i) for i in range(leaf.shape[0] if entry.stacked else 1)]
        for name in wanted:
            if name in used:
                problems.add("read by two entries of the table", name)
            used.add(name)
            if name not in names:
                problems.add("missing from the checkpoint", name)
                continue
            _check_leaf(problems, names[name], stored[names[name]], entry, leaf, cast)
        plan[entry.target] = [names.get(name) for name in wanted]
    for name in names.keys() - used:
        problems.add("in the checkpoint but not in the table", names[name])
    for target in leaves.keys() - {entry.target for entry in table.entries}:
        problems.add("in the network but not in the table", target)
    problems.raise_any("the checkpoint")
    return plan


def _check_leaf(problems, name, tensor, entry, leaf, cast):
    shape = tuple(leaf.shape[1:] if entry.stacked else leaf.shape)
    try:
        # The transform runs on shapes alone, so a checkpoint of any size is checked before a value of it is read.
        got = jax.eval_shape(entry.transform.to_flax, jax.ShapeDtypeStruct(tensor.shape, tensor.dtype)).shape
    except (TypeError, ValueError):  # the transform is a reshape that the stored shape does not allow
        got = None
    if got != shape:
        problems.add("wrong shape", f"{name} {tuple(tensor.shape)} becomes {got}, {entry.target} needs {shape}")
    floats = all(jax.dtypes.issubdtype(x.dtype, np.floating) for x in (tensor, leaf))
    if tensor.dtype != leaf.dtype and not (cast and floats):
        problems.add("wrong dtype", f"{name} {tensor.dtype}, {entry.target} needs {leaf.dtype}")


def to_flax(table: Table, tensors: Tensors, abstract: Mapping[str, Any], cast: bool = False) -> dict[str, Any]:
    """Returns our parameters from stored tensors, as NumPy arrays with the shapes and dtypes of `abstract`.

    With `cast`, floats are rounded to the dtype of `abstract`. Raises ValueError as `match`.
    """
    plan = match(table, tensors, abstract, cast)
    check_ties(table, tensors)
    leaves, params = flatten_dict(abstract, sep="/"), {}
    for entry in table.entries:
        leaf = leaves[entry.target]
        array = np.empty(leaf.shape, leaf.dtype)
        # Each layer is written into its place; stacking finished layers would hold all of them twice.
        for part, stored in zip(array if entry.stacked else [array], plan[entry.target], strict=True):
            part[...] = entry.transform.to_flax(tensors[stored])
        params[entry.target] = array
    return unflatten_dict(params, sep="/")


def check_ties(table: Table, tensors: Tensors) -> None:
    """Checks that tensors that are stored twice are equal, a few rows at a time.

    Raises:
        ValueError: The names of those that differ.
    """
    names, problems = canonical_names(table, tensors), Problems()
    for name, other in table.ties:
        if name in names:
            one, two = (np.atleast_1d(tensors[names[n]]) for n in (name, other))
            # A comparison makes an array of the size of its rows, so whole embeddings are not compared at once.
            rows = range(0, len(one), 4096)
            if one.shape != two.shape or any((one[i : i + 4096] != two[i : i + 4096]).any() for i in rows):
                problems.add("must be equal", f"{names[name]} and {names[other]}")
    problems.raise_any("the checkpoint")


def to_torch(table: Table, params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns the stored tensors of a parameter tree, under the names in the entries.

    Raises:
        ValueError: A parameter that the table lacks, or the reverse.
    """
    leaves, tensors, problems = flatten_dict(params, sep="/"), {}, Problems()
    for entry in table.entries:
        if entry.target not in leaves:
            problems.add("missing from the parameters", entry.target)
            continue
        array = np.asarray(leaves[entry.target])
        for i, part in enumerate(array if entry.stacked else [array]):
            # safetensors writes memory as it is, and a transposed view is not in row-major order. (NumPy's
            # ascontiguousarray would make an array of one number of a number.)
            tensors[entry.name(i)] = np.asarray(entry.transform.to_torch(part), order="C")
    for target in leaves.keys() - {entry.target for entry in table.entries}:
        problems.add("in the parameters but not in the table", target)
    problems.raise_any("the parameter tree")
    return tensors


def torch_shapes(table: Table, leaves: Mapping[str, Any]) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the stored tensors as shapes, under the names in the entries.

    leaves: {"a/b/kernel": shape and dtype}.
    """
    shapes = {}
    for entry in table.entries:
        leaf = leaves[entry.target]
        part = leaf.shape[1:] if entry.stacked else leaf.shape
        # Nothing of the leaf's size is allocated, where it has any.
        blank = np.empty(part, leaf.dtype) if 0 in part else np.broadcast_to(np.zeros((), leaf.dtype), part)
        shape = jax.ShapeDtypeStruct(entry.transform.to_torch(blank).shape, leaf.dtype)
        shapes |= {entry.name(i): shape for i in range(leaf.shape[0] if entry.stacked else 1)}
    return shapes
