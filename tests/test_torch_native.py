"""Gradients by our compiled kernels against PyTorch's own in double precision."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402
from torch.nn import functional  # noqa: E402

from latenthash.engines.torch import native  # noqa: E402
from latenthash.engines.torch.depthwise import convolve  # noqa: E402
from latenthash.engines.torch.normalisation import UNLIMITED, normalise_batch  # noqa: E402

SHAPES = [  # channels, kernel, stride, pad, size
    (16, (3, 3), (1, 1), (1, 1), (8, 8)),
    (32, (3, 3), (2, 2), (1, 1), (8, 8)),
    (48, (3, 3), (2, 2), (1, 1), (7, 9)),
    (80, (5, 5), (2, 2), (2, 2), (9, 8)),
    (48, (5, 5), (1, 1), (2, 2), (6, 6)),
    (32, (5, 5), (1, 1), (2, 2), (1, 2)),  # kernels larger than the image
    (16, (3, 3), (1, 1), (0, 2), (5, 4)),
    (32, (4, 2), (3, 1), (0, 1), (11, 7)),
    (16, (7, 7), (2, 3), (3, 1), (10, 11)),
    (16, (9, 8), (1, 1), (4, 7), (10, 11)),
    (16, (1, 1), (2, 2), (0, 0), (5, 5)),
]
ROUNDED = {torch.float32: 2e-6, torch.bfloat16: 8e-3}  # of the largest value


@pytest.fixture(params=ROUNDED, ids=["float32", "bfloat16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


def random(*shape: int, seed: int = 0) -> Tensor:
    """Values that bfloat16 has too, channels innermost."""
    found = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).bfloat16().float()
    return found.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else found


def gradients(function, inputs: list[Tensor]) -> list[Tensor]:
    """The result, and gradients of a sum of it with weights that bfloat16 has."""
    inputs = [tensor.detach().requires_grad_() for tensor in inputs]
    result = function(*inputs)
    found = torch.autograd.grad(result, inputs, random(*result.shape, seed=9).to(result.dtype))
    return [result, *found]


def assert_close(found: list[Tensor], wanted: list[Tensor], dtype: torch.dtype) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        assert (one.double() - other).abs().max() <= ROUNDED[dtype] * other.abs().max()


@pytest.mark.usefixtures("level")
@pytest.mark.parametrize(("channels", "kernel", "stride", "pad", "size"), SHAPES)
def test_depthwise_convolutions(channels, kernel, stride, pad, size, dtype) -> None:
    images, kernels = random(3, channels, *size), random(channels, 1, *kernel, seed=1)
    found = gradients(
        lambda x, w: convolve(x, w, None, stride, pad, (1, 1), channels),
        [images.to(dtype), kernels.to(dtype)],
    )
    wanted = gradients(
        lambda x, w: functional.conv2d(x, w, None, stride, pad, 1, channels),
        [images.double(), kernels.double()],
    )
    assert_close(found, wanted, dtype)


@pytest.mark.usefixtures("level")
@pytest.mark.parametrize("limits", [UNLIMITED, (0.0, 6.0), (0.0, float("inf"))])
@pytest.mark.parametrize("shape", [(5, 16, 4, 3), (40, 48, 9, 8), (2, 80, 1, 1), (300, 32, 1, 1)])
def test_batches_are_normalised(shape, limits, dtype) -> None:
    x = random(*shape) * 3 + 2
    factor, shift = random(shape[1], seed=2) + 2, random(shape[1], seed=3)
    batch = normalise_batch(x.to(dtype), factor, shift, 0.01, limits)
    seen = x.to(dtype).double()
    for found, wanted in (
        (batch.mean, seen.mean((0, 2, 3))),
        (batch.variance, seen.var((0, 2, 3))),
    ):
        torch.testing.assert_close(found.double(), wanted, rtol=3e-5, atol=1e-6)

    def reference(x: Tensor, factor: Tensor, shift: Tensor) -> Tensor:
        top = functional.batch_norm(x, None, None, factor, shift, True, eps=0.01)
        return top if limits == UNLIMITED else functional.hardtanh(top, *limits)

    inputs = [x.to(dtype), factor, shift]
    found = gradients(lambda *given: normalise_batch(*given, 0.01, limits).top, inputs)
    wanted = gradients(reference, [tensor.double() for tensor in inputs])
    assert_close(found[:1], wanted[:1], dtype)
    if dtype == torch.float32:  # else a value at a limit may lie on its other side
        assert_close(found[1:], wanted[1:], dtype)


def test_a_mean_far_from_zero_costs_no_digits(level: str) -> None:
    x = random(8, 16, 5, 5) + 3000
    batch = normalise_batch(x, torch.ones(16), torch.zeros(16), 1e-9)
    wanted = functional.batch_norm(x.double(), None, None, None, None, True, eps=1e-9)
    by_pytorch = level == "numpy"  # whose sums of float32 round, one way or the other
    assert (batch.top - wanted).abs().max() < (1e-2 if by_pytorch else 1e-3)
    variance = x.double().var((0, 2, 3))
    rounded = 1e-2 if by_pytorch else 1e-6
    torch.testing.assert_close(batch.variance.double(), variance, rtol=rounded, atol=0)


@pytest.mark.usefixtures("level")
def test_what_is_no_number_stays_none() -> None:
    x = random(4, 16, 3, 3)
    x[1, 5, 0, 0] = float("nan")
    top = normalise_batch(x, torch.ones(16), torch.zeros(16), 0.01, (0.0, 6.0)).top
    assert top[:, 5].isnan().all()
    assert not top[:, :5].isnan().any()


def all_results(dtype: torch.dtype) -> list[Tensor]:
    x, gradient = random(6, 48, 9, 9).to(dtype), random(6, 48, 9, 9, seed=4).to(dtype)
    kernels, ones, limits = random(48, 1, 3, 3, seed=1).to(dtype), torch.ones(48), (0.0, 6.0)
    return [
        native.kernel_gradients(gradient, x, kernels, (1, 1), (1, 1)),
        native.image_gradients(gradient, x, kernels, (1, 1), (1, 1)),
        native.moments(x, ones),
        native.normalise(x, ones, ones, limits),
        native.gradient_sums(x, gradient, ones, ones, ones, limits),
        native.normalise_back(x, gradient, [ones] * 5, limits),
    ]


def test_the_same_bytes_on_all_levels_and_any_number_of_any_threads(
    level: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    if level == "numpy":
        pytest.skip("PyTorch's sums depend on the processor")
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            found.append(all_results(dtype))
        monkeypatch.setattr(native, "_team", lambda: None)
        found.append(all_results(dtype))
        native.blobs.library.native().lh_use_level(0)
        found.append(all_results(dtype))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            assert torch.equal(one, two)


def test_what_the_kernels_do_not_take(monkeypatch) -> None:
    blob = random(2, 16, 3, 3)
    assert native.fits(blob) and native.fits(blob, random(5, 32, 1, 1))
    for other in (
        blob.double(), blob[:, :15], random(2, 16), blob[:0], blob.contiguous()[:, :, :2],
        blob.bfloat16(),
    ):  # fmt: skip
        assert not native.fits(blob, other)
    assert native.convolves(blob, blob)
    wide = torch.empty(1, 16, 1, 5000).contiguous(memory_format=torch.channels_last)
    assert not native.convolves(wide, wide)
    monkeypatch.setattr(native.blobs.library, "native", lambda: None)
    assert not native.fits(blob)
