"""A net's layers in one phase, wired and shaped as Caffe would."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from ..errors import NetError
from ..proto import read_net
from ..proto.caffe_pb2 import LayerParameter
from . import shapes, weighted  # noqa: F401  (their import registers the rules)
from .phase import layers_of
from .rules import RULES, Shape, Shapes
from .sources import SOURCES, source_shapes
from .upgrade import upgrade

LATENT, LATENT_SIGMOID, CLASSIFIER = "latent", "latent_sigmoid", "classifier"


@dataclass(frozen=True)
class Layer:
    """One layer; `param` is its whole message, in today's syntax."""

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    param: LayerParameter


@dataclass(frozen=True)
class NetDef:
    """A net in one phase.

    Attributes:
        path: the prototxt.
        name: the net's own name.
        phase: "TRAIN" or "TEST".
        layers: those of the phase, in the file's order, without Caffe's automatic splits.
        blob_shapes: shape of every blob; () for a scalar.
        param_shapes: shapes of the weights of each layer that has some. Of layers that
            share a name the first counts, as when Caffe loads weights.
    """

    path: Path
    name: str
    phase: str
    layers: tuple[Layer, ...]
    blob_shapes: dict[str, Shape]
    param_shapes: dict[str, tuple[Shape, ...]]

    def layer(self, name: str) -> Layer:
        """Layer by name.

        Raises:
            NetError: there is none; the message lists near names.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        names = [layer.name for layer in self.layers]
        near = get_close_matches(name, names, n=5, cutoff=0.4) or names
        raise NetError(f"{self.path}: has no layer {name!r}", f"there are {', '.join(near)}")

    @property
    def data_layers(self) -> tuple[Layer, ...]:
        """Layers that bring data in: Data, Input and their like."""
        return tuple(layer for layer in self.layers if layer.type in SOURCES)

    @property
    def feature_blob(self) -> str:
        """Blob that the latent layer reads, fc7 in AlexNet and VGG.

        Raises:
            NetError: the net has no latent layer.
        """
        return self._hashing(LATENT).bottoms[0]

    @property
    def code_blob(self) -> str:
        """Blob of B activations in [0, 1] that thresholding turns into a code.

        Raises:
            NetError: the net has no latent layer or no sigmoid after it.
        """
        return self._hashing(LATENT_SIGMOID).tops[0]

    @property
    def bits(self) -> int:
        """Width B of the codes.

        Raises:
            NetError: the net has no latent layer.
        """
        return self._hashing(LATENT).param.inner_product_param.num_output

    @property
    def classes(self) -> int | None:
        """Outputs of the classifier; None if the net has no layer of that name."""
        for layer in self.layers:
            if layer.name == CLASSIFIER:
                return layer.param.inner_product_param.num_output
        return None

    def _hashing(self, name: str) -> Layer:
        for layer in self.layers:
            if layer.name == name and layer.bottoms and layer.tops:
                return layer
        raise NetError(
            f"{self.path}: has no layer {name!r}",
            f"it must end in {LATENT} (InnerProduct) and {LATENT_SIGMOID} (Sigmoid); "
            "see tools/make_net.py, or extract with --hash",
        )


def load_netdef(
    path: Path, phase: str, data_shapes: Mapping[str, tuple[int, ...]] | None = None
) -> NetDef:
    """Read a prototxt and infer every shape, by the rules of Caffe's layers.

    Args:
        path: train_val or deploy prototxt; old syntax is upgraded as Caffe does it.
        phase: "TRAIN" or "TEST".
        data_shapes: by the name of a data layer's first top, the shape (C, H, W) of one
            image as it is stored, before the crop; for HDF5Data by each top, without
            the batch axis. Where it is missing, a layer with crop_size is taken as
            3-channel (1 with force_gray), any other cannot be shaped.

    Raises:
        NetError: the file is missing or malformed, its layers do not fit together, or
            a layer is of a type whose shapes are not known.
    """
    message = read_net(path)
    try:
        message = upgrade(message)
        params = layers_of(message, phase)
    except NetError as error:
        raise NetError(f"{path}: {error.problem}", error.remedy) from None
    wiring = _Wiring(path, dict(data_shapes or {}))
    for param in params:
        wiring.add(param)
    layers = tuple(Layer(p.name, p.type, tuple(p.bottom), tuple(p.top), p) for p in params)
    return NetDef(path, message.name, phase, layers, wiring.blobs, wiring.params)


@dataclass
class _Wiring:
    """Blobs and weights of the layers added so far."""

    path: Path
    data_shapes: dict[str, Shape]
    blobs: dict[str, Shape] = field(default_factory=dict)
    params: dict[str, tuple[Shape, ...]] = field(default_factory=dict)

    def add(self, layer: LayerParameter) -> None:
        try:
            self._check_names(layer)
            tops, params = self._infer(layer)
        except NetError as error:
            where = f"{self.path}: layer {layer.name!r} ({layer.type})"
            raise NetError(f"{where}: {error.problem}", error.remedy) from None
        self.blobs.update(zip(layer.top, tops, strict=False))
        if params:
            self.params.setdefault(layer.name, tuple(params))

    def _check_names(self, layer: LayerParameter) -> None:
        for bottom in layer.bottom:
            if bottom not in self.blobs:
                near = get_close_matches(bottom, self.blobs, n=5, cutoff=0.4) or list(self.blobs)
                known = f"blobs above it are {', '.join(near)}" if near else "no blob is above it"
                raise NetError(f"no layer above makes its bottom {bottom!r}", known)
        for index, top in enumerate(layer.top):
            in_place = index < len(layer.bottom) and layer.bottom[index] == top
            if not in_place and (top in self.blobs or top in layer.top[:index]):
                raise NetError(f"its top {top!r} is made twice", "rename one of the two")

    def _infer(self, layer: LayerParameter) -> Shapes:
        if layer.type in SOURCES:
            shapes = Shapes(source_shapes(layer, self.data_shapes))
        else:
            shapes = self._by_rule(layer)
        if len(layer.top) > len(shapes.tops):
            raise NetError(f"has {len(layer.top)} tops, makes {len(shapes.tops)}", "drop some")
        return shapes

    def _by_rule(self, layer: LayerParameter) -> Shapes:
        entry = RULES.get(layer.type)
        if entry is None:
            known = ", ".join(sorted([*RULES, *SOURCES]))
            raise NetError(f"type {layer.type!r} is not supported", f"supported are {known}")
        if not entry.least <= len(layer.bottom) <= entry.most:
            raise NetError(f"has {len(layer.bottom)} bottoms, takes {entry.least}", "mend it")
        return entry.rule(layer, [self.blobs[bottom] for bottom in layer.bottom])
