"""Plain values of a file or a command line to a frozen dataclass."""

import dataclasses
import types
import typing
from typing import Literal


def from_dict(cls, values: dict):
    """A frozen dataclass of nested plain values (JSON, ConfigDict); lists become tuples.

    A field that was renamed says so (`metadata={"was": old name}`), and its old name is still read.

    Raises:
        ValueError: unknown fields, or a value that is none of a field's choices.
    """
    fields = typing.get_type_hints(cls)
    renamed = {field.metadata["was"]: field.name for field in dataclasses.fields(cls) if "was" in field.metadata}
    values = {renamed.get(name, name): value for name, value in values.items()}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise ValueError(f"{cls.__name__} has no {', '.join(unknown)}; its fields are {', '.join(fields)}")
    for name, value in values.items():
        choices = typing.get_args(fields[name])
        if typing.get_origin(fields[name]) is Literal and value not in choices:
            raise ValueError(f"{name} of {cls.__name__} is {' or '.join(map(repr, choices))}, got {value!r}")
    return cls(**{name: _value(fields[name], value) for name, value in values.items()})


def _value(kind, value):
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    nested = next((option for option in options if dataclasses.is_dataclass(option)), None)
    if nested is not None and value is not None:
        return from_dict(nested, value)
    return tuple(value) if isinstance(value, (list, tuple)) else value
