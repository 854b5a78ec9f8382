"""Layers that look at neighbours: pooling and response normalisation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import NetError
from ...proto.caffe_pb2 import LRNParameter, PoolingParameter
from .registry import Call, operation

Pair = tuple[int, int]


@operation("Pooling")
def _pooling(call: Call) -> Sequence[Tensor]:
    """Windows and divisors are Caffe's: a window is clipped at the padding's end.

    PyTorch's pooling with `ceil_mode` follows the same rule, and its average divides by
    the clipped window, padding included.
    """
    pool = call.param.pooling_param
    if pool.pool == PoolingParameter.STOCHASTIC or len(call.param.top) > 1:
        raise NetError(
            f"layer {call.param.name!r} pools at random or tells where its maxima are",
            "the torch engine has no such pooling; use --engine caffe",
        )
    average = pool.pool == PoolingParameter.AVE
    if pool.global_pooling:
        return [(call.bottom.mean if average else call.bottom.amax)((2, 3), keepdim=True)]
    kernel, stride, pad = _pair(pool, "kernel"), _pair(pool, "stride"), _pair(pool, "pad")
    function = F.avg_pool2d if average else F.max_pool2d
    return [function(call.bottom, kernel, stride, pad, ceil_mode=pool.ceil_mode)]


def _pair(pool: PoolingParameter, what: str) -> Pair:
    """(height, width) of a setting that is given once or per axis."""
    if pool.HasField(f"{what}_h") and pool.HasField(f"{what}_w"):
        return getattr(pool, f"{what}_h"), getattr(pool, f"{what}_w")
    one = pool.kernel_size if what == "kernel" else getattr(pool, what)
    return one, one


@operation("LRN")
def _normalise(call: Call) -> Sequence[Tensor]:
    lrn = call.param.lrn_param
    x = call.bottom
    if lrn.norm_region == LRNParameter.WITHIN_CHANNEL:
        near = F.avg_pool2d(x * x, lrn.local_size, 1, (lrn.local_size - 1) // 2, ceil_mode=True)
        return [x * (1 + lrn.alpha * near).pow(-lrn.beta)]
    near = _over_channels(x * x, lrn.local_size)
    return [x * (lrn.k + lrn.alpha / lrn.local_size * near).pow(-lrn.beta)]


def _over_channels(x: Tensor, size: int) -> Tensor:
    """Sums over `size` neighbouring channels: as a convolution, two times faster than pooling."""
    number = torch.arange(x.shape[1], device=x.device)
    band = (number[:, None] - number).abs() <= (size - 1) // 2
    return F.conv2d(x, band[:, :, None, None].to(x.dtype))


@operation("MVN")
def _mean_variance(call: Call) -> Sequence[Tensor]:
    """Mean, and unless told not to the variance, taken out of each map or image."""
    mvn = call.param.mvn_param
    axes = tuple(range(1 if mvn.across_channels else 2, call.bottom.ndim))
    centred = call.bottom - call.bottom.mean(axes, keepdim=True)
    if not mvn.normalize_variance:
        return [centred]
    spread = torch.sqrt((centred * centred).mean(axes, keepdim=True))
    return [centred / (spread + mvn.eps)]
