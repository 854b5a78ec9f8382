"""Nearest-neighbour search by feature: one small interface, and hash-then-rerank behind it."""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..closing import Closing
from ..codes import CodeSet
from ..errors import DataError
from ..hamming import Codes
from ..index import DEFAULT_CANDIDATES, BucketIndex, SearchOptions, build_index

NO_HIT = -1
Features = NDArray[np.float32]


class Neighbours(NamedTuple):
    """Answers to Q queries, each ordered by (distance, id).

    Attributes:
        ids: (Q, k) int64, rows of the database; -1 where nothing more was found.
        distances: (Q, k) float32, Euclidean, or what the search takes for it; infinite
            where there is no hit.
    """

    ids: NDArray[np.int64]
    distances: NDArray[np.float32]


class NeighbourSearch(Closing):
    """Finds the nearest images by feature, exactly or nearly.

    `build` once, then `search` as often as wanted. The same features and settings give
    the same answers. Close it, or use it as a context.

    Attributes:
        name: for people and reports.
        settings: what was chosen, as JSON has it.
    """

    name: str

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """What was chosen, as JSON has it."""

    @abstractmethod
    def build(self, database: CodeSet) -> None:
        """Take in the database, in one thread where FAISS does it.

        Raises:
            DataError: too few images.
            EngineError: FAISS is not installed.
        """

    @abstractmethod
    def search(self, features: Features, codes: Codes, k: int) -> Neighbours:
        """Answer queries.

        Args:
            features: (Q, D) float32.
            codes: (Q, W) uint8, packed; only hash-then-rerank looks at them.
            k: neighbours wanted of each.
        """

    @property
    @abstractmethod
    def memory_bytes(self) -> int:
        """Bytes of all that is kept to answer queries, on disk or in memory."""

    def close(self) -> None:
        """Free what is held; calling again does nothing."""


class HashThenRerank(NeighbourSearch):
    """Buckets within reach of the query's code, ranked by feature: the bucket index.

    It lies in a temporary folder, and is read as memory maps.
    """

    name = "hash"

    def __init__(
        self,
        candidates: int | None = DEFAULT_CANDIDATES,
        radius: int | None = None,
        storage: str = "float16",
    ) -> None:
        """Options of the search; see `SearchOptions` and `build_index`."""
        self.candidates, self.radius, self.storage = candidates, radius, storage
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._index: BucketIndex | None = None

    @property
    def settings(self) -> Mapping[str, Any]:
        """Reach and storage."""
        return {
            "candidates": self.candidates,
            "radius": self.radius,
            "storage": self.storage,
            "bits": None if self._index is None else self._index.bits,
        }

    def build(self, database: CodeSet) -> None:
        """Build the bucket index of the file's own codes."""
        self.close()
        self._folder = tempfile.TemporaryDirectory(prefix="latenthash-")
        path = build_index(database, Path(self._folder.name) / "index", self.storage)
        self._index = BucketIndex(path)

    def search(self, features: Features, codes: Codes, k: int) -> Neighbours:
        """Coarse to fine; see `NeighbourSearch.search`."""
        options = SearchOptions(top=k, radius=self.radius, candidates=self.candidates)
        answers = self._built.search(codes, features, options)
        ids = np.full((len(answers), k), NO_HIT, np.int64)
        distances = np.full((len(answers), k), np.inf, np.float32)
        for row, hits in enumerate(answers):
            ids[row, : len(hits.ids)] = hits.ids
            distances[row, : len(hits.ids)] = hits.distances
        return Neighbours(ids, distances)

    @property
    def memory_bytes(self) -> int:
        """Size of the index's files."""
        assert self._folder is not None
        files = (path for path in Path(self._folder.name).rglob("*") if path.is_file())
        return sum(path.stat().st_size for path in files)

    @property
    def _built(self) -> BucketIndex:
        if self._index is None:
            raise DataError("hash: nothing to search yet", "build it first")
        return self._index

    def close(self) -> None:
        """Close and remove the index."""
        if self._index is not None:
            self._index.close()
            self._index = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def ordered(ids: NDArray[np.int64], distances: NDArray[np.float32], k: int) -> Neighbours:
    """The best k of each query by (distance, id); filled up where there are fewer.

    Args:
        ids: (Q, n) int64, -1 where there is no hit.
        distances: (Q, n) float32; those of no hit do not count.
        k: columns of the answer.
    """
    far = np.where(ids == NO_HIT, np.float32(np.inf), distances)
    order = np.lexsort((ids, far), axis=-1)[:, :k]
    missing = ((0, 0), (0, k - order.shape[1]))
    return Neighbours(
        np.pad(np.take_along_axis(ids, order, axis=1), missing, constant_values=NO_HIT),
        np.pad(np.take_along_axis(far, order, axis=1), missing, constant_values=np.inf),
    )
