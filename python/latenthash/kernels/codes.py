"""Hamming distances from queries to the distinct codes of a segment.

Codes are (K, W) uint64, W words of 64 bits each: the packed bytes of `hamming.pack`,
padded with zeros to whole words. `hamming.words` makes them.
"""

from __future__ import annotations

import ctypes
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import StorageError
from . import library, numpy_kernels
from .library import ScanInput
from .team import in_parts, team_size, together

Words = NDArray[np.uint64]
Distances = NDArray[np.uint16]
Count = TypeVar("Count", np.int32, np.int64)
_MAX_WORDS = 16
_RARE = 100  # of so many distances one is expected within the limit


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
    buckets, queries = checked(buckets, query[None])
    out = output(len(buckets), out)
    _scan(buckets, None, queries, out, threads)
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
    buckets, queries = checked(buckets, query[None])
    out = output(len(buckets), out)
    [rings] = _scan(buckets, counted(sizes, buckets), queries, out, threads)
    return out, cut_rings(rings, bits)


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
    buckets, queries = checked(buckets, queries)
    return cut_rings(_scan(buckets, counted(sizes, buckets), queries, None, threads), bits)


def within(distances: Distances, limit: int, threads: int | None = None) -> NDArray[np.int64]:
    """Indices (n,) int64, ascending, of the distances (K,) uint16 that are <= limit."""
    native = library.native()
    distances = np.ascontiguousarray(distances, np.uint16)
    if native is None:
        return numpy_kernels.within(distances, limit)

    def part(start: int, stop: int) -> NDArray[np.int64]:
        indices = np.empty((stop - start) // _RARE, np.int64)
        while True:
            place = indices.ctypes.data
            count = native.lh_within(distances.ctypes.data, start, stop, limit, len(indices), place)
            if count <= len(indices):
                return indices[:count]
            indices = np.empty(count, np.int64)

    return np.concatenate(in_parts(len(distances), team_size(distances.nbytes, threads), part))


def _scan(
    buckets: Words,
    sizes: NDArray[np.int32] | None,
    queries: Words,
    out: Distances | None,
    threads: int | None,
) -> NDArray[np.int64]:
    """Fill `out` (K,) with the only query's distances; rings (Q, 64 W + 1) if `sizes`."""
    ring_count = 64 * buckets.shape[1] + 1 if sizes is not None else 0
    native = library.native()
    if native is None:
        return _numpy_scan(buckets, sizes, queries, out, ring_count)
    members = team_size(buckets.nbytes * len(queries), threads)
    rings = np.zeros((members, len(queries), ring_count), np.int64)
    given, taken = scan_input(buckets, queries), ctypes.c_int64(0)
    size_data = None if sizes is None else sizes.ctypes.data
    out_data = None if out is None else out.ctypes.data

    def work(member: int) -> None:
        own = rings[member].ctypes.data
        native.lh_scan(ctypes.byref(given), size_data, out_data, own, ctypes.byref(taken))

    together(work, members)
    total: NDArray[np.int64] = rings[0] if members == 1 else rings.sum(axis=0)
    return total


def _numpy_scan(
    buckets: Words,
    sizes: NDArray[np.int32] | None,
    queries: Words,
    out: Distances | None,
    ring_count: int,
) -> NDArray[np.int64]:
    rings = np.zeros((len(queries), ring_count), np.int64)
    distances = output(len(buckets), out)
    for query, ring in zip(queries, rings, strict=True):
        numpy_kernels.scan(buckets, query, distances)
        if sizes is not None:
            numpy_kernels.add_rings(distances, sizes, ring)
    return rings


def scan_input(buckets: Words, queries: Words) -> ScanInput:
    """For C; valid while both arrays live."""
    return ScanInput(buckets.ctypes.data, *buckets.shape, queries.ctypes.data, len(queries))


def checked(buckets: Words, queries: Words) -> tuple[Words, Words]:
    """Both (_, W), contiguous."""
    if buckets.ndim != 2 or buckets.shape[1:] != queries.shape[1:]:
        raise ValueError(f"codes of shape {buckets.shape}, queries {queries.shape}")
    if not 1 <= buckets.shape[1] <= _MAX_WORDS:
        raise ValueError(f"{buckets.shape[1]} words a code; there may be 1 to {_MAX_WORDS}")
    return np.ascontiguousarray(buckets, np.uint64), np.ascontiguousarray(queries, np.uint64)


def counted(sizes: NDArray[np.int32], buckets: Words) -> NDArray[np.int32]:
    """Sizes, contiguous, one for each code."""
    if sizes.shape != (len(buckets),):
        raise ValueError(f"sizes of shape {sizes.shape} for {len(buckets)} codes")
    return np.ascontiguousarray(sizes, np.int32)


def output(count: int, out: Distances | None) -> Distances:
    """The array to fill: `out` if it fits, a new one if there is none."""
    if out is None:
        return np.empty(count, np.uint16)
    if out.shape != (count,) or out.dtype != np.uint16 or not out.flags.c_contiguous:
        raise ValueError(f"out of shape {out.shape}, {out.dtype}, for {count} codes")
    return out


def cut_rings(rings: NDArray[Count], bits: int) -> NDArray[Count]:
    """Rings 0..bits; the others must be empty."""
    if rings[..., bits + 1 :].any():
        raise StorageError(f"codes with more than {bits} bits", "the index is damaged: verify it")
    return rings[..., : bits + 1]
