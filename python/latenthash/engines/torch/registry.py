"""What the layers of this engine share: their type, their registry, what a run is.

A layer is a function of its message, its bottoms and its weights that returns its tops;
PyTorch differentiates it. The rules of shapes (`netdef`) have been checked before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from ...errors import NetError
from ...proto.caffe_pb2 import LayerParameter


@dataclass(frozen=True)
class Call:
    """One call of a layer.

    Attributes:
        param: the layer's whole message.
        bottoms: in the layer's order.
        weights: the layer's blobs in Caffe's order; `BatchNorm` changes its own.
        training: whether the phase is TRAIN.
    """

    param: LayerParameter
    bottoms: Sequence[Tensor]
    weights: Sequence[Tensor]
    training: bool

    @property
    def bottom(self) -> Tensor:
        """The first bottom."""
        return self.bottoms[0]


Operation = Callable[[Call], Sequence[Tensor]]
OPERATIONS: dict[str, Operation] = {}


def operation(*types: str) -> Callable[[Operation], Operation]:
    """Register the decorated function as the layer of `types`."""

    def register(function: Operation) -> Operation:
        OPERATIONS.update(dict.fromkeys(types, function))
        return function

    return register


def find(kind: str, where: str) -> Operation:
    """The function of a layer type.

    Raises:
        NetError: the engine does not have it.
    """
    if kind not in OPERATIONS:
        known = ", ".join(sorted(OPERATIONS))
        raise NetError(f"{where}: the torch engine has no layer type {kind!r}", f"it has {known}")
    return OPERATIONS[kind]


def canonical(axis: int, blob: Tensor) -> int:
    """Axis counted from the front."""
    return axis % blob.ndim
