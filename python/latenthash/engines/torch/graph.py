"""A net of a prototxt as PyTorch runs it: the same layers, blobs and weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from ...errors import NetError
from ...netdef import Layer, NetDef
from ...weights import Weights
from . import losses, neurons, shaping, weighted, windows  # noqa: F401  (they register)
from .execution import Execution
from .fusion import Step, fuse
from .registry import Call, Operation, find

STATISTICS = ("BatchNorm",)  # layers whose weights are no parameters of the loss
_EXACT = ("Softmax", "Accuracy", "ArgMax")  # with the losses, these compute in float32
_HALVED = ("Convolution", "Deconvolution", "InnerProduct")  # the others keep float32 weights


class Graph:
    """The layers of one phase, in order, without those that bring data in.

    Blobs are looked up by name: a layer in place simply gives its bottom's name to
    another tensor, so nothing that a gradient needs is overwritten.

    Attributes:
        definition: what it was made of.
        blobs: weights by layer, in Caffe's order; layers that share a parameter share
            the tensor.
    """

    def __init__(
        self,
        definition: NetDef,
        execution: Execution | None = None,
        owner: Graph | None = None,
    ) -> None:
        """All weights 0.

        Args:
            definition: the net in its phase.
            execution: where it runs; None takes float32 on the CPU.
            owner: another phase of the net, whose weights are shared by layer.

        Raises:
            NetError: a layer type that this engine does not have, or weights that
                cannot be shared.
        """
        self.definition = definition
        self._execution = execution or Execution(torch.device("cpu"))
        sources = {layer.name for layer in definition.data_layers}
        self._steps: list[Step] = [
            (layer, find(layer.type, f"{definition.path}: layer {layer.name!r}"))
            for layer in definition.layers
            if layer.name not in sources
        ]
        self._plans: dict[frozenset[str], list[Step]] = {}
        self.blobs: dict[str, list[Tensor]] = {}
        self._shared: dict[str, Tensor] = {}
        for layer, _ in self._steps:
            self._add_weights(layer, owner)

    @property
    def layers(self) -> list[Layer]:
        """The layers that run, in order."""
        return [layer for layer, _ in self._steps]

    def _add_weights(self, layer: Layer, owner: Graph | None) -> None:
        shapes = self.definition.param_shapes.get(layer.name, ())
        if not shapes or layer.name in self.blobs:
            return
        if owner is not None and layer.name in owner.blobs:
            self.blobs[layer.name] = owner.blobs[layer.name]
            self._require(layer, [tuple(blob.shape) for blob in self.blobs[layer.name]], shapes)
            return
        own: list[Tensor] = []
        for index, shape in enumerate(shapes):
            name = layer.param.param[index].name if index < len(layer.param.param) else ""
            own.append(self._weight(name, shape, layer.type not in STATISTICS))
        self.blobs[layer.name] = own
        self._require(layer, [tuple(blob.shape) for blob in own], shapes)

    def _require(
        self, layer: Layer, found: Sequence[tuple[int, ...]], shapes: Sequence[tuple[int, ...]]
    ) -> None:
        if list(found) != list(shapes):
            raise NetError(
                f"{self.definition.path}: layer {layer.name!r} has weights {list(shapes)}, "
                f"what it shares {list(found)}",
                "give both one shape",
            )

    def _weight(self, shared_name: str, shape: Sequence[int], learned: bool) -> Tensor:
        if shared_name in self._shared:
            return self._shared[shared_name]
        tensor = self._execution.place(torch.zeros(tuple(shape))).requires_grad_(learned)
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

    def settle(self) -> None:
        """Keep the weights only in what they compute in: nothing is learned any more."""
        for layer in self.layers:
            own = self.blobs.get(layer.name, ())
            if layer.type in _HALVED:
                self.blobs[layer.name] = [self._execution.halve(blob.detach()) for blob in own]

    def weights(self) -> Weights:
        """Copies of the weights by layer, float32."""
        return {
            name: [blob.detach().float().cpu().numpy().copy() for blob in blobs]
            for name, blobs in self.blobs.items()
        }

    def __call__(self, blobs: Mapping[str, Tensor], wanted: Iterable[str]) -> dict[str, Tensor]:
        """Blobs by name, from those that the data layers bring.

        Layers after the last that is wanted are not run.
        """
        known = {name: self._execution.place(blob) for name, blob in blobs.items()}
        missing = set(wanted)
        with self._execution.running():
            for layer, function in self._plan(frozenset(missing)):
                known.update(self._run(layer, function, known))
        return {name: known[name] for name in sorted(missing)}

    def _run(
        self, layer: Layer, function: Operation, known: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Tops of one layer by name."""
        bottoms = [known[name] for name in layer.bottoms]
        if layer.type.endswith("Loss") or layer.type in _EXACT:
            bottoms = [bottom.float() for bottom in bottoms]
        spared = zip(bottoms, layer.param.propagate_down, strict=False)
        for index, (bottom, goes_down) in enumerate(spared):
            bottoms[index] = bottom if goes_down else bottom.detach()
        training = self.definition.phase == "TRAIN"
        tops = function(Call(layer.param, bottoms, self.blobs.get(layer.name, ()), training))
        return dict(zip(layer.tops, tops, strict=False))

    def _plan(self, names: frozenset[str]) -> list[Step]:
        """The steps that make these blobs."""
        if names not in self._plans:
            needed = self._steps[: self._last(names) + 1]
            self._plans[names] = fuse(needed, self.blobs, names)
        return self._plans[names]

    def _last(self, names: frozenset[str]) -> int:
        """Number of the last layer that makes one of the blobs, in place too."""
        made = [number for number, (layer, _) in enumerate(self._steps) if names & {*layer.tops}]
        return max(made, default=-1)
