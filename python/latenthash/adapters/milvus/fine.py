"""The fine step: distances between the query's feature and those of the candidates.

Two ways. "here": the candidates' features come over the network and are compared by the
kernels of the bucket index, under any metric. "milvus": Milvus compares them, by l2 only,
and a little more than the hits wanted comes over; these are compared again here, so that
both ways give the same distances and the same order.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ... import kernels
from .layouts import feature_layout
from .server import MOST_HITS, Server
from .text import among

Ids = NDArray[np.int64]
Floats = NDArray[np.float32]
RERANKS = ("here", "milvus")
_BLOCK = 16 << 20  # bytes of features in one answer
_SPARE = 8  # of so many hits wanted one more comes, and some besides
_GROWTH = 4  # times as many, if rounding could still change the order
_ROUNDING = 1e-4  # share by which Milvus' squared distance may be off


class Features:
    """The collection of features."""

    def __init__(self, server: Server, name: str, dim: int) -> None:
        """Name the collection; its features have `dim` values."""
        self._server, self._name, self.dim = server, name, dim

    def get(self, ids: Ids) -> tuple[Floats, NDArray[np.bool_]]:
        """Features of images.

        Args:
            ids: (n,) int64.

        Returns:
            (n, D) float32, and (n,) bool: which are there; the rows of others are zeros.
        """
        features = np.zeros((len(ids), self.dim), np.float32)
        there = np.zeros(len(ids), dtype=bool)
        for part in self._blocks(len(ids)):
            condition = among("id", np.unique(ids[part]).tolist())
            rows = self._server.query(self._name, condition, ["id", "feature"])
            found = {row["id"]: row["feature"] for row in rows}
            for at, number in enumerate(ids[part].tolist(), part.start):
                if number in found:
                    features[at], there[at] = found[number], True
        return features, there

    def distances(self, ids: Ids, feature: Floats, metric: str) -> tuple[Floats, NDArray[np.bool_]]:
        """(n,) float32 distances to a feature (D,), and (n,) bool: which are there."""
        parts, there = [np.empty(0, np.float32)], [np.empty(0, bool)]
        for part in self._blocks(len(ids)):
            features, found = self.get(ids[part])
            rows = np.arange(len(features))
            parts.append(kernels.fine(metric, features, None, rows, feature))
            there.append(found)
        return np.concatenate(parts), np.concatenate(there)

    def nearest(self, ids: Ids, feature: Floats, top: int) -> Ids:
        """Ids of the `top` nearest by l2, and of all that rounding could put among them."""
        layout, condition = feature_layout(self.dim), among("id", ids.tolist())
        limit = min(len(ids), MOST_HITS, top + top // _SPARE + _SPARE)
        while True:
            [found] = self._server.search(self._name, layout, [feature], limit, condition)
            squares = np.array([row["distance"] for row in found], np.float64)
            edge = np.inf if len(found) <= top else squares[top - 1] * (1 + _ROUNDING)
            if len(found) < limit or limit == len(ids) or squares[-1] > edge:
                return np.array([row["id"] for row in found], np.int64)[squares <= edge]
            if limit == MOST_HITS:
                return ids
            limit = min(len(ids), MOST_HITS, limit * _GROWTH)

    def _blocks(self, count: int) -> Iterator[slice]:
        step = max(1, _BLOCK // (4 * self.dim))
        return (slice(start, min(start + step, count)) for start in range(0, count, step))
