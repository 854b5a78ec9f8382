"""The compiled kernels' work in NumPy: for machines without a compiler, and as a check."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..distances import METRICS

_BLOCK = 1 << 16  # codes at a time: the temporaries stay in the cache
_ROWS = 256


def scan(buckets: NDArray[np.uint64], query: NDArray[np.uint64], out: NDArray[np.uint16]) -> None:
    """Hamming distances of (K, W) words to (W,) into out (K,)."""
    for start in range(0, len(buckets), _BLOCK):
        differing = np.bitwise_count(buckets[start : start + _BLOCK] ^ query)
        differing.sum(axis=1, dtype=np.uint16, out=out[start : start + _BLOCK])


def add_rings(
    distances: NDArray[np.uint16], sizes: NDArray[np.int32], rings: NDArray[np.int64]
) -> None:
    """Add sizes (K,) to rings (R,) at distances (K,)."""
    # float64 counts exactly up to 2^53 images
    rings += np.bincount(distances, weights=sizes, minlength=len(rings)).astype(np.int64)


def rank(
    codes: NDArray[np.uint64],
    queries: NDArray[np.uint64],
    order: NDArray[np.int32],
    rings: NDArray[np.int32],
) -> None:
    """The first k of codes (N, W) for queries (Q, W) into order (Q, k); counts into rings."""
    distances = np.empty(len(codes), np.uint16)
    for query, places, ring in zip(queries, order, rings, strict=True):
        scan(codes, query, distances)
        # of 16-bit numbers, NumPy's stable sort is a radix sort
        places[:] = np.argsort(distances, kind="stable")[: len(places)]
        ring[:] = np.bincount(distances, minlength=len(ring))


def within(distances: NDArray[np.uint16], limit: int) -> NDArray[np.int64]:
    """Where distances (K,) <= limit, ascending."""
    return np.flatnonzero(distances <= limit).astype(np.int64, copy=False)


def rows_of(starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The ranges starts..starts + sizes, one after the other."""
    ends = np.cumsum(sizes)
    rows: NDArray[np.int64] = np.repeat(starts - (ends - sizes), sizes)
    rows += np.arange(len(rows))
    return rows


def fine(
    metric: str,
    features: NDArray[np.generic],
    scale: NDArray[np.float32] | None,
    rows: NDArray[np.int64],
    query: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Distances of rows (M,) of features (N, D) to the query (D,) into out (M,)."""
    for start in range(0, len(rows), _ROWS):
        block = features[rows[start : start + _ROWS]].astype(np.float32)
        if scale is not None:
            block *= scale
        out[start : start + _ROWS] = METRICS[metric](query, block)
