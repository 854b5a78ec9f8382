"""Codes within a distance of queries; every code is read once for all queries."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from . import library, numpy_kernels
from .codes import Distances, Words, checked, counted, cut_rings, output, scan_input
from .library import SelectInput, SelectLog
from .team import PARTS, team_size, together

Selected = tuple[NDArray[np.int64], Distances]
Sizes = NDArray[np.int32]
Rings = NDArray[np.int64]
_MOST = 1 << 16  # queries whose number fits into 16 bits


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
        room: codes expected for all queries; if there are more, codes are read twice.
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
    """`select_batch` of codes that have images, and how many of these lie at each distance.

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
    if len(queries) > _MOST:
        raise ValueError(f"{len(queries)} queries at once; there may be {_MOST}")
    native = library.native()
    if native is None:
        return _numpy_part(buckets, sizes, queries, most)

    while True:
        logs, places, rings = _logged(native, buckets, sizes, queries, most, room, threads)
        used = sum(log.used for log in logs)
        if all(log.used <= room for log in logs):
            return _sorted(logs, places, len(queries)), rings
        room = used


class _Log:
    """What one thread found: indices, distances, and for which query."""

    def __init__(self, number: int, room: int) -> None:
        self.indices = np.empty(room, np.int64)
        self.distances = np.empty(room, np.uint16)
        self.queries = np.empty(room, np.uint16)
        arrays = (array.ctypes.data for array in (self.indices, self.distances, self.queries))
        self.given = SelectLog(number, room, 0, *arrays)

    @property
    def used(self) -> int:
        """Entries, also those that there was no room for."""
        return int(self.given.used)


def _logged(
    native: ctypes.CDLL,
    buckets: Words,
    sizes: Sizes | None,
    queries: Words,
    limits: NDArray[np.int64],
    room: int,
    threads: int | None,
) -> tuple[list[_Log], NDArray[np.int64], Rings]:
    """Logs of the threads; log, start and end of each part of the codes, (P, 3); rings."""
    members = team_size(buckets.nbytes * len(queries), threads)
    places = np.zeros((1 if members == 1 else PARTS * members, 3), np.int64)
    rings = np.zeros((members, *_ring_shape(buckets, sizes, queries)), np.int64)
    logs = [_Log(number, room) for number in range(members)]
    given, taken = scan_input(buckets, queries), ctypes.c_int64(0)
    size_data = None if sizes is None else sizes.ctypes.data
    wanted = SelectInput(size_data, limits.ctypes.data, len(places), places.ctypes.data)

    def work(member: int) -> None:
        log, own = ctypes.byref(logs[member].given), rings[member].ctypes.data
        native.lh_select(ctypes.byref(given), ctypes.byref(wanted), log, own, ctypes.byref(taken))

    together(work, members)
    return logs, places, rings.sum(axis=0)


def _sorted(logs: list[_Log], places: NDArray[np.int64], queries: int) -> list[Selected]:
    """The logs' entries by query, in the order of the codes."""
    pieces = [(logs[log], slice(start, end)) for log, start, end in places.tolist()]
    indices = np.concatenate([log.indices[part] for log, part in pieces])
    distances = np.concatenate([log.distances[part] for log, part in pieces])
    if queries == 1:
        return [(indices, distances)]
    owners = np.concatenate([log.queries[part] for log, part in pieces])
    order = np.argsort(owners, kind="stable")
    ends = np.cumsum(np.bincount(owners, minlength=queries))[:-1]
    split = np.split(indices[order], ends), np.split(distances[order], ends)
    return list(zip(*split, strict=True))[:queries]


def _numpy_part(
    buckets: Words, sizes: Sizes | None, queries: Words, limits: NDArray[np.int64]
) -> tuple[list[Selected], Rings]:
    distances, selected = output(len(buckets), None), []
    rings = np.zeros(_ring_shape(buckets, sizes, queries), np.int64)
    for query, limit, ring in zip(queries, limits, rings, strict=True):
        numpy_kernels.scan(buckets, query, distances)
        indices = numpy_kernels.within(distances, int(limit))
        if sizes is not None:
            indices = indices[sizes[indices] > 0]
        selected.append((indices, distances[indices]))
        if sizes is not None:
            numpy_kernels.add_rings(distances[indices], sizes[indices], ring)
    return selected, rings


def _ring_shape(buckets: Words, sizes: Sizes | None, queries: Words) -> tuple[int, int]:
    """Rings for any code of these words, damaged ones too; none without sizes."""
    return len(queries), 64 * buckets.shape[1] + 1 if sizes is not None else 0
