"""The coarse step in one pass: the nearest codes, without counting all the others."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .codes import Distances, Words, rings_batch
from .select import select_rings

Sample = tuple[Words, NDArray[np.int32]]
Indices = NDArray[np.int64]
_STEP = 512  # of so many images one is in the sample
_FEW = 1 << 16  # codes that are counted as quickly as sampled


class Near(NamedTuple):
    """Codes near a query.

    Attributes:
        indices: (n,), ascending.
        distances: (n,), of these.
        rings: (bits + 1,), their images by distance.
    """

    indices: Indices
    distances: Distances
    rings: NDArray[np.int64]


def sample_of(buckets: Words, sizes: NDArray[np.int32]) -> Sample:
    """The codes by which `nearest` guesses how far it must look; make them once.

    Images are sampled, not codes: a few codes hold many images.

    Returns:
        Codes of every so many-th image, (S, W); how many of the sample each has, (S,).
    """
    ends = np.cumsum(sizes, dtype=np.int64)
    images = np.arange(_STEP // 2, ends[-1] if len(ends) else 0, _STEP)
    chosen, counts = np.unique(np.searchsorted(ends, images, side="right"), return_counts=True)
    return np.ascontiguousarray(buckets[chosen]), counts.astype(np.int32)


def nearest(
    buckets: Words,
    sizes: NDArray[np.int32],
    queries: Words,
    bits: int,
    wanted: int,
    radius: int | None = None,
    sample: Sample | None = None,
    threads: int | None = None,
) -> list[Near]:
    """All codes that have images within the smallest distance that holds `wanted` of them.

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
        What is near to each query.

    Raises:
        StorageError: a code has bits set beyond `bits`.
    """
    farthest = bits if radius is None else min(radius, bits)
    if len(buckets) <= _FEW:
        rings = rings_batch(buckets, sizes, queries, bits, threads)
        limits = _limits(rings, wanted, farthest)
        few, images = select_rings(buckets, sizes, queries, bits, limits, 0, threads)
        return [Near(*codes, counts) for codes, counts in zip(few, images, strict=True)]
    codes, code_sizes = sample or sample_of(buckets, sizes)
    rings = rings_batch(codes, code_sizes, queries, bits, threads)
    found: dict[int, Near] = {}
    target = wanted / _STEP
    while missing := [query for query in range(len(queries)) if query not in found]:
        target = 1.25 * target + 4 * target**0.5 + 4  # seldom too little: 4 standard deviations
        limits, some = _limits(rings[missing], target, farthest), queries[missing]
        room = _room(rings[missing], limits)
        chosen, images = select_rings(buckets, sizes, some, bits, limits, room, threads)
        for number, query in enumerate(missing):
            if limits[number] == farthest or images[number].sum() >= wanted:
                limit = _limits(images[number], wanted, farthest)
                found[query] = _up_to(*chosen[number], images[number], int(limit))
    return [found[query] for query in range(len(queries))]


def _limits(rings: NDArray[np.int64], wanted: float, farthest: int) -> NDArray[np.intp]:
    """The distance that holds `wanted` images: (..., R) rings to (...) limits."""
    short = np.cumsum(rings, axis=-1) < wanted
    limits: NDArray[np.intp] = np.minimum(short.sum(axis=-1), farthest)
    return limits


def _room(rings: NDArray[np.int64], limits: NDArray[np.intp]) -> int:
    """Images, so codes at most, that queries select as the sample's (Q, R) rings show."""
    within = np.arange(rings.shape[1]) <= limits[:, None]
    return 2 * _STEP * (int(rings[within].sum()) + 8 * len(rings))


def _up_to(indices: Indices, distances: Distances, rings: NDArray[np.int64], limit: int) -> Near:
    rings[limit + 1 :] = 0
    kept = np.flatnonzero(distances <= limit)  # several times as fast as a mask
    return Near(indices.take(kept), distances.take(kept), rings)
