"""Depthwise convolution against PyTorch's own gradients."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402

from latenthash.engines.torch.depthwise import Depthwise, convolve  # noqa: E402

SHAPES = [  # channels, kernel, stride, pad, size
    (4, (3, 3), (1, 1), (1, 1), (8, 8)),
    (4, (3, 3), (2, 2), (1, 1), (8, 8)),
    (3, (3, 3), (2, 2), (1, 1), (7, 9)),
    (5, (5, 5), (2, 2), (2, 2), (9, 8)),
    (5, (5, 5), (1, 1), (2, 2), (6, 6)),
    (2, (4, 2), (3, 1), (0, 1), (11, 7)),
    (2, (1, 1), (2, 2), (0, 0), (5, 5)),
]


def problem(channels, kernel, size, dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(2, channels, *size, generator=generator).to(dtype)
    kernels = torch.randn(channels, 1, *kernel, generator=generator).to(dtype)
    bias = torch.randn(channels, generator=generator).to(dtype)
    return [tensor.requires_grad_() for tensor in (images, kernels, bias)]


def gradients(function, inputs):
    result = function(*inputs)
    weights = torch.arange(result.numel(), dtype=torch.float32).sin().reshape(result.shape)
    return [result, *torch.autograd.grad((result.float() * weights).sum(), inputs)]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("channels", "kernel", "stride", "pad", "size"), SHAPES)
def test_as_pytorch_does_it(channels, kernel, stride, pad, size, layout):
    inputs = problem(channels, kernel, size, torch.float64)
    inputs[0] = inputs[0].detach().contiguous(memory_format=layout).requires_grad_()

    def own(images, kernels, bias):
        return convolve(images, kernels, bias, stride, pad, (1, 1), channels)

    def reference(images, kernels, bias):
        return functional.conv2d(images, kernels, bias, stride, pad, 1, channels)

    for found, wanted in zip(gradients(own, inputs), gradients(reference, inputs), strict=True):
        assert torch.allclose(found, wanted, rtol=1e-6, atol=1e-6)  # large kernels: float32


def test_it_is_taken_where_gradients_are_wanted_and_only_there(monkeypatch):
    calls = []
    monkeypatch.setattr(Depthwise, "apply", lambda *given: calls.append(given) or given[0])
    images, kernels, _ = problem(3, (3, 3), (6, 6), torch.float32)
    settings = ((1, 1), (1, 1), (1, 1))
    convolve(images, kernels, None, *settings, 3)
    assert len(calls) == 1
    with torch.no_grad():
        convolve(images, kernels, None, *settings, 3)
    convolve(images, torch.randn(3, 3, 3, 3), None, *settings, 1)
    convolve(images, kernels, None, (1, 1), (3, 3), (1, 1), 3)  # more padding than kernel
    convolve(images, kernels, None, (1, 1), (2, 2), (2, 2), 3)  # dilated
    assert len(calls) == 1


def test_in_bfloat16_under_autocast():
    images, kernels, bias = problem(4, (5, 5), (8, 8), torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients(
            lambda *given: convolve(*given, (2, 2), (2, 2), (1, 1), 4), [images, kernels, bias]
        )
    wanted = gradients(
        lambda *given: functional.conv2d(*given, 2, 2, 1, 4), [images, kernels, bias]
    )
    assert found[0].dtype == torch.bfloat16
    for one, other in zip(found, wanted, strict=True):
        assert (one.float() - other).abs().max() <= 0.02 * other.abs().max()


def test_frozen_kernels_and_images_get_none():
    images, kernels, _ = problem(3, (3, 3), (6, 6), torch.float32)
    made = convolve(images, kernels.detach(), None, (1, 1), (1, 1), (1, 1), 3)
    assert torch.autograd.grad(made.sum(), images)[0].shape == images.shape
    made = convolve(images.detach(), kernels, None, (1, 1), (1, 1), (1, 1), 3)
    assert torch.autograd.grad(made.sum(), kernels)[0].shape == kernels.shape
