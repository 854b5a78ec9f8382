"""Nearest-neighbour search by product quantisation, with or without inverted lists; by FAISS."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .faiss_search import FaissSearch, load_faiss
from .neighbours import Features

_SUBWORDS = 256  # that a byte tells apart


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
            faiss = load_faiss()
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
        return load_faiss().IndexPQ(features.shape[1], self.code_bytes, 8)

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
        faiss, (count, dim) = load_faiss(), features.shape
        self._lists = self.lists or min(4 * math.isqrt(count), count)
        index = faiss.IndexIVFPQ(faiss.IndexFlatL2(dim), dim, self._lists, self.code_bytes, 8)
        index.nprobe = self.probes
        self._seed(index.cp)
        return index
