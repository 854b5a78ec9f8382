"""Tables over the distinct codes of a segment: near codes without reading all.

Multi-index hashing (Norouzi, Punjani, Fleet: Fast Search in Hamming Space with
Multi-Index Hashing, CVPR 2012, section 3): a code is cut into m fields, each with a
table from the field's value to the codes that have it. Of codes at distance r = m a + b
from the query, some field j <= b is within a or some field j > b within a - 1. So the
codes at distance <= r are all found by r + 1 steps, step m a + j looking up in table j
the values at distance a. With m = 1 the table holds whole codes and a step is a ring.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from math import comb

import numpy as np
from numpy.typing import NDArray

from ...hamming import words
from ...kernels import rows_of

Words = NDArray[np.uint64]
Indices = NDArray[np.int64]
Distances = NDArray[np.uint16]
WHOLE_BITS = 20  # up to this width a table of whole codes fits a cache
_FIELD_BITS = 24  # the widest field: its table has 2^24 entries


def field_count(bits: int, codes: int) -> int:
    """Fields to cut a code into: about log2 of the number of codes wide (section 3.1)."""
    wide = min(_FIELD_BITS, max(8, round(np.log2(max(codes, 1)))))
    return max(2, -(-bits // wide)) if bits > 1 else 1


def edges(bits: int, fields: int) -> list[int]:
    """Where the fields begin and end, fields + 1 numbers."""
    return [number * bits // fields for number in range(fields + 1)]


@lru_cache(maxsize=1024)
def work(bits: int, fields: int, codes: int, first: int, last: int) -> tuple[int, float]:
    """Lookups of steps first..last of `Tables`, and the codes found if they are evenly spread."""
    wide = np.diff(edges(bits, fields)).tolist()
    lookups = [comb(wide[step % fields], step // fields) for step in range(first, last + 1)]
    found = [
        count * codes / 2.0 ** wide[step % fields]
        for step, count in enumerate(lookups, start=first)
    ]
    return sum(lookups), sum(found)


class Tables:
    """Tables over K distinct codes, one a field, one after the other."""

    def __init__(self, buckets: Words, bits: int, fields: int) -> None:
        """Sort the codes by each field.

        Args:
            buckets: (K, W) uint64, as in a segment.
            bits: of a code.
            fields: to cut it into, 1..bits.
        """
        self._buckets, self._bits, self.fields = buckets, bits, fields
        cuts = list(pairwise(edges(bits, fields)))
        self._order = np.empty((fields, len(buckets)), np.int32)
        counts = []
        for number, (start, stop) in enumerate(cuts):
            values = _values(buckets, start, stop)
            self._order[number] = _sorted_by(values)
            counts.append(np.bincount(values, minlength=1 << (stop - start)))
        self._offsets = np.concatenate(([0], np.cumsum(np.concatenate(counts))))
        self._pieces, self._masks, self._starts = _pieces(cuts, buckets.shape[1])

    def steps(self, first: int, last: int, query: Words) -> tuple[Indices, Distances, int]:
        """Codes that steps first..last find and no step before did.

        Args:
            first: 0, or the step after the last one taken.
            last: then all codes at distance <= last have been found.
            query: (W,) uint64.

        Returns:
            Codes (n,) int64 and their distances (n,) uint16; how many were compared.
        """
        fields, bases, flips, when = _lookups(self._bits, self.fields, first, last)
        cuts = pairwise(edges(self._bits, self.fields))
        own = np.array([_values(query[None], *cut)[0] for cut in cuts], np.int64)
        entries, steps = rows_of(self._offsets, bases + (own[fields] ^ flips), when)
        found = self._order.reshape(-1)[entries].astype(np.int64)
        differing = self._buckets[found] ^ query
        apart = np.bitwise_count(differing[:, self._pieces] & self._masks)
        by_field = np.add.reduceat(apart, self._starts, axis=1, dtype=np.uint16)
        # a code is found in several fields; it counts where that happens first
        earliest = (by_field * np.uint16(self.fields) + np.arange(self.fields)).min(axis=1)
        new = np.flatnonzero(earliest == steps)
        return found[new], by_field[new].sum(axis=1, dtype=np.uint16), len(found)


@lru_cache(maxsize=64)
def _lookups(
    bits: int, fields: int, first: int, last: int
) -> tuple[Indices, Indices, Indices, Distances]:
    """For each value to look up: its field, where the field's table starts, the bits that
    differ from the query's, and the step that it belongs to (uint16)."""
    cut = edges(bits, fields)
    wide = np.diff(cut).tolist()
    starts = np.cumsum([0, *(1 << width for width in wide)])
    flips = [ring(wide[step % fields], step // fields) for step in range(first, last + 1)]
    steps = np.repeat(np.arange(first, last + 1), [len(part) for part in flips])
    number = steps % fields
    return number, starts[number], np.concatenate(flips).astype(np.int64), steps.astype(np.uint16)


def _pieces(
    cuts: Sequence[tuple[int, int]], columns: int
) -> tuple[NDArray[np.intp], Words, NDArray[np.intp]]:
    """The fields as parts of words: word and mask of each part, first part of each field."""
    pieces: list[int] = []
    masks: list[int] = []
    starts: list[int] = []
    for start, stop in cuts:
        inside = np.zeros(64 * columns, bool)
        inside[start:stop] = True
        mask = words(np.packbits(inside)[None])[0]
        starts.append(len(pieces))
        pieces += np.flatnonzero(mask).tolist()
        masks += mask[mask != 0].tolist()
    return np.array(pieces, np.intp), np.array(masks, np.uint64), np.array(starts, np.intp)


def _values(codes: Words, start: int, stop: int) -> NDArray[np.uint32]:
    """Bits start..stop of codes (n, W) as numbers (n,)."""
    word, shift = divmod(start, 64)
    bits = stop - start
    value = codes[:, word].byteswap() << np.uint64(shift) >> np.uint64(64 - bits)
    beyond = shift + bits - 64
    if beyond > 0:
        value |= codes[:, word + 1].byteswap() >> np.uint64(64 - beyond)
    return value.astype(np.uint32)


def _sorted_by(values: NDArray[np.uint32]) -> NDArray[np.int32]:
    """Indices that sort (K,) values; 16 bits at a time, which NumPy sorts by counting."""
    order = np.argsort(values.astype(np.uint16), kind="stable").astype(np.int32)
    if len(values) and values.max() >> 16:
        high = (values >> 16).astype(np.uint16)
        order = order[np.argsort(high[order], kind="stable")]
    return order


@lru_cache(maxsize=256)
def ring(bits: int, distance: int) -> NDArray[np.uint32]:
    """All numbers of `bits` bits of which `distance` are 1, (C(bits, distance),)."""
    # [x for x in range(2 ** bits) if x.bit_count() == distance], without trying all
    numbers, lowest = np.zeros(1, np.uint32), np.full(1, bits)
    for _ in range(distance):  # set one more bit below the lowest that is set
        parents = np.repeat(np.arange(len(numbers)), lowest)
        bit = np.arange(len(parents)) - np.repeat(np.cumsum(lowest) - lowest, lowest)
        numbers, lowest = numbers[parents] | (np.uint32(1) << bit.astype(np.uint32)), bit
    return numbers
