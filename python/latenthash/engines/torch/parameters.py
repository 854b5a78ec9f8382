"""The parameters that a solver sees, in Caffe's order."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...errors import NetError
from ...netdef import Layer
from ...proto.caffe_pb2 import ParamSpec
from .graph import STATISTICS, Graph


@dataclass
class Learnable:
    """One parameter, or several layers' shared one.

    Attributes:
        tensor: its values; `requires_grad` says whether it is learned.
        lr_mult: its learning rate is the solver's times this; 0 for what is not learned.
        decay_mult: its weight decay is the solver's times this.
    """

    tensor: Tensor
    lr_mult: float
    decay_mult: float


def learnable_parameters(graph: Graph) -> list[Learnable]:
    """Parameters by layer and number, a shared one where it first occurs.

    What has an lr_mult of 0 asks for no gradient from now on, and neither do the
    statistics of BatchNorm, which is not so in some of Caffe's forks.

    Raises:
        NetError: layers that share a parameter state different multipliers.
    """
    found: dict[int, Learnable] = {}
    stated: dict[int, ParamSpec] = {}
    for layer in graph.layers:
        for index, tensor in enumerate(graph.blobs.get(layer.name, ())):
            spec = _spec(layer, index)
            key = id(tensor)
            if key not in found:
                stated[key] = ParamSpec()
                found[key] = Learnable(tensor, 1.0, 1.0)
            _merge(stated[key], spec, f"{graph.definition.path}: layer {layer.name!r}")
            found[key].lr_mult = stated[key].lr_mult
            found[key].decay_mult = stated[key].decay_mult
    for one in found.values():
        one.tensor.requires_grad_(one.lr_mult != 0)
    return list(found.values())


def _spec(layer: Layer, index: int) -> ParamSpec:
    if layer.type in STATISTICS:
        return ParamSpec(lr_mult=0)
    return layer.param.param[index] if index < len(layer.param.param) else ParamSpec()


def _merge(into: ParamSpec, spec: ParamSpec, where: str) -> None:
    """Take over what `spec` states; what another layer has stated must be the same."""
    for field in ("lr_mult", "decay_mult"):
        if not spec.HasField(field):
            continue
        value = getattr(spec, field)
        if into.HasField(field) and getattr(into, field) != value:
            raise NetError(
                f"{where} has {field} {value} for a parameter that it shares, "
                f"another layer {getattr(into, field)}",
                "state it once",
            )
        setattr(into, field, value)
