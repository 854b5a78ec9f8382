"""Layers that join, part and reorder blobs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import pairwise

import torch
from torch import Tensor

from ...proto.caffe_pb2 import EltwiseParameter, ReductionParameter
from .registry import Call, canonical, operation


@operation("Concat")
def _concat(call: Call) -> Sequence[Tensor]:
    concat = call.param.concat_param
    axis = concat.concat_dim if concat.HasField("concat_dim") else concat.axis
    return [torch.cat(list(call.bottoms), canonical(axis, call.bottom))]


@operation("Slice")
def _slice(call: Call) -> Sequence[Tensor]:
    setting, tops = call.param.slice_param, len(call.param.top)
    axis = setting.slice_dim if setting.HasField("slice_dim") else setting.axis
    size = call.bottom.shape[canonical(axis, call.bottom)]
    ends = [0, *setting.slice_point, size] if setting.slice_point else None
    sizes = [b - a for a, b in pairwise(ends)] if ends else [size // tops] * tops
    return torch.split(call.bottom, sizes, canonical(axis, call.bottom))


@operation("Split")
def _split(call: Call) -> Sequence[Tensor]:
    return [call.bottom] * len(call.param.top)


@operation("Silence")
def _silence(call: Call) -> Sequence[Tensor]:
    return []


@operation("Eltwise")
def _eltwise(call: Call) -> Sequence[Tensor]:
    eltwise = call.param.eltwise_param
    if eltwise.operation == EltwiseParameter.PROD:
        return [reduce(torch.mul, call.bottoms)]
    if eltwise.operation == EltwiseParameter.MAX:
        return [reduce(torch.maximum, call.bottoms)]
    factors = eltwise.coeff or [1.0] * len(call.bottoms)
    scaled = [b if f == 1 else b * f for b, f in zip(call.bottoms, factors, strict=True)]
    return [reduce(torch.add, scaled)]


@operation("Flatten")
def _flatten(call: Call) -> Sequence[Tensor]:
    flatten = call.param.flatten_param
    start = canonical(flatten.axis, call.bottom)
    return [call.bottom.flatten(start, canonical(flatten.end_axis, call.bottom))]


@operation("Reshape")
def _reshape(call: Call) -> Sequence[Tensor]:
    """0 copies an axis of the bottom, -1 takes what is left."""
    setting, shape = call.param.reshape_param, list(call.bottom.shape)
    start = setting.axis if setting.axis >= 0 else len(shape) + setting.axis + 1
    end = len(shape) if setting.num_axes == -1 else start + setting.num_axes
    dims = [dim or shape[start + i] for i, dim in enumerate(setting.shape.dim)]
    return [call.bottom.reshape([*shape[:start], *dims, *shape[end:]])]


@operation("Tile")
def _tile(call: Call) -> Sequence[Tensor]:
    tile = call.param.tile_param
    times = [1] * call.bottom.ndim
    times[canonical(tile.axis, call.bottom)] = tile.tiles
    return [call.bottom.repeat(times)]


@operation("Reduction")
def _reduction(call: Call) -> Sequence[Tensor]:
    setting = call.param.reduction_param
    axis = canonical(setting.axis, call.bottom)
    flat = call.bottom.reshape(*call.bottom.shape[:axis], -1)
    reduced = {
        ReductionParameter.SUM: lambda: flat.sum(-1),
        ReductionParameter.ASUM: lambda: flat.abs().sum(-1),
        ReductionParameter.SUMSQ: lambda: flat.square().sum(-1),
        ReductionParameter.MEAN: lambda: flat.mean(-1),
    }[setting.operation]()
    return [reduced * setting.coeff]


@operation("Crop")
def _crop(call: Call) -> Sequence[Tensor]:
    data, like = call.bottoms
    crop = call.param.crop_param
    start = canonical(crop.axis, data)
    given = list(crop.offset) or [0]
    for axis in range(start, data.ndim):
        offset = given[axis - start] if len(given) > 1 else given[0]
        data = data.narrow(axis, offset, like.shape[axis])
    return [data]
