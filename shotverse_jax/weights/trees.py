"""Parameter trees as flat mappings from names to leaves, and the comparison of two of them."""

import functools
from collections.abc import Mapping
from typing import Any

import jax


def name(path: tuple) -> str:
    """The name of the leaf at a path of a tree: its keys joined by "/"."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def flatten(tree: Any) -> dict[str, Any]:
    """{"a/b/0": leaf} of a tree, in the order of `jax.tree.leaves`."""
    return {name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def nest(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """The nested dicts of a flat mapping, the inverse of `flatten` for trees of dicts."""
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *parents, last = path.split("/")
        functools.reduce(lambda node, part: node.setdefault(part, {}), parents, tree)[last] = leaf
    return tree


def check_same(found: Mapping[str, Any], expected: Mapping[str, Any], what: str, *, dtypes: bool = False) -> None:
    """Compares two flat mappings of anything with shape and dtype.

    Args:
        found: The leaves that are there.
        expected: The leaves that should be there.
        what: Begins the message and says what does not fit what.
        dtypes: Whether the dtypes must agree too.

    Raises:
        ValueError: The message lists every leaf that is missing, unexpected or of another shape (or dtype).
    """
    # All problems are listed at once: whoever mends a checkpoint should not meet them one by one.
    problems = [f"missing {path}" for path in expected.keys() - found.keys()]
    problems += [f"unexpected {path}" for path in found.keys() - expected.keys()]
    for path in expected.keys() & found.keys():
        ours, theirs = expected[path], found[path]
        if dtypes and (tuple(ours.shape) != tuple(theirs.shape) or ours.dtype != theirs.dtype):
            problems.append(f"{path} is {theirs.dtype}{list(theirs.shape)}, expected {ours.dtype}{list(ours.shape)}")
        elif tuple(ours.shape) != tuple(theirs.shape):
            problems.append(f"{path} has shape {list(theirs.shape)}, expected {list(ours.shape)}")
    if problems:
        raise ValueError(f"{what}: " + "; ".join(sorted(problems)))
