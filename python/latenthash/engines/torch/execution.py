"""Where and how exactly a net computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import EngineError

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Execution:
    """How nets run.

    Weights, their updates and losses are float32 in any case; "bfloat16" is what
    convolutions and inner products compute in, and so what most blobs are kept in.

    Attributes:
        device: the CPU or a GPU.
        precision: "float32" or "bfloat16".

    Raises:
        EngineError: no such precision.
    """

    device: torch.device
    precision: str = "float32"

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise EngineError(
                f"no precision named {self.precision!r}", f"choose {' or '.join(PRECISIONS)}"
            )

    @contextmanager
    def exact(self) -> Iterator[None]:
        """Within it a GPU's float32 is float32, not the 10 bits that cuDNN would take for it.

        Backward passes need it too.
        """
        gpu = torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False)
        with gpu if self.device.type == "cuda" else nullcontext():
            yield

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within it nets compute forward in the precision asked for."""
        half = self.precision == "bfloat16"
        with self.exact(), torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            yield

    def place(self, blob: Tensor) -> Tensor:
        """A blob on the device; images and kernels with their channels innermost.

        Convolutions are faster so, on CPUs and GPUs alike; the numbers are the same.
        """
        if blob.ndim == 4:
            return blob.to(self.device, memory_format=torch.channels_last)
        return blob.to(self.device)

    def halve(self, weights: Tensor) -> Tensor:
        """Weights in the precision that convolutions and inner products compute in."""
        return weights.bfloat16() if self.precision == "bfloat16" else weights


def default_execution(precision: str = "float32") -> Execution:
    """On a GPU if there is one, else on the CPU."""
    return Execution(torch.device("cuda" if torch.cuda.is_available() else "cpu"), precision)
