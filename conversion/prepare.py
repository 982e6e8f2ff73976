"""A conversion before it is written: the network, its config and the plan of its tensors, without a value."""

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from shotverse_jax.weights.safetensors import nbytes
from shotverse_jax.weights.trees import flatten

from .core import Table, match
from .networks import NETWORKS, Network, network, recognise
from .sources import Source, fingerprint


@dataclasses.dataclass(frozen=True)
class Conversion:
    """A checkpoint and the network that it is converted to. No value is read yet.

    Attributes:
        network: The network.
        source: The tensors of the checkpoint.
        config: The config of the network, read from the checkpoint.
        table: The table that reads its names.
        abstract: The parameters as shapes, in the dtype that is written.
        manifest: What manifest.json says about the conversion.
    """

    network: Network
    source: Source
    config: Any
    table: Table
    abstract: dict[str, Any]
    manifest: dict[str, Any]

    @functools.cached_property
    def leaves(self) -> dict[str, jax.ShapeDtypeStruct]:
        """The parameters as shapes, by name."""
        return flatten(self.abstract)

    @functools.cached_property
    def plan(self) -> dict[str, list[str]]:
        """The stored names of every parameter (`core.match`). Raises ValueError with everything that does not fit."""
        return match(self.table, self.source.shapes, self.abstract, cast=True)


def prepare(source: Source, name: str, dtype: str | None = None, mesh: Mapping[str, int] | None = None) -> Conversion:
    """Returns the conversion of a checkpoint to the network `name`.

    Args:
        source: The checkpoint.
        name: A name in `NETWORKS`.
        dtype: What is written; by default bfloat16 when everything is stored so, else float32.
        mesh: Sizes of the mesh axes that the chunks of the arrays are made for.

    Raises:
        ValueError: The checkpoint is another network's.
    """
    net = network(name)
    config = _config(net, name, source)
    table = net.table(config)
    dtype = dtype or _stored_dtype(source)
    pairs = [(entry.source, entry.target) for entry in table.entries]
    manifest = {
        "network": name,
        # An unfinished conversion is continued only with the same manifest, so a changed table begins anew.
        "table": hashlib.sha256(json.dumps(pairs).encode()).hexdigest()[:16],
        "version": importlib.metadata.version("shotverse_jax"),
        "dtype": dtype,
        "mesh": dict(mesh or {}),
        "tensors": len(source.shapes),
        "sources": [fingerprint(path) for path in source.files],
    }
    return Conversion(net, source, config, table, net.abstract(config, dtype), manifest)


def _config(net: Network, name: str, source: Source) -> Any:
    try:
        return net.config(source)
    except ValueError as error:
        found = recognise(source.shapes)
        if found and found[0][2] > 0.5 and NETWORKS[found[0][0]].example_config != net.example_config:
            raise ValueError(f"this is no {name}: {error}; it looks like {found[0][0]}") from error
        raise


def _stored_dtype(source: Source) -> str:
    """bfloat16 when everything is stored so, else float32, which holds all other types without loss."""
    return "bfloat16" if {str(shape.dtype) for shape in source.shapes.values()} == {"bfloat16"} else "float32"


def describe(conversion: Conversion) -> Iterator[str]:
    """Yields the lines of a table of the conversion: stored name, parameter, shape, dtype and size.

    Raises:
        ValueError: What is missing or does not fit, after the lines.
    """
    leaves = conversion.leaves
    for entry in conversion.table.entries:
        leaf = leaves[entry.target]
        size = readable_size(nbytes(leaf))
        yield f"{entry.source:<48} {entry.target:<36} {leaf.dtype}{list(leaf.shape)} {size}"
    plan = conversion.plan
    total = sum(nbytes(leaf) for leaf in leaves.values())
    yield f"{len(conversion.source)} tensors, {len(plan)} arrays, {readable_size(total)}; nothing is missing"


def readable_size(count: int) -> str:
    """Returns a number of bytes for people, for example "3.5 GB"."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
