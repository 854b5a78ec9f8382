"""The engine: loads nets and runs them on the CPU or on a GPU."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ...closing import Closing
from ...errors import EngineError, NetError
from ...netdef import load_netdef
from ...threads import thread_count
from ...weights import fit, read_weights
from ..base import OnStep
from .execution import default_execution
from .graph import Graph
from .memory import keep_freed_memory
from .solver import solve


def make_engine(threads: int | None = None, precision: str = "float32") -> TorchEngine:
    """PyTorch with so many threads; None takes the free cores."""
    return TorchEngine(threads, precision)


class TorchEngine:
    """Executes Caffe's files with PyTorch.

    Args:
        threads: of the CPU; None takes LATENTHASH_THREADS, else the free cores.
        precision: "float32", or "bfloat16" for convolutions and inner products; what a
            net gives back, its weights and its losses are float32 in any case.

    Raises:
        EngineError: no such precision.
    """

    name = "torch"

    def __init__(self, threads: int | None = None, precision: str = "float32") -> None:
        self.threads = thread_count(threads)
        self._execution = default_execution(precision)

    def load(self, prototxt: Path, weights: Path) -> TorchNet:
        """Load a deploy net with its weights, in the TEST phase; see `Engine.load`.

        Raises:
            NetError: a file is missing, malformed or does not fit the other.
        """
        definition = load_netdef(prototxt, "TEST")
        values = read_weights(weights)
        result = fit(definition, values)
        if wrong := [*result.conflicting, *(f"has no layer {name}" for name in result.fresh)]:
            raise NetError(
                f"{weights}: {'; '.join(wrong)}",
                f"give the weights that were trained with {prototxt.name}",
            )
        graph = Graph(definition, self._execution)
        graph.take(values)
        graph.settle()
        self._prepare()
        return TorchNet(graph)

    def train(
        self,
        solver: Path,
        weights: Path | None = None,
        resume: Path | None = None,
        on_step: OnStep | None = None,
    ) -> Path:
        """Run a solver to its end; return the last caffemodel.

        Relative paths in the solver and its nets count from the working directory, as in
        Caffe. The first Ctrl-C lets the iteration end, the second does not.

        Raises:
            NetError, DataError: what the solver needs is missing or does not fit, or it
                asks for what this engine cannot do.
            StorageError: a snapshot could not be written.
            TrainingStopped: interrupted; the snapshot to resume from is written.
        """
        self._prepare()
        return solve(solver, weights, resume, on_step, self._execution, self.threads)

    def _prepare(self) -> None:
        """Settings that hold for the whole process."""
        torch.set_num_threads(self.threads)
        keep_freed_memory()


class TorchNet(Closing):
    """A net on a device. Calls from several threads take turns."""

    def __init__(self, graph: Graph) -> None:
        self._graph: Graph | None = graph
        self._definition = graph.definition
        [self._data] = self._definition.data_layers[0].tops[:1]
        self._turn = threading.Lock()

    def forward(
        self, batch: NDArray[np.float32], blobs: Sequence[str]
    ) -> dict[str, NDArray[np.float32]]:
        """Run the net on a batch (N, C, H, W); see `Net.forward`."""
        self._require(batch, blobs)
        with self._turn, torch.inference_mode():
            if self._graph is None:
                raise EngineError(f"{self._definition.path}: the net is closed", "load it again")
            owned = batch if batch.flags.writeable else batch.copy()  # else PyTorch warns
            images = torch.from_numpy(owned)
            found = self._graph({self._data: images}, blobs)
            return {name: found[name].float().cpu().numpy() for name in blobs}

    def _require(self, batch: NDArray[np.float32], blobs: Sequence[str]) -> None:
        path, shapes = self._definition.path, self._definition.blob_shapes
        expected = shapes[self._data][1:]
        if batch.dtype != np.float32 or batch.shape[1:] != expected or not len(batch):
            raise NetError(
                f"{path}: a batch of {batch.dtype} {batch.shape}",
                f"it takes float32 (N, {', '.join(map(str, expected))})",
            )
        for name in blobs:
            if name not in shapes:
                raise NetError(f"{path}: has no blob {name!r}", f"there are {', '.join(shapes)}")

    def close(self) -> None:
        """Free the net; calling again does nothing."""
        with self._turn:
            self._graph = None
