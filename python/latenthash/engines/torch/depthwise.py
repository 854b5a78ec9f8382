"""Depthwise convolution whose gradients are fast on CPUs.

Our kernels compute them, where they fit. Where not, in bfloat16, oneDNN computes the gradient
of a strided depthwise convolution, and of large kernels, many times slower than the convolution
itself; the gradient of the image is a convolution too, and that of a large kernel is faster in
float32.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from . import native
from .native import Pair

_SMALL = 9  # values of a kernel whose gradient is fast in bfloat16


class Depthwise(torch.autograd.Function):
    """Convolution with a kernel (C, 1, kh, kw) of its own for each channel, no bias."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, kernels: Tensor, stride: Pair, pad: Pair) -> Tensor:
        """(N, C, H', W') of the images' type."""
        ctx.save_for_backward(images, kernels)
        ctx.stride, ctx.pad = stride, pad
        own = kernels.to(images.dtype)
        return functional.conv2d(images, own, None, stride, pad, 1, len(kernels))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the images and the kernels."""
        images, kernels = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        ours = native.convolves(gradient, images)
        of_images = native.image_gradients if ours else _of_images
        of_kernels = native.kernel_gradients if ours else _of_kernels
        needed = zip(ctx.needs_input_grad, (of_images, of_kernels), strict=False)
        found = [
            function(gradient, images, kernels, ctx.stride, ctx.pad) if wanted else None
            for wanted, function in needed
        ]
        return *found, None, None


def convolve(
    images: Tensor,
    kernels: Tensor,
    bias: Tensor | None,
    stride: Pair,
    pad: Pair,
    dilation: Pair,
    group: int,
) -> Tensor:
    """Any convolution, a depthwise one that has gradients on a CPU by `Depthwise`."""
    if not (
        torch.is_grad_enabled()
        and images.device.type == "cpu"
        and group == images.shape[1] == len(kernels)
        and dilation == (1, 1)
        and all(p < size for p, size in zip(pad, kernels.shape[2:], strict=True))
    ):
        return functional.conv2d(images, kernels, bias, stride, pad, dilation, group)
    if torch.is_autocast_enabled("cpu"):  # which knows the library's own operations only
        images = images.to(torch.get_autocast_dtype("cpu"))
    convolved = cast(Tensor, Depthwise.apply(images, kernels, stride, pad))
    return convolved if bias is None else convolved + bias.to(convolved.dtype)[:, None, None]


def _of_images(
    gradient: Tensor, images: Tensor, kernels: Tensor, stride: Pair, pad: Pair
) -> Tensor:
    """The turned kernels over the gradient, spread out by the stride."""
    height, width = kernels.shape[2:]
    if stride != (1, 1):
        size = (
            images.shape[2] + 2 * pad[0] - height + 1,
            images.shape[3] + 2 * pad[1] - width + 1,
        )
        spread = torch.empty(
            (*images.shape[:2], *size), dtype=gradient.dtype, memory_format=torch.channels_last
        )
        spread.zero_()[:, :, :: stride[0], :: stride[1]] = gradient
        gradient = spread
    around = (height - 1 - pad[0], width - 1 - pad[1])
    turned = kernels.flip(2, 3).to(gradient.dtype)
    return functional.conv2d(gradient, turned, None, 1, around, 1, len(kernels))


def _of_kernels(
    gradient: Tensor, images: Tensor, kernels: Tensor, stride: Pair, pad: Pair
) -> Tensor:
    if kernels[0].numel() > _SMALL:
        gradient, images = gradient.float(), images.float()
    _, found, _ = torch.ops.aten.convolution_backward(
        gradient, images, kernels.to(images.dtype), None, stride, pad, (1, 1), False, (0, 0),
        len(kernels), (False, True, False),
    )  # fmt: skip
    return found.to(kernels.dtype)
