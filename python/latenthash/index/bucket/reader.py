"""Searching a bucket index: memory-mapped, coarse by bucket, fine by feature."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from ...distances import METRICS
from ...errors import MismatchError
from ...hamming import Codes, distances, width
from ...kernels import top
from ..base import Hits, SearchOptions
from .generation import open_generation
from .verify import verify


class BucketIndex:
    """An index folder, open for reading."""

    def __init__(self, folder: Path) -> None:
        """Open `folder`; the lengths of its files are checked, not their content.

        Raises:
            DataError: no index there.
            StorageError: a file is missing or of another length.
        """
        self.folder = folder
        generation = open_generation(folder)
        self.manifest = generation.manifest
        self.bits: int = self.manifest["bits"]
        self.dim: int = self.manifest["dim"]
        [self._segment] = generation.segments
        self._buckets: Codes = self._segment.buckets.view(np.uint8)[:, : width(self.bits)]
        self._offsets = self._segment.offsets

    def __len__(self) -> int:
        return int(self.manifest["images"])

    def search(
        self, codes: Codes, features: NDArray[np.floating], options: SearchOptions
    ) -> Sequence[Hits]:
        """Answer queries; see `Index.search`."""
        if codes.shape[1] != width(self.bits) or features.shape[1] != self.dim:
            raise MismatchError(
                f"{self.folder}: codes of {width(self.bits)} bytes and {self.dim}-d features, "
                f"the query has {codes.shape[1]} and {features.shape[1]}",
                "query with the network that built the index",
            )
        return [self._search(*query, options) for query in zip(codes, features, strict=True)]

    def _search(self, code: Codes, feature: NDArray[np.floating], options: SearchOptions) -> Hits:
        begin = perf_counter()
        hamming = distances(code[None], self._buckets)[0]
        buckets = self._coarse(hamming, options)
        rows, row_hamming = self._rows(buckets, hamming)
        middle = perf_counter()
        fine = METRICS[options.metric](feature, self._segment.restored(rows))
        ids = self._segment.ids[self._segment.positions[rows]]
        best = top(fine, ids, options.top, options.max_distance)
        end = perf_counter()
        return Hits(
            ids=ids[best],
            hamming=row_hamming[best],
            distances=fine[best],
            radius=int(hamming[buckets].max()) if len(buckets) else -1,
            buckets=len(buckets),
            candidates=len(rows),
            exact=len(rows) == len(self),
            timings_ms={"coarse": 1e3 * (middle - begin), "fine": 1e3 * (end - middle)},
        )

    def _coarse(self, hamming: NDArray[np.uint16], options: SearchOptions) -> NDArray[np.intp]:
        """Buckets to look into, nearest ring first, the last ring whole."""
        limit = self.bits if options.radius is None else min(options.radius, self.bits)
        if options.candidates is not None:
            sizes = np.diff(self._offsets)
            in_ring = np.bincount(hamming, weights=sizes, minlength=self.bits + 1)
            full = np.flatnonzero(np.cumsum(in_ring) >= options.candidates)
            limit = min(limit, int(full[0])) if len(full) else limit
        return np.flatnonzero(hamming <= limit)

    def _rows(
        self, buckets: NDArray[np.intp], hamming: NDArray[np.uint16]
    ) -> tuple[NDArray[np.int64], NDArray[np.uint16]]:
        """Rows of the buckets, and the Hamming distance of each row."""
        # for b in buckets: rows += range(offsets[b], offsets[b + 1])
        starts = self._offsets[buckets]
        sizes = self._offsets[buckets + 1] - starts
        ends = np.cumsum(sizes)
        rows = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - sizes), sizes)
        return rows, np.repeat(hamming[buckets], sizes)

    def verify(self) -> None:
        """Compare every file with its checksum; see `Index.verify`."""
        verify(self.folder)

    def names(self, ids: NDArray[np.int64]) -> list[str]:
        """Names of images by id."""
        return self._segment.names(np.searchsorted(self._segment.ids, ids))

    def labels(self, ids: NDArray[np.int64]) -> list[str]:
        """Class names of images by id; "" where unknown."""
        classes: list[str] = self.manifest["classes"]
        numbers = self._segment.labels[np.searchsorted(self._segment.ids, ids)].tolist()
        return [classes[n] if 0 <= n < len(classes) else "" for n in numbers]
