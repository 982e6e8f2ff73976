"""The ranges of numbers in configs, written as the types of their fields and checked when a config is made."""

import dataclasses
import functools
import typing
from typing import Annotated, Any

from shotverse_jax import limits


@dataclasses.dataclass(frozen=True)
class Range:
    """The numbers that a field takes.

    Attributes:
        least: the smallest one.
        most: the largest one.
        below: whether `most` itself is outside.
    """

    least: float
    most: float
    below: bool = False

    def check(self, kind: type, value: Any, what: str) -> None:
        """Raises ValueError, with `what` in it, for a value that is no number of this kind in the range."""
        if kind is int:
            limits.whole(value, what, int(self.least), int(self.most))
        else:
            limits.finite(value, what, self.least, self.most, self.below)


Count = Annotated[int, Range(1, 4096)]
"""Layers, heads, blocks and other things of which there is at least one."""
CountOrNone = Annotated[int, Range(0, 4096)]
Size = Annotated[int, Range(1, 1 << 20)]
"""Numbers in an axis of an array: widths, entries of a vocabulary, positions."""
SizeOrDefault = Annotated[int, Range(0, 1 << 20)]
Pixels = Annotated[int, Range(1, 1 << 30)]
"""Pixels of a picture, or of all frames of a video."""
Index = Annotated[int, Range(0, 1 << 20)]
"""A number counted from 0, such as an id of a token."""
Steps = Annotated[int, Range(1, 10**9)]
StepsOrNone = Annotated[int, Range(0, 10**9)]
Workers = Annotated[int, Range(0, 1024)]
Devices = Annotated[int, Range(-1, 1 << 20)]
Seed = Annotated[int, Range(0, limits.SEEDS - 1)]
Side = Annotated[int, Range(1, limits.SIDE)]
Frames = Annotated[int, Range(1, limits.FRAMES)]
DenoisingSteps = Annotated[int, Range(1, limits.STEPS)]
Rate = Annotated[float, Range(*limits.RATES)]
Guidance = Annotated[float, Range(-limits.GUIDANCE, limits.GUIDANCE)]
Share = Annotated[float, Range(0, 1)]
Decay = Annotated[float, Range(0, 1, below=True)]
"""A share that is never all: a decay of an average, a dropout."""
Weight = Annotated[float, Range(0, 1e6)]
Epsilon = Annotated[float, Range(0, 1)]
Scale = Annotated[float, Range(*limits.SCALE)]
"""A factor or divisor, hence not 0."""
Number = Annotated[float, Range(-1e9, 1e9)]


class Checked:
    """A dataclass of which every number is checked when it is made; ValueError names the field and its range."""

    def __post_init__(self):
        for name, kind in hints(type(self)).items():
            _check(kind, getattr(self, name), f"{name} of {type(self).__name__}")

    def _check_divides(self, parts: str, whole: str) -> None:
        """Raises ValueError unless the field `whole` is a multiple of the field `parts`."""
        if getattr(self, whole) % getattr(self, parts):
            values = f"{whole}={getattr(self, whole)}, {parts}={getattr(self, parts)}"
            raise ValueError(f"{parts} of {type(self).__name__} must divide {whole}, got {values}")


@functools.cache
def hints(cls: type) -> dict[str, Any]:
    """The types of the fields of a dataclass, with their ranges."""
    return typing.get_type_hints(cls, include_extras=True)


def _check(kind: Any, value: Any, what: str) -> None:
    inside = typing.get_args(kind)
    if typing.get_origin(kind) is Annotated:
        inside[1].check(inside[0], value, what)
    elif typing.get_origin(kind) is tuple and isinstance(value, tuple | list):
        kinds = inside[:1] * len(value) if inside[-1] is ... else inside
        if len(kinds) != len(value):
            raise ValueError(f"{what} is {len(kinds)} values, got {value!r:.60}")
        for part, each in zip(kinds, value, strict=True):
            _check(part, each, what)
