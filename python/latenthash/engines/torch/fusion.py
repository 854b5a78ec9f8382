"""Layers that PyTorch does in one step where Caffe needs several.

- ReLU, 6 - x, ReLU, 6 - x, as nets write ReLU6 for every Caffe: one clamp. It also spares
  half precision the differences, which would leave it steps of 1/32 near 6.
- BatchNorm and the Scale after it, with a ReLU or ReLU6 behind them: one normalisation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from ...netdef import Layer
from .native import Limits
from .normalisation import UNLIMITED, normalise_batch, within
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
    return lambda call: [within(call.bottom, (0.0, limit))]


def _normalise(run: Sequence[Layer], blobs: Blobs) -> Operation | None:
    """BatchNorm and a Scale with a factor and a shift for each channel."""
    return _normalised(run, blobs, UNLIMITED)


def _normalise_and_rectify(run: Sequence[Layer], blobs: Blobs) -> Operation | None:
    """BatchNorm, Scale and ReLU."""
    if run[2].type != "ReLU" or run[2].param.relu_param.negative_slope:
        return None
    return _normalised(run[:2], blobs, (0.0, math.inf))


def _normalise_and_clamp(run: Sequence[Layer], blobs: Blobs) -> Operation | None:
    """BatchNorm, Scale and the layers of a clamp."""
    if _clamp(run[2:], blobs) is None:
        return None
    return _normalised(run[:2], blobs, (0.0, run[3].param.power_param.shift))


def _normalised(run: Sequence[Layer], blobs: Blobs, limits: Limits) -> Operation | None:
    if [layer.type for layer in run] != ["BatchNorm", "Scale"]:
        return None
    scale = run[1].param.scale_param
    if not scale.bias_term or (scale.axis, scale.num_axes) != (1, 1):
        return None

    def operation(call: Call) -> Sequence[Tensor]:
        factor, shift = blobs[run[1].name]
        return [_normalise_call(call, factor, shift, limits)]

    return operation


def _normalise_call(call: Call, factor: Tensor, shift: Tensor, limits: Limits) -> Tensor:
    norm, x = call.param.batch_norm_param, call.bottom
    mean, variance, seen = call.weights
    stored = norm.use_global_stats if norm.HasField("use_global_stats") else not call.training
    if stored:
        times = torch.where(seen == 0, torch.zeros_like(seen), 1 / seen)
        top = F.batch_norm(x, mean * times, variance * times, factor, shift, eps=norm.eps)
        return within(top, limits)
    batch = normalise_batch(x, factor, shift, norm.eps, limits)
    with torch.no_grad():
        for kept, new in ((seen, 1), (mean, batch.mean), (variance, batch.variance)):
            kept.mul_(norm.moving_average_fraction).add_(new)
    return batch.top


_Merge = Callable[[Sequence[Layer], Blobs], Operation | None]
_MERGES: tuple[tuple[int, _Merge], ...] = (
    (6, _normalise_and_clamp),
    (4, _clamp),
    (3, _normalise_and_rectify),
    (2, _normalise),
)
