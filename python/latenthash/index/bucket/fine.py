"""The fine step: distances between the query's feature and those of the candidates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ... import kernels
from .candidates import Found
from .memory import read_ahead

Floats = NDArray[np.float32]
_AHEAD = 256 << 20  # bytes of features read ahead of the comparison


class Nearest:
    """How far the k-th nearest of what was compared so far is.

    Attributes:
        k: which one.
        limit: its distance; what was given until there are k.
    """

    def __init__(self, k: int, limit: float | None) -> None:
        """Nothing compared yet; no distance beyond `limit` matters."""
        self.limit = np.inf if limit is None else float(np.float32(limit))  # as distances are
        self.k, self._best = k, np.empty(0, np.float32)

    def add(self, distances: Floats) -> None:
        """Take note of more distances."""
        compared = distances[distances < np.inf]  # the others were given up
        best = np.concatenate([self._best, compared]) if len(self._best) else compared
        if len(best) >= self.k:
            best = np.partition(best, self.k - 1)[: self.k]
            self.limit = min(self.limit, float(best[-1]))
        self._best = best


def compare(
    found: Sequence[Found],
    feature: Floats,
    metric: str,
    nearest: Nearest,
    threads: int | None = None,
) -> Floats:
    """Distances of candidates: in their order, since those of near codes come first.

    Args:
        found: candidates of each segment.
        feature: (D,) of the query.
        metric: l2, chi2, l1, linf or cosine.
        nearest: told of all distances; then its `limit` is that of the k-th nearest.
        threads: at most.

    Returns:
        (M,) float32 in the order of `found`; infinite where beyond the limit at the time.
    """
    ends = np.cumsum([len(part.rows) for part in found])
    distances = np.empty(ends[-1], np.float32)
    for part, own in zip(found, np.split(distances, ends[:-1]), strict=True):
        features, scale = part.source.segment.features, part.source.segment.scale
        step = max(1, _AHEAD // features.strides[0])
        read_ahead(features, part.rows[:step])
        for start in range(0, len(own), step):
            read_ahead(features, part.rows[start + step : start + 2 * step])
            rows = part.rows[start : start + step]
            own[start : start + step] = some = kernels.fine(
                metric, features, scale, rows, feature, nearest.limit, nearest.k, threads
            )
            nearest.add(some)
    return distances
