"""Codes within a distance of queries; every code is read once for all queries."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from . import library, numpy_kernels
from .codes import Distances, Words, checked, counted, cut_rings, output, scan_input
from .library import pointers
from .team import in_parts, team_size

Selected = tuple[NDArray[np.int64], Distances]
Sizes = NDArray[np.int32]
Rings = NDArray[np.int64]


def select_batch(
    buckets: Words,
    queries: Words,
    limits: NDArray[np.integer],
    room: int = 0,
    threads: int | None = None,
) -> list[Selected]:
    """Codes within a limit of each query.

    Args:
        buckets: (K, W) uint64.
        queries: (Q, W) uint64.
        limits: (Q,) largest distance wanted; negative: none.
        room: codes expected for a query; if there are more, codes are read twice.
        threads: at most.

    Returns:
        For each query indices (n,) int64, ascending, and their distances (n,) uint16.
    """
    buckets, queries = checked(buckets, queries)
    return _selected(buckets, None, queries, limits, room, threads)[0]


def select_rings(
    buckets: Words,
    sizes: Sizes,
    queries: Words,
    bits: int,
    limits: NDArray[np.integer],
    room: int = 0,
    threads: int | None = None,
) -> tuple[list[Selected], Rings]:
    """`select_batch`, and how many images are selected at each distance.

    Returns:
        As `select_batch`; (Q, bits + 1) int64, 0 beyond the limit.

    Raises:
        StorageError: a selected code has bits set beyond `bits`.
    """
    buckets, queries = checked(buckets, queries)
    selected, rings = _selected(buckets, counted(sizes, buckets), queries, limits, room, threads)
    return selected, cut_rings(rings, bits)


def _selected(
    buckets: Words,
    sizes: Sizes | None,
    queries: Words,
    limits: NDArray[np.integer],
    room: int,
    threads: int | None,
) -> tuple[list[Selected], Rings]:
    most: NDArray[np.int64] = np.ascontiguousarray(limits, np.int64)
    if most.shape != (len(queries),):
        raise ValueError(f"{len(most)} limits for {len(queries)} queries")
    native = library.native()
    if native is None:
        return _numpy_part(buckets, sizes, queries, most)

    def part(start: int, stop: int) -> tuple[list[Selected], Rings]:
        some = None if sizes is None else sizes[start:stop]
        # near codes may all lie in one part, so each has the whole room: unused costs nothing
        return _part(native, start, buckets[start:stop], some, queries, most, room)

    parts = in_parts(len(buckets), team_size(buckets.nbytes * len(queries), threads), part)
    if len(parts) == 1:
        return parts[0]
    pieces = zip(*(selected for selected, _ in parts), strict=True)
    rings: Rings = np.stack([rings for _, rings in parts]).sum(axis=0)
    return [_joined(piece) for piece in pieces], rings


def _part(
    native: ctypes.CDLL,
    first: int,
    buckets: Words,
    sizes: Sizes | None,
    queries: Words,
    limits: NDArray[np.int64],
    room: int,
) -> tuple[list[Selected], Rings]:
    """A part of the codes, the first of which has index `first`."""
    given, counts = scan_input(buckets, queries), np.full(len(queries), min(room, len(buckets)))
    size_data = None if sizes is None else sizes.ctypes.data
    while True:
        rooms, rings = counts.copy(), np.zeros(_ring_shape(buckets, sizes, queries), np.int64)
        found = [(np.empty(n, np.int64), np.empty(n, np.uint16)) for n in rooms]
        places = [pointers([arrays[i].ctypes.data for arrays in found]) for i in (0, 1)]
        native.lh_select(
            ctypes.byref(given), first, size_data, limits.ctypes.data, rooms.ctypes.data,
            counts.ctypes.data, rings.ctypes.data, *places,
        )  # fmt: skip
        if (counts <= rooms).all():
            return [(i[:n], d[:n]) for (i, d), n in zip(found, counts, strict=True)], rings


def _numpy_part(
    buckets: Words, sizes: Sizes | None, queries: Words, limits: NDArray[np.int64]
) -> tuple[list[Selected], Rings]:
    distances, selected = output(len(buckets), None), []
    rings = np.zeros(_ring_shape(buckets, sizes, queries), np.int64)
    for query, limit, ring in zip(queries, limits, rings, strict=True):
        numpy_kernels.scan(buckets, query, distances)
        indices = numpy_kernels.within(distances, int(limit))
        selected.append((indices, distances[indices]))
        if sizes is not None:
            numpy_kernels.add_rings(distances[indices], sizes[indices], ring)
    return selected, rings


def _ring_shape(buckets: Words, sizes: Sizes | None, queries: Words) -> tuple[int, int]:
    """Rings for any code of these words, damaged ones too; none without sizes."""
    return len(queries), 64 * buckets.shape[1] + 1 if sizes is not None else 0


def _joined(pieces: Iterable[Selected]) -> Selected:
    indices, distances = zip(*pieces, strict=True)
    return np.concatenate(indices), np.concatenate(distances)
