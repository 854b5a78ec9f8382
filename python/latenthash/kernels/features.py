"""From buckets to rows of features, and from rows to distances: the fine step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import StorageError
from . import numpy_kernels

Distances = NDArray[np.float32]
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
    threads: int | None = None,
) -> Distances:
    """Distances between one query and rows of features, as in `distances`.

    Args:
        metric: l2, chi2, cosine, l1 or linf.
        features: (N, D) float32, float16 or int8.
        scale: (D,) float32 that int8 values are multiplied with, else None.
        rows: (M,) int64; ascending is fastest.
        query: (D,) floating.
        threads: at most.

    Returns:
        (M,) float32.

    Raises:
        StorageError: a row outside 0..N.
    """
    if len(rows) and not (rows.min() >= 0 and rows.max() < len(features)):
        raise StorageError("rows beyond the end of the features", _REMEDY)
    out = np.empty(len(rows), np.float32)
    numpy_kernels.fine(metric, features, scale, rows, query.astype(np.float32), out)
    return out


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
