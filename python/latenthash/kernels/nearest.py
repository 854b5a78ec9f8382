"""The coarse step in one pass: the nearest codes, without counting all the others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .codes import Words, rings_batch
from .select import Selected, select_batch, select_rings

Sample = tuple[Words, NDArray[np.int32]]
_STEP = 128  # of so many codes one is in the sample
_FEW = 1 << 16  # codes that are counted as quickly as sampled


def sample_of(buckets: Words, sizes: NDArray[np.int32]) -> Sample:
    """The codes and sizes by which `nearest` guesses how far it must look; make them once."""
    return np.ascontiguousarray(buckets[::_STEP]), np.ascontiguousarray(sizes[::_STEP])


def nearest(
    buckets: Words,
    sizes: NDArray[np.int32],
    queries: Words,
    bits: int,
    wanted: int,
    radius: int | None = None,
    sample: Sample | None = None,
    threads: int | None = None,
) -> list[Selected]:
    """All codes within the smallest distance that holds `wanted` images.

    A sample tells about how far that is; the scan then keeps codes up to there and what
    was too much is dropped. If it was too little, it looks farther: the result is exact.

    Args:
        buckets: (K, W) uint64.
        sizes: (K,) int32, images of each code.
        queries: (Q, W) uint64.
        bits: of a code.
        wanted: images; all codes within `radius` if there are fewer.
        radius: go no farther; None: `bits`.
        sample: `sample_of(buckets, sizes)`; None: made now.
        threads: at most.

    Returns:
        For each query indices (n,) int64, ascending, and their distances (n,) uint16.

    Raises:
        StorageError: a code has bits set beyond `bits`.
    """
    farthest = bits if radius is None else min(radius, bits)
    if len(buckets) <= _FEW:
        rings = rings_batch(buckets, sizes, queries, bits, threads)
        return select_batch(buckets, queries, _limits(rings, wanted, farthest), 0, threads)
    codes, code_sizes = sample or sample_of(buckets, sizes)
    rings = rings_batch(codes, code_sizes, queries, bits, threads)
    found: dict[int, Selected] = {}
    target = wanted / _STEP
    while missing := [query for query in range(len(queries)) if query not in found]:
        target = 1.25 * target + 4 * target**0.5 + 4  # seldom too little: 4 standard deviations
        limits, some = _limits(rings[missing], target, farthest), queries[missing]
        room = _room(codes, some, limits, threads)
        chosen, images = select_rings(buckets, sizes, some, bits, limits, room, threads)
        for number, query in enumerate(missing):
            if limits[number] == farthest or images[number].sum() >= wanted:
                limit = _limits(images[number], wanted, farthest)
                found[query] = _up_to(chosen[number], int(limit))
    return [found[query] for query in range(len(queries))]


def _limits(rings: NDArray[np.int64], wanted: float, farthest: int) -> NDArray[np.intp]:
    """The distance that holds `wanted` images: (..., R) rings to (...) limits."""
    short = np.cumsum(rings, axis=-1) < wanted
    limits: NDArray[np.intp] = np.minimum(short.sum(axis=-1), farthest)
    return limits


def _room(codes: Words, queries: Words, limits: NDArray[np.intp], threads: int | None) -> int:
    """Codes of the whole that one query selects, at most, as the sample shows."""
    most = max(len(found) for found, _ in select_batch(codes, queries, limits, 0, threads))
    return 2 * _STEP * (most + 8)


def _up_to(selected: Selected, limit: int) -> Selected:
    indices, distances = selected
    kept = distances <= limit
    return indices[kept], distances[kept]
