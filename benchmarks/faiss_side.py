"""What LatentHash is compared with: the two-stage search that FAISS, NumPy and PyTorch give.

IndexBinaryFlat finds the candidates, then exact distances are taken on them. Every way
that there is to do either step is tried, on all cores and on the very same features in
memory (no copy, the same rows side by side); the fastest of each is what is measured.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from harness import CORES, available_bytes, interleaved, percentiles
from latenthash.distances import METRICS
from latenthash.hamming import Codes

Rows = NDArray[np.int64]
Distances = NDArray[np.float32]
Found = tuple[Rows, Distances]
_BLOCK = 256  # rows at a time: their float32 stays in the cache
_TRIALS = 15
_COPY_SHARE = 0.4  # of the free memory, at most, for a float32 copy


class TwoStage:
    """Codes, then features, of N images by row.

    Args:
        codes: (N, W) uint8.
        features: (N, D) float32, float16 or int8, values of int8 not negative.
        scale: (D,) float32 for int8.
        ids: (N,) int64: equal distances are ordered by id.
        bits: of a code.
        metric: l2, chi2, cosine, l1 or linf.
        candidates: that the first stage returns.
        top: that the second stage returns.
        copy: whether the features may be held as float32, if that fits.
    """

    def __init__(
        self, codes: Codes, features: NDArray[Any], scale: NDArray[np.float32] | None,
        ids: NDArray[np.int64], bits: int, metric: str, candidates: int, top: int,
        copy: bool = True,
    ) -> None:  # fmt: skip
        faiss.omp_set_num_threads(CORES)
        self.features, self.scale, self.ids, self._may_copy = features, scale, ids, copy
        self.metric, self.candidates, self.top = metric, min(candidates, len(codes)), top
        self._pool = ThreadPoolExecutor(CORES, initializer=faiss.omp_set_num_threads, initargs=(1,))
        self.coarse_ways = _coarse_ways(codes)
        self.fine_ways = self._fine_ways()
        self.fine_way = next(iter(self.fine_ways))
        self.coarse_way = {sharded: f"heap{', sharded' * sharded}" for sharded in (False, True)}

    def choose(self, codes: Codes, features: NDArray[np.float32]) -> dict[str, dict[str, float]]:
        """Time every way on some queries and keep the fastest; the medians in ms.

        Of the first stage two are kept: of IndexBinaryFlat as it is, and of a part a core.
        """
        queries = min(_TRIALS, len(codes))
        coarse = {
            name: lambda q, way=way: way(codes[q], self.candidates)
            for name, way in self.coarse_ways.items()
        }
        seconds, found = interleaved(coarse, queries)
        for sharded in self.coarse_way:
            names = [name for name in seconds if name.endswith("sharded") == sharded]
            self.coarse_way[sharded] = min(names, key=lambda n: float(np.median(seconds[n])))
        rows = [np.sort(result) for result in found[self.coarse_way[False]]]
        fine = {
            name: lambda q, way=way: self._best(*way(rows[q], features[q]))
            for name, way in self.fine_ways.items()
        }
        fine_seconds, _ = interleaved(fine, queries)
        self.fine_way = min(fine_seconds, key=lambda name: float(np.median(fine_seconds[name])))
        return {
            step: {name: percentiles(times)["p50_ms"] for name, times in ways.items()}
            for step, ways in (("coarse", seconds), ("fine", fine_seconds))
        }

    def coarse(self, code: Codes, sharded: bool, candidates: int | None = None) -> Rows:
        """Rows of the nearest codes."""
        way = self.coarse_ways[self.coarse_way[sharded]]
        return way(code, candidates or self.candidates)

    def search(
        self,
        code: Codes,
        feature: NDArray[np.float32],
        sharded: bool = False,
        candidates: int | None = None,
    ) -> Found:
        """(ids, distances) of the best, ordered by (distance, id)."""
        rows = np.sort(self.coarse(code, sharded, candidates))
        return self._best(*self.fine_ways[self.fine_way](rows, feature))

    def _best(self, rows: Rows, distances: Distances) -> Found:
        if len(rows) > self.top:
            kept = distances <= np.partition(distances, self.top - 1)[self.top - 1]
            rows, distances = rows[kept], distances[kept]
        ids = self.ids[rows]
        order = np.lexsort((ids, distances))[: self.top]
        return ids[order], distances[order]

    def _fine_ways(self) -> dict[str, Callable[[Rows, Distances], Found]]:
        ways = {"numpy": self._threaded(self._numpy)}
        if self.metric == "l2":
            ways["numpy, dot product"] = self._threaded(self._dot())
            ways |= self._faiss_ways()
        torch = _torch(self.metric, self.features, self.scale)
        return ways | ({"torch": torch} if torch else {})

    def _threaded(
        self, block: Callable[[Rows, Distances], Distances]
    ) -> Callable[[Rows, Distances], Found]:
        def fine(rows: Rows, query: Distances) -> Found:
            blocks = [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]
            parts = list(self._pool.map(lambda part: block(part, query), blocks))
            return rows, np.concatenate(parts)

        return fine

    def _values(self, rows: Rows) -> Distances:
        values = self.features[rows].astype(np.float32)
        if self.scale is not None:
            values *= self.scale
        return values

    def _numpy(self, rows: Rows, query: Distances) -> Distances:
        return METRICS[self.metric](query, self._values(rows))

    def _dot(self) -> Callable[[Rows, Distances], Distances]:
        """|x|^2 + |q|^2 - 2 xq, |x|^2 known: rounds more, and takes one pass less."""
        everything = np.arange(len(self.ids))
        _, squares = self._threaded(lambda rows, _: _squares(self._values(rows)))(everything, None)

        def block(rows: Rows, query: Distances) -> Distances:
            scaled = query if self.scale is None else query * self.scale
            products = self.features[rows].astype(np.float32) @ scaled
            return np.sqrt(np.maximum(squares[rows] + query @ query - 2 * products, 0))

        return block

    def _faiss_ways(self) -> dict[str, Callable[[Rows, Distances], Found]]:
        ways: dict[str, Callable[[Rows, Distances], Found]] = {}
        floats = self.features if self.features.dtype == np.float32 else self._copy()
        if floats is not None:
            ways["faiss, float32"] = self._threaded(_by_index(floats))
        if self.features.dtype != np.float32:
            ways["faiss, scalar quantizer"] = _Quantized(self, self._pool).fine
        return ways

    def _copy(self) -> Distances | None:
        if not self._may_copy or 4 * self.features.size > _COPY_SHARE * available_bytes():
            return None
        return self._values(np.arange(len(self.ids)))


def _squares(values: Distances) -> Distances:
    result: Distances = np.einsum("nd,nd->n", values, values)
    return result


def _coarse_ways(codes: Codes) -> dict[str, Callable[[Codes, int], Rows]]:
    """IndexBinaryFlat as it is (one query, one thread), and one part a core; heap or counting."""
    parts = np.array_split(np.arange(len(codes)), CORES)
    ways: dict[str, Callable[[Codes, int], Rows]] = {}
    for name, use_heap in (("heap", True), ("counting", False)):
        whole, shards = _flat(codes, use_heap), faiss.IndexBinaryShards(8 * codes.shape[1], True)
        shards.own_indices = True
        for part in parts:
            shard = _flat(codes[part[0] : part[-1] + 1] if len(part) else codes[:0], use_heap)
            shard.this.disown()
            shards.add_shard(shard)
        ways[name] = lambda code, count, index=whole: index.search(code[None], count)[1][0]
        ways[f"{name}, sharded"] = lambda code, count, index=shards: index.search(
            code[None], count
        )[1][0]
    return ways


def _flat(codes: Codes, use_heap: bool) -> Any:
    index = faiss.IndexBinaryFlat(8 * codes.shape[1])
    index.use_heap = use_heap
    index.add(codes)
    return index


def _by_index(features: Distances) -> Callable[[Rows, Distances], Distances]:
    """FAISS's float32 kernel on rows of an array."""

    def block(rows: Rows, query: Distances) -> Distances:
        out = np.empty(len(rows), np.float32)
        pointers = map(faiss.swig_ptr, (out, query, features, rows))
        faiss.fvec_L2sqr_by_idx(*pointers, features.shape[1], 1, len(rows))
        return np.sqrt(out)

    return block


class _Quantized:
    """FAISS's scalar quantizer on our float16 or int8, in place; one part a core.

    Its uint8 is decoded to low + (code + 0.5) / 255 * range, which is scale * code for
    low = -scale / 2 and range = 255 * scale: exact for values of int8 that are not negative.
    """

    def __init__(self, side: TwoStage, pool: ThreadPoolExecutor) -> None:
        self._side, self._pool = side, pool
        self._lender = _lender()
        kinds = faiss.ScalarQuantizer
        self._kind = kinds.QT_fp16 if side.scale is None else kinds.QT_8bit

    def fine(self, rows: Rows, query: Distances) -> Found:
        """Rows and distances of the best of each part, together."""
        parts = [part for part in np.array_split(rows, CORES) if len(part)]
        found = list(self._pool.map(lambda part: self._part(part, query), parts))
        best, squares = (np.concatenate(column) for column in zip(*found, strict=True))
        return best, np.sqrt(squares)

    def _part(self, rows: Rows, query: Distances) -> Found:
        first, last = int(rows[0]), int(rows[-1]) + 1
        chosen = np.zeros(last - first, bool)
        chosen[rows - first] = True
        selector = faiss.IDSelectorBitmap(np.packbits(chosen, bitorder="little"))
        squares, places = self._view(first, last).search(
            query[None],
            min(self._side.top, len(rows)),
            params=faiss.SearchParameters(sel=selector),
        )
        return places[0] + first, squares[0]

    def _view(self, first: int, last: int) -> Any:
        """An index of rows first..last that owns nothing."""
        features, scale = self._side.features, self._side.scale
        row = features.strides[0]
        index = faiss.IndexScalarQuantizer(features.shape[1], self._kind)
        if scale is not None:
            faiss.copy_array_to_vector(
                np.concatenate((-0.5 * scale, 255 * scale)), index.sq.trained
            )
        index.is_trained = True
        index.codes = faiss.MaybeOwnedVectorUInt8.create_view(
            faiss.cast_integer_to_void_ptr(features.ctypes.data + first * row),
            (last - first) * row,
            self._lender.codes.owner,  # points into the lender, which has to stay
        )
        index.ntotal = last - first
        return index


def _lender() -> Any:
    """A mapped index: its codes' owner is what FAISS wants for memory that is not its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "tiny.faiss")
        tiny = faiss.IndexScalarQuantizer(1, faiss.ScalarQuantizer.QT_fp16)
        tiny.add(np.zeros((1, 1), np.float32))
        faiss.write_index(tiny, path)
        return faiss.read_index(path, faiss.IO_FLAG_MMAP_IFC)


def _torch(
    metric: str, features: NDArray[Any], scale: NDArray[np.float32] | None
) -> Callable[[Rows, Distances], Found] | None:
    """PyTorch on all cores, or None if it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(CORES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the map is read-only, and so are we
        stored = torch.from_numpy(features)
    factor = None if scale is None else torch.from_numpy(scale)
    measures = {
        "l2": lambda x, y: (y - x).square_().sum(1).sqrt_(),
        "l1": lambda x, y: (y - x).abs_().sum(1),
        "linf": lambda x, y: (y - x).abs_().amax(1),
        "chi2": lambda x, y: ((y - x).square_() / (y + x)).nan_to_num_(0).sum(1),
        "cosine": lambda x, y: 1 - torch.nn.functional.cosine_similarity(y, x[None]),
    }

    def fine(rows: Rows, query: Distances) -> Found:
        x, index = torch.from_numpy(query), torch.from_numpy(rows)
        parts = []
        for start in range(0, len(rows), _BLOCK * CORES):
            values = stored[index[start : start + _BLOCK * CORES]].float()
            values = values if factor is None else values.mul_(factor)
            parts.append(measures[metric](x, values))
        return rows, torch.cat(parts).numpy()

    return fine


def same_hits(ours: Found, theirs: Found, tolerance: float = 1e-4) -> bool:
    """Whether two answers are equal up to ties: distances that differ by rounding only.

    Both are (ids, distances), nearest first. Images that only one of them has must lie at
    the edge: as far as the last one.
    """
    (our_ids, our_distances), (their_ids, their_distances) = ours, theirs
    if len(our_ids) != len(their_ids):
        return False
    if not np.allclose(our_distances, their_distances, rtol=tolerance, atol=tolerance):
        return False
    lone = our_distances[~np.isin(our_ids, their_ids)]
    return bool(np.allclose(lone, our_distances[-1:], rtol=tolerance, atol=tolerance))
