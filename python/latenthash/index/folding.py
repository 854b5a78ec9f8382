"""One query, near-copies among its hits folded into the best of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..hamming import Codes
from .base import Hits, SearchOptions, StoredIndex
from .duplicates import fold

_SPARE = 4  # of so many hits one more is fetched at first: most sets have few near-copies
_GROWTH = 4  # times as many, if that was not enough


def search_folded(
    index: StoredIndex, code: Codes, feature: NDArray[np.floating], options: SearchOptions
) -> tuple[Hits, NDArray[np.int64]]:
    """Find `options.top` images that are no near-copies of one another.

    Args:
        index: to search.
        code: (W,) uint8, packed.
        feature: (D,).
        options: how.

    Returns:
        The hits, and (k,) how many near-copies were met of each. Fewer hits than wanted
        mean that all candidates were looked at.
    """
    found, leaders = _looked_at(index, code, feature, options)
    kept, counts = np.unique(leaders, return_counts=True)
    return _some(found, kept[: options.top]), counts[: options.top] - 1


def folded_into(
    index: StoredIndex,
    code: Codes,
    feature: NDArray[np.floating],
    options: SearchOptions,
    hit: int,
) -> Hits:
    """Find the near-copies that `search_folded` leaves out for one of its hits.

    Args:
        index, code, feature, options: as of `search_folded`.
        hit: id of the hit; of another image there are none.
    """
    found, leaders = _looked_at(index, code, feature, options)
    return _some(found, np.flatnonzero((found.ids[leaders] == hit) & (found.ids != hit)))


def _looked_at(
    index: StoredIndex, code: Codes, feature: NDArray[np.floating], options: SearchOptions
) -> tuple[Hits, NDArray[np.int64]]:
    """Hits enough to keep `options.top` of them, and the place of that each folds into."""
    asked = options.top + options.top // _SPARE + _SPARE
    while True:
        [found] = index.search(code[None], feature[None], replace(options, top=asked))
        leaders = fold(index.stored(found.ids)[1])
        if len(np.unique(leaders)) >= options.top or len(found.ids) < asked:
            return found, leaders
        asked *= _GROWTH


def _some(found: Hits, places: NDArray[np.integer]) -> Hits:
    return replace(
        found,
        ids=found.ids[places],
        hamming=found.hamming[places],
        distances=found.distances[places],
    )
