"""Nearest-neighbour search by FAISS: what all have in common, exact search, HNSW.

Built by one thread from a fixed seed, so that the same features give the same answers.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..codes import CodeSet
from ..distances import METRICS
from ..errors import DataError, EngineError
from ..hamming import Codes
from .neighbours import Features, Neighbours, NeighbourSearch, ordered

_EDGE = 32  # hits beyond k whose distances are taken again: FAISS orders ties as it likes
_WRITTEN = 1 << 22  # bytes that FAISS hands over at once


class FaissSearch(NeighbourSearch):
    """What the searches by FAISS have in common."""

    def __init__(self) -> None:
        self._index: Any = None

    def build(self, database: CodeSet) -> None:
        """See `NeighbourSearch.build`."""
        if not len(database):
            raise DataError(f"{database.path}: holds no images", "extract some first")
        with one_thread():
            self._index = self._filled(self._prepared(database.features()))

    @abstractmethod
    def _filled(self, features: Features) -> Any:
        """A FAISS index of (N, D) features, trained and filled."""

    def _prepared(self, features: NDArray[np.floating]) -> Features:
        """Features as FAISS is given them."""
        return np.ascontiguousarray(features, np.float32)

    def search(self, features: Features, codes: Codes, k: int) -> Neighbours:
        """See `NeighbourSearch.search`."""
        if self._index is None:
            raise DataError(f"{self.name}: nothing to search yet", "build it first")
        return ordered(*self._found(self._prepared(features), k), k)

    def _found(self, asked: Features, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Ids and distances of k hits or more, in any order."""
        squares, ids = self._index.search(asked, k)
        return ids, np.sqrt(np.maximum(squares, 0))

    @property
    def memory_bytes(self) -> int:
        """Bytes of the index as FAISS writes it."""
        return _written_bytes(self._index)

    def close(self) -> None:
        """Free the index."""
        self._index = None


class LinearSearch(FaissSearch):
    """Every feature is compared: exact, and the truth that others are measured by.

    Distances of the nearest few are taken again from the features, as FAISS rounds when
    it is asked many queries at once, and orders equal distances as it likes.
    """

    name = "linear"

    @property
    def settings(self) -> Mapping[str, Any]:
        """None."""
        return {}

    def _filled(self, features: Features) -> Any:
        index = load_faiss().IndexFlatL2(features.shape[1])
        index.add(features)
        return index

    def _found(self, asked: Features, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        faiss, index = load_faiss(), self._index
        _, ids = index.search(asked, min(k + _EDGE, index.ntotal))
        values = faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d)
        vectors = np.asarray(values).reshape(index.ntotal, index.d)
        distances = [
            METRICS["l2"](query, vectors[row]) for query, row in zip(asked, ids, strict=True)
        ]
        return ids, np.stack(distances)


class HnswSearch(FaissSearch):
    """A graph of near neighbours in layers, walked greedily.

    Malkov, Yashunin, "Efficient and Robust Approximate Nearest Neighbor Search Using
    Hierarchical Navigable Small World Graphs", PAMI 2018.
    """

    name = "hnsw"

    def __init__(
        self, links: int = 32, construction: int = 200, breadth: int = 64, seed: int = 0
    ) -> None:
        """Settings of the graph.

        Args:
            links: of a node (M).
            construction: candidates while it is built (efConstruction).
            breadth: candidates while it is searched (efSearch).
            seed: of the nodes' layers.
        """
        super().__init__()
        self.links, self.construction, self.breadth, self.seed = links, construction, breadth, seed

    @property
    def settings(self) -> Mapping[str, Any]:
        """Those of the graph."""
        names = ("links", "construction", "breadth", "seed")
        return {name: getattr(self, name) for name in names}

    def _filled(self, features: Features) -> Any:
        faiss = load_faiss()
        index = faiss.IndexHNSWFlat(features.shape[1], self.links)
        index.hnsw.rng = faiss.RandomGenerator(self.seed)
        index.hnsw.efConstruction, index.hnsw.efSearch = self.construction, self.breadth
        index.add(features)
        return index


@contextmanager
def one_thread() -> Iterator[None]:
    """FAISS takes one thread: sums split among threads would round otherwise."""
    faiss = load_faiss()
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def _written_bytes(index: Any) -> int:
    """Bytes that FAISS writes, counted without keeping them."""
    faiss, total = load_faiss(), 0

    def count(part: bytes) -> None:
        nonlocal total
        total += len(part)

    writer = faiss.PyCallbackIOWriter(count, _WRITTEN)
    faiss.write_index(index, writer)
    return total


def load_faiss() -> Any:
    """The module.

    Raises:
        EngineError: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise EngineError("FAISS is not installed", "pip install '.[hash]'") from error
    return faiss
