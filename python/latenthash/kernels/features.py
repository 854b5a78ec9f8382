"""From buckets to rows of features, and from rows to distances: the fine step."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from ..errors import StorageError
from . import library, numpy_kernels
from .library import FineInput, FineState
from .team import team_size, together

Distances = NDArray[np.float32]
_TYPES = [np.dtype(np.float32), np.dtype(np.float16), np.dtype(np.int8)]  # as in native.c
_METRICS = ["l2", "chi2", "cosine", "l1", "linf"]  # as in native.c
_LEAST = 256  # rows compared before those that follow may be given up
_LANES = 64  # C reads queries and scales in whole groups of so many
_REMEDY = "the index is damaged: verify it"


def rows_of(
    offsets: NDArray[np.int64], buckets: NDArray[np.int64], distances: NDArray[np.uint16]
) -> tuple[NDArray[np.int64], NDArray[np.uint16]]:
    """Rows that lie in buckets.

    Args:
        offsets: (K + 1,) int64; bucket b holds the rows offsets[b]..offsets[b + 1].
        buckets: (n,) int64, distinct.
        distances: (n,) uint16, of these buckets.

    Returns:
        Rows (M,) int64 in the order of the buckets; distances of their buckets (M,) uint16.

    Raises:
        StorageError: the offsets do not ascend.
    """
    starts, sizes = offsets[buckets], offsets[buckets + 1] - offsets[buckets]
    images = offsets[-1]
    if len(sizes) and (sizes.min() < 0 or starts.min() < 0 or (starts + sizes).max() > images):
        raise StorageError("offsets of buckets do not ascend", _REMEDY)
    if sizes.sum() > images:
        raise StorageError("buckets hold more rows than there are", _REMEDY)
    return numpy_kernels.rows_of(starts, sizes), np.repeat(distances, sizes)


def fine(
    metric: str,
    features: NDArray[np.generic],
    scale: NDArray[np.float32] | None,
    rows: NDArray[np.int64],
    query: NDArray[np.floating],
    limit: float = np.inf,
    k: int | None = None,
    threads: int | None = None,
) -> Distances:
    """Distances between one query and rows of features, as in `distances`.

    The sums of l2, l1 and linf only grow. They are given up where they are beyond
    `limit`, or farther than `k` rows before: what is not near is not read to its end.

    Args:
        metric: l2, chi2, cosine, l1 or linf.
        features: (N, D) float32, float16 or int8.
        scale: (D,) float32 that int8 values are multiplied with, else None.
        rows: (M,) int64; ascending is fastest.
        query: (D,) floating.
        limit: farther rows may be given as infinitely far.
        k: rows that are not among the k nearest may be, too; None: only by `limit`.
        threads: at most.

    Returns:
        (M,) float32.

    Raises:
        StorageError: a row outside 0..N.
    """
    if len(rows) and not (rows.min() >= 0 and rows.max() < len(features)):
        raise StorageError("rows beyond the end of the features", _REMEDY)
    if features.dtype not in _TYPES or query.shape != features.shape[1:] or not query.size:
        raise ValueError(f"features {features.shape} {features.dtype}, query {query.shape}")
    if (features.dtype == np.int8) != (scale is not None):
        raise ValueError("int8 features have a scale, others have none")
    out, query = np.full(len(rows), np.inf, np.float32), query.astype(np.float32)
    native = library.native()
    if native is None:
        numpy_kernels.fine(metric, features, scale, rows, query, out)
    else:
        features = np.ascontiguousarray(features)
        _native_fine(native, metric, features, scale, rows, query, out, limit, k, threads)
    return out


def _native_fine(
    native: ctypes.CDLL,
    metric: str,
    features: NDArray[np.generic],
    scale: NDArray[np.float32] | None,
    rows: NDArray[np.int64],
    query: NDArray[np.float32],
    out: Distances,
    limit: float,
    k: int | None,
    threads: int | None,
) -> None:
    dim = len(query)
    padded = np.zeros((2, -(-dim // _LANES) * _LANES), np.float32)
    padded[0, :dim] = query
    if scale is not None:
        padded[1, :dim] = scale
    rows = np.ascontiguousarray(rows, np.int64)
    given = FineInput(
        features.ctypes.data, _TYPES.index(features.dtype), dim, _METRICS.index(metric),
        padded[1].ctypes.data, padded[0].ctypes.data, rows.ctypes.data, len(rows), k or 0,
    )  # fmt: skip
    room = np.empty(len(rows) if k else 0, np.float32)
    first = max(2 * k, _LEAST) if k else len(rows)
    state = FineState(0, first, limit, room.ctypes.data)

    def work(_: int) -> None:
        native.lh_fine(ctypes.byref(given), out.ctypes.data, ctypes.byref(state))

    together(work, team_size(len(rows) * dim * features.itemsize, threads))


def top(
    distances: Distances, ids: NDArray[np.int64], k: int, max_distance: float | None = None
) -> NDArray[np.intp]:
    """Positions of the nearest, ordered by (distance, id).

    Args:
        distances: (M,) float32.
        ids: (M,) int64 of the same.
        k: wanted, 1 or more.
        max_distance: leave out what is farther; None: nothing.

    Returns:
        (n,) positions, n <= k.
    """
    positions = np.arange(len(distances))
    if len(positions) > k:
        # all up to the k-th smallest distance, ties included
        limit = np.partition(distances, k - 1)[k - 1]
        positions = np.flatnonzero(distances <= limit)
    if max_distance is not None:
        positions = positions[distances[positions] <= max_distance]
    order = np.lexsort((ids[positions], distances[positions]))
    return positions[order[:k]]
