"""A deterministic double of an engine: no Caffe, no learning, the right shapes.

A blob is a random projection of the batch, seeded by the weights file and the blob's
name, so that near images get near features and the same input gives the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..closing import Closing
from ..errors import NetError
from ..files import sha256
from ..netdef import load_netdef
from ..proto import read_solver
from ..weights import fit, read_weights, write_weights
from .base import OnStep, Step

_PROBES = 256  # values of an image that a projection reads


def make_engine(threads: int | None = None) -> FakeEngine:
    """The double; it needs no threads."""
    return FakeEngine()


class FakeEngine:
    """Executes nothing, but answers as an engine does."""

    name = "fake"

    def load(self, prototxt: Path, weights: Path) -> FakeNet:
        """Net of the deploy file's shapes, seeded by the weights file.

        Raises:
            NetError: a file is missing, malformed or does not fit the other.
        """
        net = load_netdef(prototxt, "TEST")
        result = fit(net, read_weights(weights))
        if wrong := [*result.conflicting, *result.fresh]:
            raise NetError(f"{weights}: {'; '.join(wrong)}", f"give weights of {prototxt}")
        [data] = net.data_layers[0].tops[:1]
        return FakeNet(net.blob_shapes, data, sha256(weights))

    def train(
        self,
        solver: Path,
        weights: Path | None = None,
        resume: Path | None = None,
        on_step: OnStep | None = None,
    ) -> Path:
        """Report ten steps of a falling loss; write random weights of the deploy net.

        The deploy net lies beside the train net, as `deploy.prototxt`.

        Raises:
            NetError: the solver or the deploy net is missing or malformed.
        """
        settings = read_solver(solver)
        net = load_netdef(Path(settings.net).with_name("deploy.prototxt"), "TEST")
        for step in _steps(settings.max_iter):
            if on_step is not None:
                on_step(step)
        random = np.random.default_rng(max(settings.random_seed, 0))
        values = {
            layer: [random.normal(0, 0.1, shape).astype(np.float32) for shape in shapes]
            for layer, shapes in net.param_shapes.items()
        }
        path = Path(f"{settings.snapshot_prefix}_iter_{settings.max_iter}.caffemodel")
        write_weights(values, path, net.name)
        return path


def _steps(max_iter: int) -> list[Step]:
    """Ten training steps, then a test."""
    steps = [
        Step(tenth * max_iter // 10, max_iter, "train", {"loss": 1 / (1 + tenth)}, 0.01)
        for tenth in range(10)
    ]
    return [*steps, Step(max_iter, max_iter, "test", {"accuracy": 0.9, "loss": 0.1})]


class FakeNet(Closing):
    """Random projections of the batch; activations of sigmoids lie between 0 and 1."""

    def __init__(self, shapes: dict[str, tuple[int, ...]], data: str, seed: str) -> None:
        self._shapes = shapes
        self._input = shapes[data][1:]
        self._seed = seed

    def forward(
        self, batch: NDArray[np.float32], blobs: Sequence[str]
    ) -> dict[str, NDArray[np.float32]]:
        """Project a batch (N, C, H, W); see `Net.forward`."""
        if batch.dtype != np.float32 or batch.shape[1:] != self._input or not len(batch):
            raise NetError(f"a batch of {batch.dtype} {batch.shape}", f"it takes {self._input}")
        for name in blobs:
            if name not in self._shapes:
                raise NetError(f"no blob {name!r}", f"there are {', '.join(self._shapes)}")
        return {name: self._project(batch, name) for name in blobs}

    def _project(self, batch: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        """Sigmoid of a projection of evenly spaced values, row by row.

        A row's result does not depend on the others, as a matrix product's might.
        """
        rows = batch.reshape(len(batch), -1)
        picked = np.linspace(0, rows.shape[1] - 1, min(_PROBES, rows.shape[1])).astype(int)
        shape = self._shapes[name][1:]
        digest = hashlib.sha256(f"{self._seed} {name}".encode()).digest()
        random = np.random.default_rng(list(digest))
        matrix = random.normal(0, 1, (len(picked), int(np.prod(shape)))).astype(np.float32)
        probes = rows[:, picked]
        probes = probes / (np.linalg.norm(probes, axis=1, keepdims=True) + 1e-6)
        values = np.stack([row @ matrix for row in probes])
        activations: NDArray[np.float32] = 1 / (1 + np.exp(-4 * values))
        return activations.reshape(-1, *shape)

    def close(self) -> None:
        """Hold nothing, free nothing."""
