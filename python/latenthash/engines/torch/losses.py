"""Losses and measures, normalised as Caffe does it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...proto.caffe_pb2 import LossParameter
from .registry import Call, canonical, operation


@operation("Softmax")
def _softmax(call: Call) -> Sequence[Tensor]:
    return [F.softmax(call.bottom, canonical(call.param.softmax_param.axis, call.bottom))]


@operation("SoftmaxWithLoss")
def _softmax_with_loss(call: Call) -> Sequence[Tensor]:
    scores, labels = call.bottoms[:2]
    axis = canonical(call.param.softmax_param.axis, scores)
    loss = call.param.loss_param
    targets = labels.long().reshape(*scores.shape[:axis], *scores.shape[axis + 1 :])
    logs = F.log_softmax(scores, axis)
    valid = _valid(targets, loss)
    picked = logs.gather(axis, (targets * valid).unsqueeze(axis)).squeeze(axis)
    total = -(picked * valid).sum()
    outer = scores.shape[:axis].numel()
    divisor = _divisor(_mode(loss), outer, targets.numel(), valid)
    return [total / divisor, logs.exp()]


@operation("SigmoidCrossEntropyLoss")
def _sigmoid_loss(call: Call) -> Sequence[Tensor]:
    scores, targets = call.bottoms
    loss = call.param.loss_param
    targets = targets.detach().reshape(scores.shape)  # as in Caffe, no gradient goes there
    valid = _valid(targets, loss)
    total = (F.binary_cross_entropy_with_logits(scores, targets, reduction="none") * valid).sum()
    # what is said nowhere is BATCH_SIZE here, unlike in SoftmaxWithLoss
    said = loss.HasField("normalization") or loss.HasField("normalize")
    mode = _mode(loss) if said else LossParameter.BATCH_SIZE
    divisor = _divisor(mode, scores.shape[0], targets.numel(), valid)
    return [total / divisor, torch.sigmoid(scores)]


@operation("EuclideanLoss")
def _euclidean_loss(call: Call) -> Sequence[Tensor]:
    first, second = call.bottoms
    difference = first - second.reshape(first.shape)
    return [difference.square().sum() / first.shape[0] / 2, difference]


def _valid(targets: Tensor, loss: LossParameter) -> Tensor:
    """Where a target counts."""
    if not loss.HasField("ignore_label"):
        return torch.ones_like(targets, dtype=torch.bool)
    return targets != loss.ignore_label


def _mode(loss: LossParameter) -> LossParameter.NormalizationMode:
    """How a loss is normalised; `normalize` is the old way to say it."""
    if not loss.HasField("normalization") and loss.HasField("normalize"):
        return LossParameter.VALID if loss.normalize else LossParameter.BATCH_SIZE
    return loss.normalization


def _divisor(
    mode: LossParameter.NormalizationMode, batch: int, count: int, valid: Tensor
) -> Tensor | int:
    """At least 1, so that a batch of ignored labels has a loss of 0."""
    if mode == LossParameter.FULL:
        return max(1, count)
    if mode == LossParameter.VALID:
        return valid.sum().clamp(min=1)
    return max(1, batch) if mode == LossParameter.BATCH_SIZE else 1


@operation("Accuracy")
def _accuracy(call: Call) -> Sequence[Tensor]:
    """Share of the labels whose score is among the `top_k`; a tie counts against it."""
    scores, labels = call.bottoms
    setting = call.param.accuracy_param
    axis = canonical(setting.axis, scores)
    targets = labels.long().reshape(*scores.shape[:axis], 1, *scores.shape[axis + 1 :])
    valid = torch.ones_like(targets, dtype=torch.bool)
    if setting.HasField("ignore_label"):
        valid = targets != setting.ignore_label
    targets = targets * valid
    own = scores.gather(axis, targets)
    better = (scores >= own).sum(axis, keepdim=True) - 1
    right = (better < setting.top_k) & valid
    share = (right.sum() / valid.sum().clamp(min=1)).float()
    if len(call.param.top) == 1:
        return [share]
    return [share, _by_class(right, targets, valid, scores.shape[axis])]


def _by_class(right: Tensor, targets: Tensor, valid: Tensor, classes: int) -> Tensor:
    """(classes,) share of right answers among those of each class; 0 where there is none."""
    flat = targets[valid]
    counts = torch.bincount(flat, minlength=classes)
    hits = torch.bincount(flat, weights=right[valid].double(), minlength=classes)
    return (hits / counts.clamp(min=1)).float()


@operation("ArgMax")
def _argmax(call: Call) -> Sequence[Tensor]:
    """The largest values' places, or places and values, or values along an axis."""
    setting = call.param.argmax_param
    if setting.HasField("axis"):
        values, places = call.bottom.topk(setting.top_k, canonical(setting.axis, call.bottom))
        return [values if setting.out_max_val else places.to(values.dtype)]
    values, places = call.bottom.flatten(1).topk(setting.top_k)
    found = [places.to(values.dtype), values] if setting.out_max_val else [places.to(values.dtype)]
    shape = (len(values), len(found), setting.top_k, *[1] * (call.bottom.ndim - 3))
    return [torch.stack(found, 1).reshape(shape)]
