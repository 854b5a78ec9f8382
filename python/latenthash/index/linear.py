"""The oracle: every code is compared, one after the other. Slow, short, right."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from ..distances import METRICS
from ..errors import MismatchError
from ..hamming import Codes, distances
from .base import Hits, SearchOptions, rank


class LinearIndex:
    """Codes and features in memory; ids are row numbers."""

    def __init__(self, bits: int, codes: Codes, features: NDArray[np.floating]) -> None:
        """Hold (N, W) packed codes of `bits` bits and (N, D) features."""
        if len(codes) != len(features):
            raise MismatchError(f"{len(codes)} codes for {len(features)} features")
        self.bits = bits
        self._codes, self._features = codes, features

    def __len__(self) -> int:
        return len(self._codes)

    def search(
        self, codes: Codes, features: NDArray[np.floating], options: SearchOptions
    ) -> Sequence[Hits]:
        """Answer queries; see `Index.search`."""
        return [self._search(*query, options) for query in zip(codes, features, strict=True)]

    def _search(self, code: Codes, feature: NDArray[np.floating], options: SearchOptions) -> Hits:
        begin = perf_counter()
        hamming = distances(code[None], self._codes)[0]
        radius = self._radius(hamming, options)
        chosen = np.flatnonzero(hamming.astype(np.int64) <= radius)
        middle = perf_counter()
        fine = METRICS[options.metric](feature, self._features[chosen])
        best = rank(fine, chosen, options)
        end = perf_counter()
        return Hits(
            ids=chosen[best],
            hamming=hamming[chosen[best]],
            distances=fine[best],
            radius=int(hamming[chosen].max(initial=0)) if len(chosen) else -1,
            buckets=len(np.unique(self._codes[chosen], axis=0)),
            candidates=len(chosen),
            timings_ms={"coarse": 1e3 * (middle - begin), "fine": 1e3 * (end - middle)},
        )

    def _radius(self, hamming: NDArray[np.uint16], options: SearchOptions) -> int:
        """Hamming distance up to which images are candidates."""
        radius = self.bits if options.radius is None else options.radius
        if options.candidates is not None and options.candidates < len(hamming):
            radius = min(radius, int(np.sort(hamming)[options.candidates - 1]))
        return radius

    def verify(self) -> None:
        """Nothing is stored, nothing can be damaged."""
