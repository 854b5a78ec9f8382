"""Candidates: the images in the buckets that the coarse step chose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ... import kernels
from .coarse import SegmentCodes
from .eligible import Eligible
from .segment import Segment
from .tables import Distances, Indices

Rows = NDArray[np.int64]
_MOST = 4


@dataclass(frozen=True)
class Source:
    """A segment, its codes, and its images that pass the filter."""

    segment: Segment
    codes: SegmentCodes
    eligible: Eligible


@dataclass
class Found:
    """Candidates in one segment.

    Attributes:
        source: the segment.
        rows: (M,) int64, those of the nearest codes first unless most are wanted.
        hamming: (M,) uint16, distances of their codes.
        buckets: that they lie in.
    """

    source: Source
    rows: Rows
    hamming: Distances
    buckets: int

    def ids(self, chosen: NDArray[np.intp] | None = None) -> NDArray[np.int64]:
        """Ids of the rows, or of some by their places."""
        segment, rows = self.source.segment, self.rows
        rows = rows if chosen is None else rows[chosen]
        return segment.ids[segment.positions[rows]]


def rows_in(source: Source, taken: tuple[Indices, Distances]) -> Found:
    """Rows of the buckets that pass the filter.

    The sooner near ones are compared, the sooner others can be given up; but where most
    of a segment is to be read, it is read in order.
    """
    buckets, distances = taken
    if _MOST * len(buckets) < len(source.segment.buckets):
        order = np.argsort(distances, kind="stable")
        buckets, distances = buckets[order], distances[order]
    rows, hamming = kernels.rows_of(source.segment.offsets, buckets, distances)
    if source.eligible.rows is None:
        return Found(source, rows, hamming, len(buckets))
    passing = source.eligible.rows[rows]
    return Found(source, rows[passing], hamming[passing], len(buckets))


def cut(found: list[Found], cap: int) -> None:
    """Keep `cap` candidates: of the last ring those with the lowest ids."""
    last = max(int(part.hamming.max(initial=0)) for part in found)
    rings = [np.flatnonzero(part.hamming == last) for part in found]
    ids = np.concatenate([part.ids(ring) for part, ring in zip(found, rings, strict=True)])
    kept = cap - (sum(len(part.rows) for part in found) - len(ids))
    highest = np.partition(ids, kept - 1)[kept - 1]
    for part, ring in zip(found, rings, strict=True):
        keep = np.ones(len(part.rows), dtype=bool)
        keep[ring] = part.ids(ring) <= highest
        part.rows, part.hamming = part.rows[keep], part.hamming[keep]
        offsets = part.source.segment.offsets
        part.buckets = len(np.unique(np.searchsorted(offsets, part.rows, side="right")))
