"""The live rows of several segments as one sequence, bucket by bucket."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """Buckets and features of one segment.

    Attributes:
        codes: (K, words) uint64 of the buckets.
        offsets: (K + 1,) int64: bucket b holds rows offsets[b] to offsets[b + 1].
        features: (N, D) float32, float16 or int8.
        ids: (N,) int64 of the rows.
        scale: (D,) float32 that int8 features are multiplied with, or None.
        live: (N,) bool, or None if all rows are.
    """

    codes: NDArray[np.uint64]
    offsets: Numbers
    features: NDArray[Any]
    ids: Numbers
    scale: NDArray[np.float32] | None = None
    live: NDArray[np.bool_] | None = None


class LiveRows:
    """Rows that are not removed, numbered from 0 over all parts.

    Attributes:
        codes: (K, words) uint64 of all buckets; parts may share some.
        starts, stops: (K,) int64: bucket b holds the live rows starts[b] to stops[b].
        dim: values of a feature.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        """Number the rows of one part or more, all of the same width and dimension."""
        self._parts = parts
        self._bases = np.cumsum([0, *(len(part.ids) for part in parts)])
        live = [_live(part) for part in parts]
        self._row = np.flatnonzero(np.concatenate(live))
        starts, stops, base = [], [], 0
        for part, mask in zip(parts, live, strict=True):
            before = base + np.concatenate(([0], np.cumsum(mask)))
            starts.append(before[part.offsets[:-1]])
            stops.append(before[part.offsets[1:]])
            base = int(before[-1])
        self.codes = np.concatenate([part.codes for part in parts])
        self.starts, self.stops = np.concatenate(starts), np.concatenate(stops)
        self.dim = int(parts[0].features.shape[1])

    def __len__(self) -> int:
        return len(self._row)

    def ids(self, rows: Numbers) -> Numbers:
        """(n,) int64 ids of live rows."""
        found = np.empty(len(rows), np.int64)
        for part, mask, where in self._places(rows):
            found[mask] = part.ids[where]
        return found

    def features(self, rows: Numbers) -> NDArray[np.float32]:
        """(n, D) float32 features of live rows."""
        found = np.empty((len(rows), self.dim), np.float32)
        for part, mask, where in self._places(rows):
            values = part.features[where]
            found[mask] = values if part.scale is None else values * part.scale
        return found

    def _places(self, rows: Numbers) -> list[tuple[Part, NDArray[np.bool_], Numbers]]:
        """Parts, which of `rows` lie in each, and where there."""
        stored = self._row[rows]
        owner = np.searchsorted(self._bases, stored, side="right") - 1
        masks = [(number, owner == number) for number in np.unique(owner).tolist()]
        return [(self._parts[n], mask, stored[mask] - self._bases[n]) for n, mask in masks]


def _live(part: Part) -> NDArray[np.bool_]:
    return np.ones(len(part.ids), bool) if part.live is None else part.live
