"""A generation as it is searched: what is kept between queries."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ...parallel import ordered_map
from ...threads import thread_count
from ..base import Hits, SearchOptions
from ..filter import Filter
from .candidates import Source
from .coarse import SegmentCodes
from .eligible import eligible
from .generation import Generation
from .layout import BUCKETS
from .query import Near, answer, coarse, coarse_batch, limits
from .segment import Segment
from .tables import Words

_FILTERS = 8  # whose masks are kept: a byte an image each
_BLOCK = 32  # queries of a batch that share the reading of the codes
_KINDS = 1000  # of queries whose usual radius is known
_FOUND = 256 << 20  # bytes that near codes may take: number and distance of each


class Snapshot:
    """One generation with its filters' masks, tables and usual radii; thread-safe."""

    def __init__(self, generation: Generation, way: str | None, before: Snapshot | None) -> None:
        """Keep what is still true of the snapshot `before`."""
        self.generation = generation
        known: dict[str, SegmentCodes] = before._codes if before else {}
        self._codes: dict[str, SegmentCodes] = {
            key: known.get(key) or SegmentCodes(segment.buckets, generation.manifest["bits"], way)
            for key, segment in zip(_keys(generation), generation.segments, strict=True)
        }
        self._usual: dict[tuple[object, ...], int] = dict(before._usual) if before else {}
        self._sources = lru_cache(_FILTERS)(self._filtered)

    def _filtered(self, wanted: Filter | None) -> list[Source]:
        classes = self.generation.manifest["classes"]
        return [
            Source(segment, codes, eligible(segment, classes, wanted))
            for segment, codes in zip(
                self.generation.segments, self._codes.values(), strict=True
            )
        ]  # fmt: skip

    def search(
        self, queries: Words, features: NDArray[np.float32], options: SearchOptions
    ) -> list[Hits]:
        """Answer (Q, W) codes and (Q, D) features that fit the index."""
        sources = self._sources(options.filter)
        if not sources:
            return [_nothing() for _ in queries]
        if len(queries) == 1:
            near = self._coarse(sources, queries[0], options)
            return [answer(sources, near, features[0], options)]
        hits: list[Hits] = []
        size = self._block(options)
        for start in range(0, len(queries), size):
            block = slice(start, start + size)
            hits += self._batch(sources, queries[block], features[block], options)
        return hits

    def _block(self, options: SearchOptions) -> int:
        """Queries that are answered together: what they find of the codes is in memory."""
        if limits(options, 0)[1] is not None:
            return _BLOCK
        codes = sum(len(segment.buckets) for segment in self.generation.segments)
        return max(1, min(_BLOCK, _FOUND // (10 * codes)))

    def _batch(
        self,
        sources: list[Source],
        queries: Words,
        features: NDArray[np.float32],
        options: SearchOptions,
    ) -> list[Hits]:
        """Scan for all queries together, then compare them side by side."""
        expected = self._expected(options)
        scans = [source.codes.tables_for(expected, batched=True) is None for source in sources]
        shared = (
            coarse_batch(sources, queries, options) if all(scans) and not options.exact else None
        )

        def one(number: int) -> Hits:
            near = shared[number] if shared else self._coarse(sources, queries[number], options)
            return answer(sources, near, features[number], options, threads=1)

        workers = 1 if options.exact else thread_count()
        return list(ordered_map(one, range(len(queries)), workers))

    def _coarse(self, sources: list[Source], query: Words, options: SearchOptions) -> Near:
        near = coarse(sources, query, options, self._expected(options))
        if len(self._usual) > _KINDS:
            self._usual.clear()
        self._usual[_kind(options)] = near.radius
        return near

    def _expected(self, options: SearchOptions) -> int | None:
        """Radius that such a query will likely go to; None: there was none like it."""
        return self._usual.get(_kind(options))

    def gather(
        self,
        ids: NDArray[np.int64],
        values: Callable[[Segment, NDArray[np.intp]], list[str]],
    ) -> list[str]:
        """What `values` says of images by id, in the order of the ids.

        Raises:
            DataError: no image with such an id.
        """
        result: list[str | None] = [None] * len(ids)
        for segment in self.generation.segments:
            at = np.minimum(np.searchsorted(segment.ids, ids), segment.images - 1)
            here = np.flatnonzero(segment.ids[at] == ids)
            for number, value in zip(here.tolist(), values(segment, at[here]), strict=True):
                result[number] = value
        found = [value for value in result if value is not None]
        if len(found) < len(result):
            missing = ids[result.index(None)]
            raise DataError(
                f"{self.generation.folder}: no image with id {missing}", "was it removed?"
            )
        return found


def _kind(options: SearchOptions) -> tuple[object, ...]:
    return options.candidates, options.radius, options.exact, options.filter


def _keys(generation: Generation) -> list[str]:
    """What tells the codes of a segment from others: name and checksum."""
    entries = generation.manifest["segments"][: len(generation.segments)]
    return [f"{entry['name']} {entry['files'][BUCKETS]['sha256']}" for entry in entries]


def _nothing() -> Hits:
    return Hits(
        ids=np.empty(0, np.int64),
        hamming=np.empty(0, np.uint16),
        distances=np.empty(0, np.float32),
        radius=-1,
        buckets=0,
        candidates=0,
        exact=True,
        timings_ms=dict.fromkeys(("coarse", "fine", "rank"), 0.0),
    )
