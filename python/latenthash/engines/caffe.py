"""Real Caffe: nets through pycaffe, training through Caffe's own solver.

Caffe ends its process when one of its checks fails, and OpenBLAS reads its thread
count when it is loaded; so both run in child processes, and what they say on their
way out becomes a one-line error.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..closing import Closing
from ..errors import EngineError, NetError
from ..threads import thread_count
from .base import OnStep
from .caffe_child import Child
from .caffe_solver import solve


def make_engine(threads: int | None = None) -> CaffeEngine:
    """Caffe with so many BLAS threads; None takes the free cores."""
    return CaffeEngine(threads)


class CaffeEngine:
    """Executes Caffe's files with Caffe, on the CPU or on the GPU that LATENTHASH_GPU names.

    Args:
        threads: BLAS threads; None takes LATENTHASH_THREADS, else the free cores.
    """

    name = "caffe"

    def __init__(self, threads: int | None = None) -> None:
        self.threads = thread_count(threads)

    def load(self, prototxt: Path, weights: Path) -> CaffeNet:
        """Load a deploy net with its weights, in the TEST phase.

        Raises:
            NetError: a file is missing, malformed or does not fit the other.
            EngineError: Caffe is not built, or died.
        """
        for file in (prototxt, weights):
            if not file.is_file():
                raise NetError(f"{file}: no such file", "check the path")
        child = Child(self.threads)
        try:
            # Caffe loads while the files are checked here; if they do not fit, the
            # check's words are better than Caffe's.
            child.send(("load", str(prototxt), str(weights)))
            _require_fit(prototxt, weights)
            return CaffeNet(child, prototxt)
        except BaseException:
            child.close()
            raise

    def train(
        self,
        solver: Path,
        weights: Path | None = None,
        resume: Path | None = None,
        on_step: OnStep | None = None,
    ) -> Path:
        """Run a solver to its end; return the last caffemodel.

        Relative paths in the solver and its net count from the working directory.
        Caffe's log is kept beside the snapshots, as `caffe.log`.

        Raises:
            NetError, DataError: what the solver needs is missing or does not fit.
            EngineError: Caffe is not built, or died; the message names the snapshot to
                resume from.
            TrainingStopped: interrupted; the snapshot to resume from is written.
        """
        return solve(solver, weights, resume, on_step, self.threads)


def _require_fit(prototxt: Path, weights: Path) -> None:
    """Raise `NetError` unless every layer of the net finds its weights in the file."""
    from ..netdef import load_netdef  # the child starts while these are imported
    from ..weights import fit, read_weights

    result = fit(load_netdef(prototxt, "TEST"), read_weights(weights))
    remedy = f"give the weights that were trained with {prototxt.name}"
    if result.conflicting:
        raise NetError(f"{weights}: {'; '.join(result.conflicting)}", remedy)
    if result.fresh:
        raise NetError(f"{weights}: has no layer {', '.join(result.fresh)}", remedy)


class CaffeNet(Closing):
    """A net in a child process. Calls from several threads take turns."""

    def __init__(self, child: Child, prototxt: Path) -> None:
        self._child = child
        self._prototxt = prototxt
        self._turn = threading.Lock()
        self._closed = False
        _, shape, self._shapes = child.receive(str(prototxt))
        self._input: tuple[int, ...] = shape[1:]

    def forward(
        self, batch: NDArray[np.float32], blobs: Sequence[str]
    ) -> dict[str, NDArray[np.float32]]:
        """Run the net on a batch (N, C, H, W); see `Net.forward`."""
        self._require(batch, blobs)
        with self._turn:
            if self._closed:
                raise EngineError(f"{self._prototxt}: the net is closed", "load it again")
            self._child.send(("forward", batch.shape, list(blobs)), batch)
            _, shapes = self._child.receive(f"{self._prototxt}: a batch of {len(batch)}")
            arrays = [self._child.receive_array(s, str(self._prototxt)) for s in shapes]
        return dict(zip(blobs, arrays, strict=True))

    def _require(self, batch: NDArray[np.float32], blobs: Sequence[str]) -> None:
        if batch.dtype != np.float32 or batch.shape[1:] != self._input or not len(batch):
            raise NetError(
                f"{self._prototxt}: a batch of {batch.dtype} {batch.shape}",
                f"it takes float32 (N, {', '.join(map(str, self._input))})",
            )
        for name in blobs:
            if name not in self._shapes:
                known = ", ".join(self._shapes)
                raise NetError(f"{self._prototxt}: has no blob {name!r}", f"there are {known}")

    def close(self) -> None:
        """End the child process; calling again does nothing."""
        with self._turn:
            self._closed = True
            self._child.close()
