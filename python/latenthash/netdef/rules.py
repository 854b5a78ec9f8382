"""What the shape rules share: their type, their registry and small checks.

A rule gets the layer's message and the shapes of its bottoms and returns the shapes
of its tops and of its weights. It raises `NetError` without naming the layer; the
caller knows the file and the layer and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import NamedTuple

from ..errors import NetError
from ..proto.caffe_pb2 import LayerParameter

Shape = tuple[int, ...]


class Shapes(NamedTuple):
    """Shapes of a layer's tops and of its weights, in the layer's order."""

    tops: Sequence[Shape]
    params: Sequence[Shape] = ()


Rule = Callable[[LayerParameter, list[Shape]], Shapes]


class Entry(NamedTuple):
    """A rule with the numbers of bottoms that its layer type takes."""

    rule: Rule
    least: int
    most: int


RULES: dict[str, Entry] = {}
_MANY = 1 << 30


def rule(
    *types: str, bottoms: int = 1, most: int | None = None, many: bool = False
) -> Callable[[Rule], Rule]:
    """Register the decorated function as the rule of `types`."""

    def register(function: Rule) -> Rule:
        limit = _MANY if many else most or bottoms
        for name in types:
            RULES[name] = Entry(function, bottoms, limit)
        return function

    return register


def require(condition: bool, problem: str, remedy: str = "mend the layer") -> None:
    """Raise `NetError` unless `condition` holds."""
    if not condition:
        raise NetError(problem, remedy)


def canonical_axis(axis: int, shape: Shape) -> int:
    """Axis counted from the front; negative ones count from the end.

    Raises:
        NetError: the blob has no such axis.
    """
    require(-len(shape) <= axis < len(shape), f"no axis {axis} in a blob of shape {shape}")
    return axis % len(shape)


def count(shape: Shape, start: int = 0, end: int | None = None) -> int:
    """Number of values in the axes from `start` to before `end`."""
    return prod(shape[start:end])
