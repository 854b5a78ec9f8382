"""Hamming distances from queries to the distinct codes of a segment.

Codes are (K, W) uint64, W words of 64 bits each: the packed bytes of `hamming.pack`,
padded with zeros to whole words. `hamming.words` makes them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import StorageError
from . import numpy_kernels

Words = NDArray[np.uint64]
Distances = NDArray[np.uint16]


def scan(
    buckets: Words, query: Words, out: Distances | None = None, threads: int | None = None
) -> Distances:
    """Hamming distances of all codes to one query.

    Args:
        buckets: (K, W) uint64.
        query: (W,) uint64.
        out: (K,) uint16 to fill; a new array if None.
        threads: at most; None: see `threads.thread_count`.

    Returns:
        (K,) uint16.
    """
    out = _output(buckets, out)
    numpy_kernels.scan(buckets, query, out)
    return out


def scan_rings(
    buckets: Words,
    sizes: NDArray[np.int32],
    query: Words,
    bits: int,
    out: Distances | None = None,
    threads: int | None = None,
) -> tuple[Distances, NDArray[np.int64]]:
    """Distances of all codes, and how many images lie at each distance, in one pass.

    Args:
        buckets: (K, W) uint64.
        sizes: (K,) int32, images of each code.
        query: (W,) uint64.
        bits: of a code.
        out: (K,) uint16 to fill; a new array if None.
        threads: at most.

    Returns:
        Distances (K,) uint16; images at distance 0..bits, (bits + 1,) int64.

    Raises:
        StorageError: a code has bits set beyond `bits`.
    """
    distances = scan(buckets, query, out, threads)
    rings = np.zeros(_ring_count(buckets), np.int64)
    numpy_kernels.add_rings(distances, sizes, rings)
    return distances, _cut(rings, bits)


def rings_batch(
    buckets: Words,
    sizes: NDArray[np.int32],
    queries: Words,
    bits: int,
    threads: int | None = None,
) -> NDArray[np.int64]:
    """Images at each distance from each query; every code is read once for all queries.

    Args:
        buckets: (K, W) uint64.
        sizes: (K,) int32, images of each code.
        queries: (Q, W) uint64.
        bits: of a code.
        threads: at most.

    Returns:
        (Q, bits + 1) int64.

    Raises:
        StorageError: a code has bits set beyond `bits`.
    """
    rings = [scan_rings(buckets, sizes, query, bits, None, threads)[1] for query in queries]
    return np.array(rings, np.int64).reshape(len(queries), bits + 1)


def select_batch(
    buckets: Words, queries: Words, limits: NDArray[np.integer], threads: int | None = None
) -> list[tuple[NDArray[np.int64], Distances]]:
    """Codes within a limit of each query; every code is read once for all queries.

    Args:
        buckets: (K, W) uint64.
        queries: (Q, W) uint64.
        limits: (Q,) largest distance wanted; negative: none.
        threads: at most.

    Returns:
        For each query indices (n,) int64, ascending, and their distances (n,) uint16.
    """
    found = []
    for query, limit in zip(queries, limits, strict=True):
        distances = scan(buckets, query, None, threads)
        indices = within(distances, int(limit))
        found.append((indices, distances[indices]))
    return found


def within(distances: Distances, limit: int, threads: int | None = None) -> NDArray[np.int64]:
    """Indices (n,) int64, ascending, of the distances (K,) uint16 that are <= limit."""
    return numpy_kernels.within(distances, limit)


def _output(buckets: Words, out: Distances | None) -> Distances:
    return np.empty(len(buckets), np.uint16) if out is None else out


def _ring_count(buckets: Words) -> int:
    """Rings for any code of these words, damaged ones too."""
    return 64 * int(buckets.shape[1]) + 1


def _cut(rings: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    if rings[..., bits + 1 :].any():
        raise StorageError(f"codes with more than {bits} bits", "the index is damaged: verify it")
    return rings[..., : bits + 1]
