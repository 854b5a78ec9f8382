"""Codes within a distance of queries; every code is read once for all queries."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import library, numpy_kernels
from .codes import Distances, Words, checked, counted, cut_rings, output, scan_input
from .library import SelectOutput
from .team import PARTS, team_size, together

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
    native = library.native()
    if native is None:
        return _numpy_part(buckets, sizes, queries, most)

    members = team_size(buckets.nbytes * len(queries), threads)
    while True:
        found = _native(native, buckets, sizes, queries, most, room, members)
        if isinstance(found, int):
            room = found
        else:
            return found


def _native(
    native: ctypes.CDLL,
    buckets: Words,
    sizes: Sizes | None,
    queries: Words,
    limits: NDArray[np.int64],
    room: int,
    members: int,
) -> tuple[list[Selected], Rings] | int:
    """What is selected, or the room that it needs in each part if `room` is too little."""
    parts = 1 if members == 1 else PARTS * members
    counts = np.zeros((parts, len(queries)), np.int64)
    # near codes may all lie in one part, so each has the whole room: unused costs nothing
    indices = np.empty((*counts.shape, min(room, len(buckets))), np.int64)
    distances = np.empty(indices.shape, np.uint16)
    rings = np.zeros((members, *_ring_shape(buckets, sizes, queries)), np.int64)
    given, taken = scan_input(buckets, queries), ctypes.c_int64(0)
    output = SelectOutput(
        None if sizes is None else sizes.ctypes.data, limits.ctypes.data,
        parts, indices.shape[2], counts.ctypes.data, indices.ctypes.data, distances.ctypes.data,
    )  # fmt: skip

    def work(member: int) -> None:
        own = rings[member].ctypes.data
        native.lh_select(ctypes.byref(given), ctypes.byref(output), own, ctypes.byref(taken))

    together(work, members)
    if counts.size and counts.max() > indices.shape[2]:
        return int(counts.max())
    selected = [
        (_joined(indices[:, query], ends), _joined(distances[:, query], ends))
        for query, ends in enumerate(counts.T.tolist())
    ]
    return selected, rings.sum(axis=0)


def _joined(pieces: NDArray[Any], ends: list[int]) -> NDArray[Any]:
    """The beginnings of (P, R) pieces, one after the other."""
    return np.concatenate([piece[:end] for piece, end in zip(pieces, ends, strict=True)])


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
