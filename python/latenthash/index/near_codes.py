"""All pairs of codes within a Hamming radius, without looking at all pairs.

Codes that differ in at most r bits agree in at least one of r + 1 chunks (the pigeonhole
behind multi-index hashing; Norouzi, Punjani, Fleet 2012): sorted by a chunk, they lie in
one run. A pair is told once, at the first chunk in which it agrees.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..progress import Progress, silent

Words = NDArray[np.uint64]
Numbers = NDArray[np.int64]


def pairs_within(
    codes: Words, bits: int, radius: int, on_progress: Progress = silent
) -> Iterator[tuple[Numbers, Numbers]]:
    """Pairs of codes that differ in at most `radius` bits, each pair once, in batches.

    Args:
        codes: (K, words) uint64, the packed bytes padded with zeros to whole words; equal
            codes are pairs too.
        bits: of a code.
        radius: 0 or more.
        on_progress: told of the share done, as (codes x chunks).

    Yields:
        Two (n,) int64 arrays of positions in `codes`, of at most K pairs.
    """
    masks = chunk_masks(bits, radius)
    total = len(masks) * len(codes)
    for number, mask in enumerate(masks):
        for one, other, share in _runs(codes & mask):
            on_progress(int((number + share) * len(codes)), total)
            differing = codes[one] ^ codes[other]
            near = np.bitwise_count(differing).sum(axis=1, dtype=np.int64) <= radius
            for earlier in masks[:number]:
                near &= (differing & earlier).any(axis=1)
            if near.any():
                yield one[near], other[near]
        on_progress((number + 1) * len(codes), total)


def chunk_masks(bits: int, radius: int) -> list[Words]:
    """(words,) masks of the radius + 1 chunks, about equally long.

    With no bit for each chunk there is one mask, of no bits: all codes agree in it.
    """
    words = (bits + 63) // 64
    chunk_of_bit = np.arange(bits) * (radius + 1) // bits
    chunks = radius + 1 if radius < bits else 0
    chosen = [chunk_of_bit == chunk for chunk in range(chunks)] or [np.zeros(bits, bool)]
    padded = [np.pad(mask, (0, 64 * words - bits)) for mask in chosen]
    return [np.packbits(mask).view(np.uint64) for mask in padded]


def _runs(keys: Words) -> Iterator[tuple[Numbers, Numbers, float]]:
    """Pairs of positions with equal keys, and the share of all such pairs looked at.

    Neighbours in sorted order come first, then the next but one, and so on.
    """
    order = np.lexsort(keys.T)
    ordered = keys[order]
    ends_here = np.append((ordered[1:] != ordered[:-1]).any(axis=1), True)
    lasts = np.flatnonzero(ends_here)
    last = lasts[np.searchsorted(lasts, np.arange(len(keys)))]
    done, total = 0, int((last - np.arange(len(keys))).sum())
    active = np.arange(len(keys))
    for step in range(1, len(keys)):
        active = active[active + step <= last[active]]
        if not len(active):
            break
        done += len(active)
        yield order[active], order[active + step], done / total
