"""Layers with weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import NetError
from ...proto.caffe_pb2 import ConvolutionParameter
from .depthwise import convolve
from .native import Pair
from .registry import Call, canonical, operation


@operation("Convolution")
def _convolution(call: Call) -> Sequence[Tensor]:
    conv = call.param.convolution_param
    _require_images(call)
    return [
        convolve(
            bottom,
            call.weights[0],
            _bias(call, conv.bias_term),
            per_axis(conv, "stride", 1),
            per_axis(conv, "pad", 0),
            per_axis(conv, "dilation", 1),
            conv.group,
        )
        for bottom in call.bottoms
    ]


@operation("Deconvolution")
def _deconvolution(call: Call) -> Sequence[Tensor]:
    conv = call.param.convolution_param
    _require_images(call)
    return [
        F.conv_transpose2d(
            bottom,
            call.weights[0],
            _bias(call, conv.bias_term),
            per_axis(conv, "stride", 1),
            per_axis(conv, "pad", 0),
            groups=conv.group,
            dilation=per_axis(conv, "dilation", 1),
        )
        for bottom in call.bottoms
    ]


def _require_images(call: Call) -> None:
    axis = canonical(call.param.convolution_param.axis, call.bottom)
    if call.bottom.ndim != 4 or axis != 1:
        raise NetError(
            f"layer {call.param.name!r} convolves a blob of shape {tuple(call.bottom.shape)} "
            f"from axis {axis} on",
            "the torch engine convolves images (N, C, H, W) only; use --engine caffe",
        )


def _bias(call: Call, has: bool) -> Tensor | None:
    return call.weights[1] if has else None


def per_axis(conv: ConvolutionParameter, what: str, default: int) -> Pair:
    """(height, width) of a setting: given once, once per axis, or as _h and _w."""
    if what != "dilation" and (conv.HasField(f"{what}_h") or conv.HasField(f"{what}_w")):
        return getattr(conv, f"{what}_h"), getattr(conv, f"{what}_w")
    values = list(getattr(conv, what)) or [default]
    return values[0], values[-1]


@operation("InnerProduct")
def _inner_product(call: Call) -> Sequence[Tensor]:
    inner = call.param.inner_product_param
    flat = call.bottom.flatten(canonical(inner.axis, call.bottom))
    weight = call.weights[0].t() if inner.transpose else call.weights[0]
    return [F.linear(flat, weight, _bias(call, inner.bias_term))]


@operation("Embed")
def _embed(call: Call) -> Sequence[Tensor]:
    top = F.embedding(call.bottom.long(), call.weights[0])
    return [top + call.weights[1] if call.param.embed_param.bias_term else top]


@operation("Parameter")
def _parameter(call: Call) -> Sequence[Tensor]:
    return [call.weights[0]]


@operation("BatchNorm")
def _batch_norm(call: Call) -> Sequence[Tensor]:
    """Normalise by the batch (training) or by the kept sums, which a factor scales."""
    norm = call.param.batch_norm_param
    mean, variance, factor = call.weights
    stored = norm.use_global_stats if norm.HasField("use_global_stats") else not call.training
    if stored:
        scale = torch.where(factor == 0, torch.zeros_like(factor), 1 / factor)
        return [F.batch_norm(call.bottom, mean * scale, variance * scale, eps=norm.eps)]
    # kept by PyTorch for the next batch alone: this one's mean and unbiased variance
    found = torch.zeros_like(mean), torch.ones_like(variance)
    top = F.batch_norm(call.bottom, *found, training=True, momentum=1.0, eps=norm.eps)
    with torch.no_grad():
        for own, value in ((factor, 1.0), (mean, found[0]), (variance, found[1])):
            own.mul_(norm.moving_average_fraction).add_(value)
    return [top]


@operation("Scale")
def _scale(call: Call) -> Sequence[Tensor]:
    scale = call.param.scale_param
    learned = len(call.bottoms) == 1
    factor = call.weights[0] if learned else call.bottoms[1]
    top = call.bottom * _spread(factor, call.bottom, scale.axis)
    if not scale.bias_term:
        return [top]
    return [top + _spread(call.weights[1 if learned else 0], call.bottom, scale.axis)]


@operation("Bias")
def _bias_layer(call: Call) -> Sequence[Tensor]:
    bias = call.weights[0] if len(call.bottoms) == 1 else call.bottoms[1]
    return [call.bottom + _spread(bias, call.bottom, call.param.bias_param.axis)]


def _spread(values: Tensor, like: Tensor, axis: int) -> Tensor:
    """`values` with axes added so that they lie along `like` from `axis` on, of its type."""
    start = canonical(axis, like)
    rest = like.ndim - start - values.ndim
    return values.reshape(*values.shape, *[1] * rest).to(like.dtype)
