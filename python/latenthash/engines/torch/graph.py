"""A net of a prototxt as a PyTorch module: the same layers, blobs and weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from ...errors import NetError
from ...netdef import Layer, NetDef
from ...weights import Weights
from . import losses, neurons, shaping, weighted, windows  # noqa: F401  (they register)
from .registry import Call, Operation, find

_STATISTICS = ("BatchNorm",)  # layers whose weights are no parameters of the loss


class Graph(nn.Module):
    """The layers of one phase, in order, without those that bring data in.

    Blobs are looked up by name: a layer in place simply gives its bottom's name to
    another tensor, so nothing that a gradient needs is overwritten.

    Attributes:
        definition: what it was made of.
        blobs: weights by layer, in Caffe's order; layers that share a parameter share
            the tensor.
    """

    def __init__(self, definition: NetDef) -> None:
        """All weights 0.

        Raises:
            NetError: a layer type that this engine does not have, or one that changes a
                blob's shape as it must not.
        """
        super().__init__()
        self.definition = definition
        sources = {layer.name for layer in definition.data_layers}
        self._steps: list[tuple[Layer, Operation]] = [
            (layer, find(layer.type, f"{definition.path}: layer {layer.name!r}"))
            for layer in definition.layers
            if layer.name not in sources
        ]
        self.blobs: dict[str, list[Tensor]] = {}
        self._shared: dict[str, Tensor] = {}
        for layer, _ in self._steps:
            self._add_weights(layer)

    def _add_weights(self, layer: Layer) -> None:
        shapes = self.definition.param_shapes.get(layer.name, ())
        if not shapes or layer.name in self.blobs:
            return
        own: list[Tensor] = []
        for index, shape in enumerate(shapes):
            name = layer.param.param[index].name if index < len(layer.param.param) else ""
            own.append(self._weight(name, shape, layer.type in _STATISTICS))
        self.blobs[layer.name] = own

    def _weight(self, shared_name: str, shape: Sequence[int], statistic: bool) -> Tensor:
        if shared_name in self._shared:
            return self._shared[shared_name]
        number = len(self._parameters) + len(self._buffers)
        if statistic:
            self.register_buffer(f"blob{number}", torch.zeros(tuple(shape)))
            tensor = self.get_buffer(f"blob{number}")
        else:
            self.register_parameter(f"blob{number}", nn.Parameter(torch.zeros(tuple(shape))))
            tensor = self.get_parameter(f"blob{number}")
        if shared_name:
            self._shared[shared_name] = tensor
        return tensor

    def take(self, weights: Weights) -> None:
        """Copy weights by layer; shapes may differ in axes of 1, as in old files.

        Raises:
            NetError: a blob has another number of values.
        """
        with torch.no_grad():
            for name, arrays in weights.items():
                for own, array in zip(self.blobs.get(name, ()), arrays, strict=False):
                    if own.numel() != array.size:
                        shapes = f"{tuple(own.shape)}, the weights {array.shape}"
                        raise NetError(f"layer {name!r} has {shapes}", "give this net's weights")
                    own.copy_(torch.from_numpy(array).reshape(own.shape))

    def weights(self) -> Weights:
        """Copies of the weights by layer, float32."""
        return {
            name: [blob.detach().float().cpu().numpy().copy() for blob in blobs]
            for name, blobs in self.blobs.items()
        }

    def forward(self, blobs: Mapping[str, Tensor], wanted: Iterable[str]) -> dict[str, Tensor]:
        """Blobs by name, from those that the data layers bring.

        Layers after the last that is wanted are not run.
        """
        known, missing = dict(blobs), set(wanted)
        asked = sorted(missing)
        last = self._last(missing)
        for layer, function in self._steps[: last + 1]:
            bottoms = [known[name] for name in layer.bottoms]
            own = self.blobs.get(layer.name, ())
            tops = function(Call(layer.param, bottoms, own, self.training))
            known.update(zip(layer.tops, tops, strict=False))
        return {name: known[name] for name in asked}

    def _last(self, names: set[str]) -> int:
        """Number of the last layer that makes one of the blobs, in place too."""
        made = [number for number, (layer, _) in enumerate(self._steps) if names & {*layer.tops}]
        return max(made, default=-1)
