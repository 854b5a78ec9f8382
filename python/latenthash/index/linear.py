"""The oracle: every code is compared, one after the other. Slow, short, right."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from ..distances import METRICS
from ..errors import MismatchError
from ..hamming import Codes, distances
from ..progress import Progress, silent
from .base import Hits, SearchOptions
from .filter import Filter, matcher


class LinearIndex:
    """Codes and features in memory."""

    def __init__(
        self,
        bits: int,
        codes: Codes,
        features: NDArray[np.floating],
        ids: NDArray[np.int64] | None = None,
        labels: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        """Hold N images.

        Args:
            bits: of a code.
            codes: (N, W) uint8, packed.
            features: (N, D) floating.
            ids: (N,) distinct; None: row numbers.
            labels: N class names, "" where unknown; None: all unknown.
            names: N names; None: all empty.
        """
        if len(codes) != len(features):
            raise MismatchError(f"{len(codes)} codes for {len(features)} features")
        self.bits = bits
        self._codes, self._features = codes, features
        self._ids = np.arange(len(codes)) if ids is None else ids
        self._labels = [""] * len(codes) if labels is None else list(labels)
        self._names = [""] * len(codes) if names is None else list(names)

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
        passes = [self._passes(row, options.filter) for row in range(len(self))]
        passing = np.flatnonzero(np.array(passes, bool))
        nearest = passing[np.lexsort((self._ids[passing], hamming[passing]))]
        within = nearest[: self._reach(hamming[nearest], options)]
        chosen = within[: options.cap]
        middle = perf_counter()
        fine = METRICS[options.metric](feature, self._features[chosen])
        end = perf_counter()
        best = np.lexsort((self._ids[chosen], fine))
        if options.max_distance is not None:
            best = best[fine[best] <= options.max_distance]
        best = best[: options.top]
        times = {"coarse": middle - begin, "fine": end - middle, "rank": perf_counter() - end}
        return Hits(
            ids=self._ids[chosen[best]],
            hamming=hamming[chosen[best]],
            distances=fine[best],
            radius=int(hamming[chosen[-1]]) if len(chosen) else -1,
            buckets=len(np.unique(self._codes[chosen], axis=0)),
            candidates=len(chosen),
            exact=len(chosen) == len(passing),
            left_out=len(within) - len(chosen),
            ways=("linear",),
            timings_ms={phase: 1e3 * seconds for phase, seconds in times.items()},
        )

    def _passes(self, row: int, wanted: Filter | None) -> bool:
        if wanted is None:
            return True
        label, number, name = self._labels[row], int(self._ids[row]), self._names[row]
        return (
            (wanted.labels is None or label in wanted.labels)
            and label not in (wanted.not_labels or ())
            and (wanted.ids is None or number in wanted.ids)
            and number not in (wanted.not_ids or ())
            and (wanted.names is None or bool(matcher(wanted.names)(name)))
            and not matcher(wanted.not_names or ())(name)
        )

    def _reach(self, hamming: NDArray[np.uint16], options: SearchOptions) -> int:
        """How many of the images, given the ascending distances, are within the limits."""
        if options.exact:
            return len(hamming)
        radius = self.bits if options.radius is None else min(options.radius, self.bits)
        if options.candidates is not None and options.candidates < len(hamming):
            radius = min(radius, int(hamming[options.candidates - 1]))
        return int(np.searchsorted(hamming, radius, side="right"))

    def verify(self, on_progress: Progress = silent) -> None:
        """Nothing is stored, nothing can be damaged."""
