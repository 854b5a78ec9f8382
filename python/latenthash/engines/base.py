"""What an engine is: something that executes Caffe's files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import EngineError
from .caffe_home import is_built

_MODULES = {"caffe": "caffe", "torch": "torch", "fake": "fake"}


@dataclass(frozen=True)
class Step:
    """One report of a training run.

    Attributes:
        iteration: solver iterations done.
        max_iter: iterations that the solver will do.
        phase: "train" or "test".
        values: outputs by name, e.g. {"loss": 0.3} or {"accuracy": 0.9, "loss": 0.4}.
        learning_rate: rate of this iteration; None for the test phase.
    """

    iteration: int
    max_iter: int
    phase: str
    values: dict[str, float]
    learning_rate: float | None = None


OnStep = Callable[[Step], None]


class TrainingStopped(KeyboardInterrupt):
    """Training was interrupted and has written a snapshot.

    Attributes:
        iteration: solver iterations done.
        state: solver state to resume from.
    """

    def __init__(self, iteration: int, state: Path) -> None:
        self.iteration = iteration
        self.state = state
        super().__init__(f"stopped at iteration {iteration}; resume from {state}")


class Net(Protocol):
    """A network with weights, ready to run. Close it, or use it as a context."""

    def forward(
        self, batch: NDArray[np.float32], blobs: Sequence[str]
    ) -> dict[str, NDArray[np.float32]]:
        """Run the net on preprocessed images.

        Args:
            batch: (N, C, H, W) float32, BGR, mean subtracted; N >= 1.
            blobs: names of the blobs to return.

        Returns:
            {name: (N, ...) float32}.

        Raises:
            NetError: no such blob, or a batch of another shape.
            EngineError: the engine died.
        """
        ...

    def close(self) -> None:
        """Free what the net holds."""
        ...

    def __enter__(self) -> Net: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Engine(Protocol):
    """Executes Caffe's prototxt, caffemodel and solver files."""

    name: str

    def load(self, prototxt: Path, weights: Path) -> Net:
        """Load a deploy net with its weights, in the TEST phase.

        Raises:
            NetError: a file is missing, malformed or does not fit the other.
            EngineError: the engine is not installed or died.
        """
        ...

    def train(
        self,
        solver: Path,
        weights: Path | None = None,
        resume: Path | None = None,
        on_step: OnStep | None = None,
    ) -> Path:
        """Run a solver to its end; return the last caffemodel.

        On KeyboardInterrupt a snapshot is taken and the exception goes on, as
        `TrainingStopped` where a snapshot was made.

        Raises:
            NetError, DataError: what the solver needs is missing or does not fit.
            EngineError: the engine died; snapshots taken so far stay.
        """
        ...


def get_engine(
    name: str = "caffe",
    threads: int | None = None,
    precision: str | None = None,
    few: bool = False,
) -> Engine:
    """Engine by name, imported only now.

    Args:
        name: "caffe", "torch", "auto" (of these the faster one that is
            installed), or "fake" (a deterministic double for tests).
        threads: BLAS threads; None takes the free cores.
        precision: what PyTorch computes in, "float32" or "bfloat16"; None: float32.
        few: for "auto", that a few images are all there is to do, so that the engine that
            starts sooner is the faster one.

    Raises:
        EngineError: no engine of that name, what it needs is not installed, or it does not
            compute in that precision.
    """
    if name == "auto":
        name = _fastest(few)
    if name not in _MODULES:
        raise EngineError(f"no engine named {name!r}", f"choose one of auto, {', '.join(_MODULES)}")
    if precision not in (None, "float32") and name != "torch":
        raise EngineError(f"{name} does not compute in {precision}", "choose --engine torch")
    try:
        module = import_module(f".{_MODULES[name]}", __package__)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        remedy = "pip install '.[torch]', or choose --engine caffe"
        raise EngineError("PyTorch is not installed", remedy) from error
    settings = {} if precision is None or name != "torch" else {"precision": precision}
    return cast(Engine, module.make_engine(threads, **settings))


def _fastest(few: bool) -> str:
    """Of the engines that are installed the faster one, as measured in docs/engines.md."""
    torch, caffe = find_spec("torch") is not None, is_built()
    if not (torch or caffe):
        raise EngineError(
            "neither Caffe nor PyTorch is installed", "run `make setup`, or pip install '.[torch]'"
        )
    return "torch" if torch and not (few and caffe) else "caffe"
