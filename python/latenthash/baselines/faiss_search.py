"""Nearest-neighbour search by FAISS: exact, HNSW, product quantisation, inverted lists.

Built by one thread from a fixed seed, so that the same features give the same answers.
"""

from __future__ import annotations

import math
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
_SUBWORDS = 256  # that a byte of a product quantiser tells apart
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
        index = _faiss().IndexFlatL2(features.shape[1])
        index.add(features)
        return index

    def _found(self, asked: Features, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        faiss, index = _faiss(), self._index
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
        faiss = _faiss()
        index = faiss.IndexHNSWFlat(features.shape[1], self.links)
        index.hnsw.rng = faiss.RandomGenerator(self.seed)
        index.hnsw.efConstruction, index.hnsw.efSearch = self.construction, self.breadth
        index.add(features)
        return index


class PqSearch(FaissSearch):
    """Product quantisation: a feature is cut into parts, and each is a byte.

    Jegou, Douze, Schmid, "Product Quantization for Nearest Neighbor Search", PAMI 2011;
    distances by tables of the query's parts. With `candidates`, so many of the nearest are
    ranked by their features, kept as float16, as hash-then-rerank does.
    """

    def __init__(self, code_bytes: int = 16, candidates: int = 0, seed: int = 0) -> None:
        """Settings of the quantiser.

        Args:
            code_bytes: parts of a feature.
            candidates: to be ranked by their features; 0: none.
            seed: of the parts' k-means.
        """
        super().__init__()
        self.name = "pq-rerank" if candidates else "pq"
        self.code_bytes, self.candidates, self.seed = code_bytes, candidates, seed

    @property
    def settings(self) -> Mapping[str, Any]:
        """Those of the quantiser."""
        names = ("code_bytes", "candidates", "seed")
        return {name: getattr(self, name) for name in names}

    def _prepared(self, features: NDArray[np.floating]) -> Features:
        """Padded with zeros to whole parts, which changes no distance."""
        missing = -features.shape[1] % self.code_bytes
        return np.pad(super()._prepared(features), ((0, 0), (0, missing)))

    def _filled(self, features: Features) -> Any:
        if len(features) < _SUBWORDS:
            raise DataError(
                f"{len(features)} images: {self.name} is learned from {_SUBWORDS} or more",
                "leave it out for so few",
            )
        index = self._empty(features)
        self._seed(index.pq.cp)
        if self.candidates:
            faiss = _faiss()
            whole = faiss.IndexScalarQuantizer(features.shape[1], faiss.ScalarQuantizer.QT_fp16)
            index = faiss.IndexRefine(index, whole)
        index.train(features)
        index.add(features)
        return index

    def _found(self, asked: Features, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        if self.candidates:  # k_factor times k is cut to an integer
            self._index.k_factor = (max(self.candidates, k) + 0.5) / k
        return super()._found(asked, k)

    def _empty(self, features: Features) -> Any:
        return _faiss().IndexPQ(features.shape[1], self.code_bytes, 8)

    def _seed(self, clustering: Any) -> None:
        clustering.seed = self.seed
        clustering.min_points_per_centroid = 1  # FAISS prints a warning of few points else


class IvfPqSearch(PqSearch):
    """Product quantisation of what is left of a feature beside the nearest of some centres.

    Only the lists of the centres nearest to the query are searched; source: see
    `PqSearch`.
    """

    def __init__(
        self,
        code_bytes: int = 16,
        candidates: int = 0,
        lists: int | None = None,
        probes: int = 16,
        seed: int = 0,
    ) -> None:
        """Settings beside those of `PqSearch`.

        Args:
            code_bytes: see there.
            candidates: see there.
            lists: centres; None takes 4 for each of the root of the images.
            probes: lists searched for a query.
            seed: of all k-means.
        """
        super().__init__(code_bytes, candidates, seed)
        self.name = f"ivf-{self.name}"
        self.lists, self.probes = lists, probes
        self._lists: int | None = None  # of the index built

    @property
    def settings(self) -> Mapping[str, Any]:
        """Those of lists and quantiser."""
        return {**super().settings, "lists": self._lists or self.lists, "probes": self.probes}

    def _empty(self, features: Features) -> Any:
        faiss, (count, dim) = _faiss(), features.shape
        self._lists = self.lists or min(4 * math.isqrt(count), count)
        index = faiss.IndexIVFPQ(faiss.IndexFlatL2(dim), dim, self._lists, self.code_bytes, 8)
        index.nprobe = self.probes
        self._seed(index.cp)
        return index


@contextmanager
def one_thread() -> Iterator[None]:
    """FAISS takes one thread: sums split among threads would round otherwise."""
    faiss = _faiss()
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def _written_bytes(index: Any) -> int:
    """Bytes that FAISS writes, counted without keeping them."""
    faiss, total = _faiss(), 0

    def count(part: bytes) -> None:
        nonlocal total
        total += len(part)

    writer = faiss.PyCallbackIOWriter(count, _WRITTEN)
    faiss.write_index(index, writer)
    return total


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise EngineError("FAISS is not installed", "pip install '.[hash]'") from error
    return faiss
