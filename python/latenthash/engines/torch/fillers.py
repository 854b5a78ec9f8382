"""First values of weights: Caffe's fillers, with other random numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from ...errors import NetError
from ...netdef import Layer
from ...proto import array_from_blob
from ...proto.caffe_pb2 import FillerParameter
from .graph import Graph

_Fill = Callable[[FillerParameter, Tensor, torch.Generator], Tensor]


def fill(graph: Graph, generator: torch.Generator, owner: Graph | None = None) -> None:
    """Give all weights their first values: what the net itself holds, else by filler.

    A shared parameter is filled by the layer where it first occurs.

    Args:
        graph: the net.
        generator: of the random numbers, on the CPU.
        owner: another phase; the weights that it shares with this one stay as they are.

    Raises:
        NetError: a filler of an unknown type, or one that cannot fill a blob.
    """
    owned = owner.blobs.values() if owner is not None else ()
    done = {id(blob) for blobs in owned for blob in blobs}
    for layer in graph.layers:
        where = f"{graph.definition.path}: layer {layer.name!r}"
        for index, blob in enumerate(graph.blobs.get(layer.name, ())):
            if id(blob) in done:
                continue
            done.add(id(blob))
            with torch.no_grad():
                blob.copy_(_values(layer, index, blob, generator, where))


def _values(
    layer: Layer, index: int, blob: Tensor, generator: torch.Generator, where: str
) -> Tensor:
    if index < len(layer.param.blobs):
        inline = torch.from_numpy(array_from_blob(layer.param.blobs[index]))
        if inline.numel() != blob.numel():
            raise NetError(
                f"{where} holds a blob of {inline.numel()} values for {tuple(blob.shape)}",
                "take the blobs out of the prototxt",
            )
        return inline.reshape(blob.shape)
    filler = _filler(layer, index)
    if filler is None:
        return torch.zeros(blob.shape)
    return filled(filler, tuple(blob.shape), generator, where)


def filled(
    filler: FillerParameter, shape: tuple[int, ...], generator: torch.Generator, where: str = ""
) -> Tensor:
    """A tensor filled by a filler, on the CPU.

    Raises:
        NetError: no such filler, or it cannot fill this shape.
    """
    if filler.type not in _FILLERS:
        raise NetError(
            f"{where}: no filler named {filler.type!r}", f"choose one of {', '.join(_FILLERS)}"
        )
    if filler.sparse != -1 and filler.type != "gaussian":
        raise NetError(f"{where}: filler {filler.type!r} is not sparse", "take a gaussian")
    try:
        return _FILLERS[filler.type](filler, torch.zeros(shape), generator)
    except ValueError as error:
        raise NetError(f"{where}: {error}", "take another filler") from error


def _filler(layer: Layer, index: int) -> FillerParameter | None:
    """Filler of a layer's blob; None leaves it 0."""
    param, kind = layer.param, layer.type
    if kind in ("Convolution", "Deconvolution"):
        return (param.convolution_param.weight_filler, param.convolution_param.bias_filler)[index]
    if kind == "InnerProduct":
        inner = param.inner_product_param
        return (inner.weight_filler, inner.bias_filler)[index]
    if kind == "Embed":
        return (param.embed_param.weight_filler, param.embed_param.bias_filler)[index]
    if kind == "PReLU":
        prelu = param.prelu_param
        return prelu.filler if prelu.HasField("filler") else FillerParameter(value=0.25)
    if kind == "Bias":
        return param.bias_param.filler
    if kind == "Scale":
        return _scale_filler(layer, index)
    return None


def _scale_filler(layer: Layer, index: int) -> FillerParameter:
    """With a second bottom for the factors, the only blob is the bias."""
    scale = layer.param.scale_param
    if index == 1 or len(layer.bottoms) > 1:
        return scale.bias_filler
    return scale.filler if scale.HasField("filler") else FillerParameter(value=1)


def _constant(filler: FillerParameter, blob: Tensor, _: torch.Generator) -> Tensor:
    return blob.fill_(filler.value)


def _uniform(filler: FillerParameter, blob: Tensor, generator: torch.Generator) -> Tensor:
    return blob.uniform_(filler.min, filler.max, generator=generator)


def _gaussian(filler: FillerParameter, blob: Tensor, generator: torch.Generator) -> Tensor:
    """`sparse` is how many inputs of an output are not 0 on average, if there are as many
    inputs as outputs; Caffe divides by the outputs."""
    values = blob.normal_(filler.mean, filler.std, generator=generator)
    if filler.sparse < 0:
        return values
    if filler.sparse > len(blob):
        raise ValueError(f"sparse {filler.sparse} for {len(blob)} outputs")
    share = torch.full_like(blob, filler.sparse / len(blob))
    return values * torch.bernoulli(share, generator=generator)


def _xavier(filler: FillerParameter, blob: Tensor, generator: torch.Generator) -> Tensor:
    bound = math.sqrt(3 / _fan(filler, blob))
    return blob.uniform_(-bound, bound, generator=generator)


def _msra(filler: FillerParameter, blob: Tensor, generator: torch.Generator) -> Tensor:
    return blob.normal_(0, math.sqrt(2 / _fan(filler, blob)), generator=generator)


def _fan(filler: FillerParameter, blob: Tensor) -> float:
    """Inputs of an output, outputs of an input, or their mean; blobs count as 4-d."""
    fan_in = blob.numel() / blob.shape[0]
    fan_out = blob.numel() / (blob.shape[1] if blob.ndim > 1 else 1)
    if filler.variance_norm == FillerParameter.AVERAGE:
        return (fan_in + fan_out) / 2
    return fan_out if filler.variance_norm == FillerParameter.FAN_OUT else fan_in


def _unit_ball(_: FillerParameter, blob: Tensor, generator: torch.Generator) -> Tensor:
    """Positive, each output's values sum to 1."""
    rows = blob.uniform_(0, 1, generator=generator).flatten(1) if blob.ndim > 1 else blob[:, None]
    return (rows / rows.sum(1, keepdim=True)).reshape(blob.shape)


def _bilinear(_: FillerParameter, blob: Tensor, __: torch.Generator) -> Tensor:
    """Weights that enlarge by interpolation, the same in every channel."""
    if blob.ndim != 4 or blob.shape[2] != blob.shape[3]:
        raise ValueError(f"filler bilinear for a blob of shape {tuple(blob.shape)}")
    size = blob.shape[3]
    factor = math.ceil(size / 2)
    centre = (2 * factor - 1 - factor % 2) / (2 * factor)
    side = [1 - abs(place / factor - centre) for place in range(size)]
    kernel = torch.tensor([y * x for y, x in product(side, side)]).reshape(size, size)
    return kernel.expand(blob.shape)


_FILLERS: dict[str, _Fill] = {
    "constant": _constant,
    "gaussian": _gaussian,
    "uniform": _uniform,
    "xavier": _xavier,
    "msra": _msra,
    "positive_unitball": _unit_ball,
    "bilinear": _bilinear,
}
