"""Layers that change every value by itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .registry import Call, operation


@operation("ReLU")
def _relu(call: Call) -> Sequence[Tensor]:
    slope = call.param.relu_param.negative_slope
    return [F.leaky_relu(call.bottom, slope) if slope else F.relu(call.bottom)]


@operation("ReLU6")
def _relu6(call: Call) -> Sequence[Tensor]:
    relu6 = call.param.relu6_param
    return [F.leaky_relu(call.bottom, relu6.negative_slope).clamp(max=relu6.threshold)]


@operation("Clip")
def _clip(call: Call) -> Sequence[Tensor]:
    clip = call.param.clip_param
    return [call.bottom.clamp(clip.min, clip.max)]


@operation("PReLU")
def _prelu(call: Call) -> Sequence[Tensor]:
    return [F.prelu(call.bottom, call.weights[0].reshape(-1))]


@operation("ELU")
def _elu(call: Call) -> Sequence[Tensor]:
    return [F.elu(call.bottom, call.param.elu_param.alpha)]


@operation("Sigmoid")
def _sigmoid(call: Call) -> Sequence[Tensor]:
    return [torch.sigmoid(call.bottom)]


@operation("TanH")
def _tanh(call: Call) -> Sequence[Tensor]:
    return [torch.tanh(call.bottom)]


@operation("AbsVal")
def _absolute(call: Call) -> Sequence[Tensor]:
    return [call.bottom.abs()]


@operation("BNLL")
def _bnll(call: Call) -> Sequence[Tensor]:
    return [F.softplus(call.bottom)]


@operation("Power")
def _power(call: Call) -> Sequence[Tensor]:
    power = call.param.power_param
    inner = call.bottom * power.scale + power.shift
    return [inner if power.power == 1 else inner.pow(power.power)]


@operation("Exp")
def _exp(call: Call) -> Sequence[Tensor]:
    """base ** (shift + scale x); base -1 stands for e."""
    exp = call.param.exp_param
    inner = call.bottom * exp.scale + exp.shift
    return [torch.exp(inner) if exp.base == -1 else torch.pow(exp.base, inner)]


@operation("Log")
def _log(call: Call) -> Sequence[Tensor]:
    """log of (shift + scale x) to a base; base -1 stands for e."""
    log = call.param.log_param
    inner = torch.log(call.bottom * log.scale + log.shift)
    return [inner if log.base == -1 else inner / torch.log(torch.tensor(log.base))]


@operation("Threshold")
def _threshold(call: Call) -> Sequence[Tensor]:
    return [(call.bottom > call.param.threshold_param.threshold).to(call.bottom.dtype)]


@operation("Dropout")
def _dropout(call: Call) -> Sequence[Tensor]:
    return [F.dropout(call.bottom, call.param.dropout_param.dropout_ratio, call.training)]
