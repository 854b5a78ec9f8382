"""One query over the segments of an index: near buckets, their rows, distances, rank."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from ... import kernels
from ..base import Hits, SearchOptions
from .candidates import Found, Source, cut, rows_in
from .coarse import Probe, Scan, reached
from .fine import Nearest, compare
from .tables import Distances, Indices, Words


@dataclass(frozen=True)
class Near:
    """Result of the coarse step.

    Attributes:
        taken: for each segment bucket numbers, ascending, and their distances.
        radius: that it went to.
        within: images in reach, more than the buckets hold if there is a cap.
        ways: how each segment was searched.
        seconds: that it took.
    """

    taken: list[tuple[Indices, Distances]]
    radius: int
    within: int
    ways: tuple[str, ...]
    seconds: float


def limits(options: SearchOptions, bits: int) -> tuple[int, int | None]:
    """Largest radius to go to, and the images wanted (None: all within it)."""
    if options.exact:
        return bits, None
    radius = bits if options.radius is None else min(options.radius, bits)
    return radius, options.candidates


def coarse(
    sources: Sequence[Source], query: Words, options: SearchOptions, expected: int | None
) -> Near:
    """Find the buckets near a query.

    Args:
        sources: the segments, at least one.
        query: (W,) uint64.
        options: how far to go.
        expected: radius that is likely reached; None: not known.
    """
    begin = perf_counter()
    parts = [part.codes.start(query, part.eligible.sizes, expected) for part in sources]
    bits = sources[0].codes.bits
    for part in parts:
        part.aim(*limits(options, bits))
    return _near(parts, bits, options, begin)


def coarse_batch(sources: Sequence[Source], queries: Words, options: SearchOptions) -> list[Near]:
    """As `coarse` by scan, for (Q, W) queries; each code is read once for all of them."""
    begin = perf_counter()
    bits = sources[0].codes.bits
    aim = limits(options, bits)
    parts: list[list[Scan]] = [[] for _ in queries]
    for source in sources:
        sizes = source.eligible.sizes
        found = source.codes.nearest(queries, sizes, *aim)
        for mine, query, near in zip(parts, queries, found, strict=True):
            mine.append(Scan(source.codes, sizes, query))
            mine[-1].take(near)
    shared = (perf_counter() - begin) / len(queries)
    return [_near(mine, bits, options, perf_counter() - shared) for mine in parts]


def _near(parts: Sequence[Scan | Probe], bits: int, options: SearchOptions, begin: float) -> Near:
    """Go as far as the options want, or as far as the cap allows."""
    radius = reached(parts, *limits(options, bits))

    def count(radius: int) -> int:
        return sum(part.count(radius) for part in parts)

    within = count(radius)
    if options.cap is not None and within > options.cap:
        radius = bisect_left(range(radius + 1), options.cap, key=count)
    taken = [part.taken(radius) for part in parts]
    return Near(taken, radius, within, tuple(part.way for part in parts), perf_counter() - begin)


def answer(
    sources: Sequence[Source],
    near: Near,
    feature: NDArray[np.float32],
    options: SearchOptions,
    threads: int | None = None,
) -> Hits:
    """Compare the images of the near buckets by feature and rank them.

    Args:
        sources: the segments.
        near: what `coarse` found in them.
        feature: (D,) of the query.
        options: metric, hits wanted, cap.
        threads: of the comparison.
    """
    begin = perf_counter()
    found = [rows_in(*pair) for pair in zip(sources, near.taken, strict=True)]
    candidates = sum(len(part.rows) for part in found)
    if options.cap is not None and candidates > options.cap:
        cut(found, options.cap)
        candidates = options.cap
    listed = perf_counter()
    nearest = Nearest(options.top, options.max_distance)
    fine = compare(found, feature, options.metric, nearest, threads)
    compared = perf_counter()
    best, ids = _rank(found, fine, options, nearest.limit)
    hamming = np.concatenate([part.hamming for part in found])
    times = {
        "coarse": near.seconds + listed - begin,
        "fine": compared - listed,
        "rank": perf_counter() - compared,
    }
    return Hits(
        ids=ids,
        hamming=hamming[best],
        distances=fine[best],
        radius=int(hamming.max()) if candidates else -1,
        buckets=sum(part.buckets for part in found),
        candidates=candidates,
        exact=candidates == sum(source.eligible.images for source in sources),
        left_out=near.within - candidates,
        ways=near.ways,
        timings_ms={phase: 1e3 * seconds for phase, seconds in times.items()},
    )


def _rank(
    found: list[Found], fine: NDArray[np.float32], options: SearchOptions, limit: float
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Places of the hits among all candidates, and their ids, by (distance, id)."""
    places = np.flatnonzero(fine <= limit)  # ids of these only, ties included
    ends = np.cumsum([len(part.rows) for part in found])
    parts = np.split(places, np.searchsorted(places, ends[:-1]))
    ids = np.concatenate(
        [
            part.ids(chosen - (end - len(part.rows)))
            for part, chosen, end in zip(found, parts, ends.tolist(), strict=True)
        ]
    )
    order = kernels.top(fine[places], ids, options.top, options.max_distance)
    return places[order], ids[order]
