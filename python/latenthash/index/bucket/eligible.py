"""Which images of a segment a filter lets through."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..filter import Filter, literal_prefix, matcher
from .segment import Segment

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Eligible:
    """Images of a segment that may be found.

    Attributes:
        rows: (N,) bool by row; None: all.
        sizes: (K,) int32, how many in each bucket.
        images: how many in all.
    """

    rows: Mask | None
    sizes: NDArray[np.int32]
    images: int


def eligible(segment: Segment, classes: Sequence[str], wanted: Filter | None) -> Eligible:
    """Live images of the segment that pass the filter.

    Raises:
        DataError: the filter names a class that there is not.
    """
    if wanted is None:
        return Eligible(segment.live, segment.sizes, segment.live_images)
    passing = _passing(segment, classes, wanted)[segment.positions]
    if segment.live is not None:
        passing &= segment.live
    sizes = np.add.reduceat(passing, segment.offsets[:-1], dtype=np.int32)
    return Eligible(passing, sizes, int(sizes.sum(dtype=np.int64)))


def _passing(segment: Segment, classes: Sequence[str], wanted: Filter) -> Mask:
    """(N,) bool by position."""
    labels, not_labels = wanted.label_numbers(classes)
    result = ~np.isin(segment.labels, list(not_labels))
    if labels is not None:
        result &= np.isin(segment.labels, list(labels))
    if wanted.ids is not None:
        result &= _among(segment.ids, wanted.ids)
    if wanted.not_ids:
        result &= ~_among(segment.ids, wanted.not_ids)
    if wanted.names is not None:
        result &= _named(segment, result, wanted.names)
    if wanted.not_names:
        result &= ~_named(segment, result, wanted.not_names)
    return result


def _among(ids: NDArray[np.int64], wanted: Collection[int]) -> Mask:
    return np.isin(ids, np.fromiter(wanted, np.int64, len(wanted)))


def _named(segment: Segment, asked: Mask, patterns: Collection[str]) -> Mask:
    """(N,) bool: the name matches, of the images asked about."""
    result = np.zeros(len(asked), dtype=bool)
    for pattern in patterns:
        prefix, match = literal_prefix(pattern), matcher([pattern])
        positions = segment.positions_named(prefix) if prefix else np.arange(segment.images)
        positions = positions[asked[positions] & ~result[positions]]
        result[positions] = [match(name) is not None for name in segment.names(positions)]
    return result
