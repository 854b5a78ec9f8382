"""Searching a bucket index: memory-mapped, coarse by bucket, fine by feature."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ...distances import METRICS
from ...errors import DataError, MismatchError, StorageError
from ...files import sha256
from ...hamming import Codes, distances, width
from ...kernels import top
from ...manifest import read_manifest
from ..base import Hits, SearchOptions
from . import layout


class BucketIndex:
    """An index folder, open for reading."""

    def __init__(self, folder: Path) -> None:
        """Open `folder`; the lengths of its files are checked, not their content.

        Raises:
            DataError: no index there.
            StorageError: a file is missing or of another length.
        """
        if not folder.is_dir():
            raise DataError(f"{folder}: no index there", "run build_index.py or `make demo`")
        self.folder = folder
        self.manifest = read_manifest(folder / layout.MANIFEST, layout.STAGE)
        self._check_lengths()
        self.bits: int = self.manifest["bits"]
        self.dim: int = self.manifest["dim"]
        self._buckets: Codes = self._load(layout.BUCKETS)
        self._offsets = self._load(layout.OFFSETS)
        self._ids = self._load(layout.IDS)
        self._features = self._load(layout.FEATURES)

    def _load(self, name: str) -> NDArray[Any]:
        array: NDArray[Any] = np.load(self.folder / name, mmap_mode="r")
        return array

    def _check_lengths(self) -> None:
        for name, known in self.manifest["files"].items():
            path = self.folder / name
            length = path.stat().st_size if path.is_file() else None
            if length != known["bytes"]:
                problem = "missing" if length is None else f"{length} bytes of {known['bytes']}"
                raise StorageError(f"{path}: {problem}", "build the index again")

    def __len__(self) -> int:
        return len(self._ids)

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
        fine = METRICS[options.metric](feature, self._features[rows])
        ids = self._ids[rows]
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
        for name, known in self.manifest["files"].items():
            if sha256(self.folder / name) != known["sha256"]:
                raise StorageError(f"{self.folder / name}: damaged", "build the index again")

    def names(self, ids: NDArray[np.int64]) -> list[str]:
        """Names of images by id."""
        with self._items() as items:
            return [items["names"].asstr()[int(number)] for number in ids]

    def labels(self, ids: NDArray[np.int64]) -> list[str]:
        """Class names of images by id; "" where unknown."""
        with self._items() as items:
            classes = list(items.attrs["classes"])
            numbers = [int(items["labels"][int(number)]) for number in ids]
        return [str(classes[n]) if 0 <= n < len(classes) else "" for n in numbers]

    def _items(self) -> h5py.File:
        return h5py.File(self.folder / layout.ITEMS, "r")
