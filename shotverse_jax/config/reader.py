"""Plain values of a file or a command line to a frozen dataclass."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from shotverse_jax.config.ranges import hints
from shotverse_jax.limits import shown

MOST = 2**63
"""Whole numbers are below this one, as arrays of the machine hold them."""

NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", type(None): "nothing"}
"""What the types of fields are called in messages."""


def from_dict(cls, values: Mapping[str, Any]):
    """A frozen dataclass of nested plain values (JSON, ConfigDict); lists become tuples.

    A field that was renamed says so (`metadata={"was": old name}`), and its old name is still read.

    Raises:
        ValueError: unknown or missing fields, or a value that is not of a field's type, none of its choices or out of
            its range.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{cls.__name__} should be a mapping of names to values, got {shown(values)}")
    fields = hints(cls)
    renamed = {field.metadata["was"]: field.name for field in dataclasses.fields(cls) if "was" in field.metadata}
    values = {renamed.get(name, name): value for name, value in values.items()}
    unknown = sorted(map(str, set(values) - set(fields)))
    if unknown:
        raise ValueError(f"{cls.__name__} has no {', '.join(unknown)}; its fields are {', '.join(fields)}")
    try:
        return cls(**{name: _value(fields[name], value, f"{name} of {cls.__name__}") for name, value in values.items()})
    except TypeError as error:
        raise ValueError(f"{cls.__name__} cannot be made: {str(error).partition(') ')[2] or error}") from error


def _value(kind: Any, value: Any, what: str) -> Any:
    """The value as a field of this type holds it. Raises ValueError, with `what` in it, for one of another type."""
    options = typing.get_args(kind) if typing.get_origin(kind) in (types.UnionType, typing.Union) else (kind,)
    errors = []
    for option in options:
        try:
            return _of(option, value, what)
        except ValueError as error:
            errors.append(error)
    # Of several types the last one that is not None is the one that was meant.
    raise next((error for option, error in zip(options, errors, strict=True) if option is not type(None)), errors[-1])


def _of(kind: Any, value: Any, what: str) -> Any:
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        if value not in inside:
            raise ValueError(f"{what} is {' or '.join(map(repr, inside))}, got {shown(value)}")
        return value
    if dataclasses.is_dataclass(kind):
        return value if isinstance(value, kind) else from_dict(kind, value)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{what} is a list, got {shown(value)}")
        kinds = [inside[0]] * len(value) if inside[-1:] == (...,) else inside
        if len(kinds) != len(value):
            raise ValueError(f"{what} is {len(kinds)} values, got {shown(value)}")
        return tuple(_value(part, each, what) for part, each in zip(kinds, value, strict=True))
    if origin is Annotated:
        return value  # the class checks its own ranges (`config.ranges.Checked`)
    if kind is Any or not isinstance(kind, type) or _is_one(kind, value):
        return tuple(value) if isinstance(value, list) else value
    raise ValueError(f"{what} is {NAMES.get(kind) or kind.__name__}, got {shown(value)}")


def _is_one(kind: type, value: Any) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < MOST
    return isinstance(value, list | tuple) if kind is tuple else isinstance(value, kind)
