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
    asked = options.top + options.top // _SPARE + _SPARE
    while True:
        [found] = index.search(code[None], feature[None], replace(options, top=asked))
        leaders = fold(index.stored(found.ids)[1])
        kept, counts = np.unique(leaders, return_counts=True)
        if len(kept) >= options.top or len(found.ids) < asked:
            break
        asked *= _GROWTH
    best = kept[: options.top]
    hits = replace(
        found,
        ids=found.ids[best],
        hamming=found.hamming[best],
        distances=found.distances[best],
    )
    return hits, counts[: options.top] - 1
