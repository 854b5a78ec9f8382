"""Normalisation of a batch by channel, with limits of its result: what trains most nets.

Our kernels read and write each blob as few times as it needs; PyTorch's steps do more, with a
step for the limits besides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from . import native
from .native import Limits

Found = tuple[Tensor, Tensor, Tensor]
UNLIMITED = (float("-inf"), float("inf"))


@dataclass(frozen=True)
class Batch:
    """A batch normalised, and its mean and unbiased variance (C,) by channel."""

    top: Tensor
    mean: Tensor
    variance: Tensor


class _Normalised(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, factor: Tensor, shift: Tensor, eps: float, limits: Limits
    ) -> Found:
        count = x.numel() // x.shape[1]
        centre = x[0, :, 0, 0].float().contiguous()
        about, squares = native.moments(x, centre) / count
        variance = (squares - about**2).clamp(min=0)
        mean, inverse = (centre + about).float(), (variance + eps).rsqrt().float()
        times = factor * inverse
        plus = shift - mean * times
        ctx.save_for_backward(x, mean, inverse, times, plus)
        ctx.limits = limits
        unbiased = (variance * (count / max(count - 1, 1))).float()
        ctx.mark_non_differentiable(mean, unbiased)
        return native.normalise(x, times, plus, limits), mean, unbiased

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, inverse, times, plus = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        sums = native.gradient_sums(x, gradient, times, plus, mean, ctx.limits)
        of_shift, product = sums.float()
        count = x.numel() // x.shape[1]
        by_x = -times * inverse**2 * product / count
        constant = -times * of_shift / count - by_x * mean
        values = (times, plus, times, by_x, constant)
        of_x = native.normalise_back(x, gradient, values, ctx.limits)
        return of_x, product * inverse, of_shift, None, None


def normalise_batch(
    x: Tensor, factor: Tensor, shift: Tensor, eps: float, limits: Limits = UNLIMITED
) -> Batch:
    """A batch to mean 0 and variance 1 for each channel, times factor, plus shift, in limits.

    Args:
        x: (N, C, ...) of any floating type.
        factor: (C,) float32.
        shift: (C,) float32.
        eps: added to the variance.
        limits: least and most of the result; beyond them there is no gradient.
    """
    if native.fits(x):
        found = cast(
            tuple[Tensor, Tensor, Tensor], _Normalised.apply(x, factor, shift, eps, limits)
        )
        return Batch(*found)
    mean, variance = torch.zeros_like(factor), torch.zeros_like(factor)
    top = torch.batch_norm(x, factor, shift, mean, variance, True, 1.0, eps, True)
    if x.numel() == x.shape[1]:
        variance.zero_()  # one value has no spread; PyTorch divides by none
    return Batch(within(top, limits), mean, variance)


def within(x: Tensor, limits: Limits) -> Tensor:
    """x in its limits, no gradient at and beyond them."""
    return x if limits == UNLIMITED else F.hardtanh(x, *limits)
