"""Our compiled kernels of training on PyTorch's blobs."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from ctypes import c_uint, c_void_p
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from ...kernels import blobs
from ...kernels.blobs import DepthwiseInput, NormaliseInput

Pair = tuple[int, int]
Limits = tuple[float, float]
_TYPES = {torch.float32: blobs.FLOAT32, torch.bfloat16: blobs.BFLOAT16}


def fits(*given: Tensor) -> bool:
    """Whether the kernels take such blobs (N, C, H, W), all of one type."""
    return blobs.available() and all(
        blob.device.type == "cpu"
        and blob.dtype == given[0].dtype
        and blob.dtype in _TYPES
        and blob.ndim == 4
        and blob.shape[1] % blobs.LINE == 0
        and blob.numel() > 0
        and blob.is_contiguous(memory_format=torch.channels_last)
        for blob in given
    )


def convolves(gradient: Tensor, images: Tensor) -> bool:
    """Whether the gradients of this depthwise convolution can be had here."""
    return fits(gradient, images) and images.shape[3] <= blobs.WIDEST


def kernel_gradients(
    gradient: Tensor, images: Tensor, kernels: Tensor, stride: Pair, pad: Pair
) -> Tensor:
    """Of a depthwise convolution's kernels (C, 1, kh, kw)."""
    given = _depthwise(gradient, images, kernels, stride, pad)
    channels, _, height, width = kernels.shape
    sums = torch.zeros((len(images), height * width, channels))
    _call("lh_kernel_gradients", given, sums)
    return sums.sum(0).t().reshape(kernels.shape).to(kernels.dtype)


def image_gradients(
    gradient: Tensor, images: Tensor, kernels: Tensor, stride: Pair, pad: Pair
) -> Tensor:
    """Of a depthwise convolution's images (N, C, H, W)."""
    given = _depthwise(gradient, images, kernels, stride, pad)
    values = kernels.detach().to(images.dtype).float().flatten(1).t().contiguous()
    given.kernels = values.data_ptr()
    found = torch.empty_like(images)
    _call("lh_image_gradients", given, found)
    return found


def _depthwise(
    gradient: Tensor, images: Tensor, kernels: Tensor, stride: Pair, pad: Pair
) -> DepthwiseInput:
    count, channels, height, width = images.shape
    _, _, *outputs = gradient.shape
    _, _, *kernel = kernels.shape
    room = max(width + 2 * pad[1], (outputs[1] - 1) * stride[1] + kernel[1])
    return DepthwiseInput(
        images.data_ptr(), gradient.data_ptr(), None, _TYPES[images.dtype], count, channels,
        (height, width), tuple(outputs), tuple(kernel), stride, pad, room,
    )  # fmt: skip


def moments(blob: Tensor, centre: Tensor) -> Tensor:
    """(2, C) float64: sums of each channel less its centre (C,) float32, and of the squares."""
    return _sums("lh_moments", _normalise(blob, None, [centre] * 3, (0, 0)))


def normalise(blob: Tensor, factor: Tensor, shift: Tensor, limits: Limits) -> Tensor:
    """factor * blob + shift, with one factor and shift for each channel, within limits."""
    found = torch.empty_like(blob)
    _call("lh_normalise", _normalise(blob, None, [factor, shift], limits), found)
    return found


def gradient_sums(
    blob: Tensor, gradient: Tensor, factor: Tensor, shift: Tensor, mean: Tensor, limits: Limits
) -> Tensor:
    """(2, C) float64: sums of the gradient that the limits of `normalise` let pass, and of its
    product with the blob less its mean."""
    given = _normalise(blob, gradient, [factor, shift, mean], limits)
    return _sums("lh_normalise_sums", given)


def normalise_back(
    blob: Tensor, gradient: Tensor, values: Sequence[Tensor], limits: Limits
) -> Tensor:
    """values[2] * the gradient that the limits let pass + values[3] * blob + values[4]."""
    found = torch.empty_like(blob)
    _call("lh_normalise_back", _normalise(blob, gradient, values, limits), found)
    return found


def _normalise(
    blob: Tensor, gradient: Tensor | None, values: Sequence[Tensor], limits: Limits
) -> NormaliseInput:
    channels = blob.shape[1]
    addresses = [value.data_ptr() for value in values] + [None] * (5 - len(values))
    return NormaliseInput(
        blob.data_ptr(), None if gradient is None else gradient.data_ptr(), _TYPES[blob.dtype],
        blob.numel() // channels, channels, tuple(addresses), *limits,
    )  # fmt: skip


def _sums(name: str, given: NormaliseInput) -> Tensor:
    pieces = torch.zeros((blobs.PIECES, 2, given.channels), dtype=torch.float64)
    _call(name, given, pieces)
    return pieces.sum(0)


def _call(name: str, given: DepthwiseInput | NormaliseInput, out: Tensor) -> None:
    blobs.call(name, given, out.data_ptr(), torch.get_num_threads(), _team())


@cache
def _team() -> blobs.Team | None:
    """The threads that PyTorch's own operations run on: still awake from the one before."""
    found = Path(torch.__file__).parent.glob("lib/libgomp*.so*")
    for name in (*map(str, found), "libgomp.so.1"):
        try:
            parallel = ctypes.CDLL(name, mode=getattr(os, "RTLD_NOLOAD", 0)).GOMP_parallel
        except (OSError, AttributeError):  # another OpenMP, or none
            continue
        parallel.argtypes = [c_void_p, c_void_p, c_uint, c_uint]
        parallel.restype = None
        return lambda work, task, threads: parallel(work, ctypes.byref(task), threads, 0)
    return None
