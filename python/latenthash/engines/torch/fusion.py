"""Layers that PyTorch does in one step where Caffe needs several.

- ReLU, 6 - x, ReLU, 6 - x, as nets write ReLU6 for every Caffe: one clamp. It also spares
  half precision the differences, which would leave it steps of 1/32 near 6.
- BatchNorm and the Scale after it: one normalisation, which reads the batch once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from ...netdef import Layer
from .registry import Call, Operation

Step = tuple[Layer, Operation]
Blobs = Mapping[str, Sequence[Tensor]]


def fuse(steps: Sequence[Step], blobs: Blobs, keep: Collection[str] | None = None) -> list[Step]:
    """A shorter list of steps with the same results and gradients.

    Args:
        steps: layers in order.
        blobs: weights by layer; they are looked up at each call.
        keep: blobs that may be asked for; None: all of them, so that only layers in place
            go. A blob inside a fused run, as it was between two of its layers, is gone.
    """
    fused: list[Step] = []
    start = 0
    while start < len(steps):
        count, step = 1, steps[start]
        for length, merge in _MERGES:
            run = [layer for layer, _ in steps[start : start + length]]
            if len(run) == length and _chained(run) and _hidden(run, steps[start + length :], keep):
                operation = merge(run, blobs)
                if operation is not None:
                    count, step = length, (_spanning(run), operation)
                    break
        fused.append(step)
        start += count
    return fused


def _chained(run: Sequence[Layer]) -> bool:
    """Whether each layer reads what the one before makes, with nothing else about it."""
    plain = all(
        len(layer.bottoms) == len(layer.tops) == 1
        and not layer.param.loss_weight
        and not layer.param.propagate_down
        for layer in run
    )
    return plain and all(a.tops == b.bottoms for a, b in pairwise(run))


def _hidden(run: Sequence[Layer], later: Sequence[Step], keep: Collection[str] | None) -> bool:
    """Whether nobody sees the blobs between the layers."""
    inner = {layer.tops[0] for layer in run} - {run[-1].tops[0]}
    if keep is None:
        return not inner
    read = {name for layer, _ in later for name in layer.bottoms}
    return inner.isdisjoint(keep) and inner.isdisjoint(read)


def _spanning(run: Sequence[Layer]) -> Layer:
    """The first layer, with the last one's tops."""
    first = run[0]
    return Layer(first.name, first.type, first.bottoms, run[-1].tops, first.param)


def _clamp(run: Sequence[Layer], blobs: Blobs) -> Operation | None:
    """ReLU, limit - x, ReLU, limit - x."""
    if [layer.type for layer in run] != ["ReLU", "Power", "ReLU", "Power"]:
        return None
    slopes = [layer.param.relu_param.negative_slope for layer in run[::2]]
    powers = [layer.param.power_param for layer in run[1::2]]
    limit = powers[0].shift
    flips = [(p.power, p.scale, p.shift) == (1, -1, limit) for p in powers]
    if any(slopes) or not all(flips) or limit <= 0:
        return None
    return lambda call: [F.hardtanh(call.bottom, 0.0, limit)]  # no gradient at 0 and at limit


def _normalise(run: Sequence[Layer], blobs: Blobs) -> Operation | None:
    """BatchNorm and a Scale with a factor and a shift for each channel."""
    if [layer.type for layer in run] != ["BatchNorm", "Scale"]:
        return None
    scale = run[1].param.scale_param
    if not scale.bias_term or (scale.axis, scale.num_axes) != (1, 1):
        return None

    def operation(call: Call) -> Sequence[Tensor]:
        factor, shift = blobs[run[1].name]
        return [_normalised(call, factor, shift)]

    return operation


def _normalised(call: Call, factor: Tensor, shift: Tensor) -> Tensor:
    norm, x = call.param.batch_norm_param, call.bottom
    mean, variance, seen = call.weights
    stored = norm.use_global_stats if norm.HasField("use_global_stats") else not call.training
    if stored:
        times = torch.where(seen == 0, torch.zeros_like(seen), 1 / seen)
        return F.batch_norm(x, mean * times, variance * times, factor, shift, eps=norm.eps)
    now, spread = torch.zeros_like(mean), torch.zeros_like(variance)
    top = torch.batch_norm(x, factor, shift, now, spread, True, 1.0, norm.eps, True)
    if x.numel() == x.shape[1]:
        spread.zero_()  # one value has no spread; PyTorch divides by none
    with torch.no_grad():
        for kept, new in ((seen, 1), (mean, now), (variance, spread)):
            kept.mul_(norm.moving_average_fraction).add_(new)
    return top


_Merge = Callable[[Sequence[Layer], Blobs], Operation | None]
_MERGES: tuple[tuple[int, _Merge], ...] = ((4, _clamp), (2, _normalise))
