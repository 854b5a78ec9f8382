"""Tables over the distinct codes of a segment: near codes without reading all.

Multi-index hashing (Norouzi, Punjani, Fleet: Fast Search in Hamming Space with
Multi-Index Hashing, CVPR 2012, section 3): a code is cut into m fields, each with a
table from the field's value to the codes that have it. Of codes at distance r = m a + b
from the query, some field j <= b is within a or some field j > b within a - 1. So the
codes at distance <= r are all found by r + 1 steps, step m a + j looking up in table j
the values at distance a. With m = 1 the table holds whole codes and a step is a ring.
"""

from __future__ import annotations

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


def work(bits: int, fields: int, codes: int, step: int) -> tuple[int, float]:
    """Lookups of a step of `Tables`, and the codes found if they are spread evenly."""
    distance, number = divmod(step, fields)
    cut = edges(bits, fields)
    wide = cut[number + 1] - cut[number]
    lookups = comb(wide, distance)
    return lookups, lookups * codes / 2.0**wide


class Tables:
    """Tables over K distinct codes, one a field."""

    def __init__(self, buckets: Words, bits: int, fields: int) -> None:
        """Sort the codes by each field.

        Args:
            buckets: (K, W) uint64, as in a segment.
            bits: of a code.
            fields: to cut it into, 1..bits.
        """
        self._buckets = buckets
        self._fields = [_Field(buckets, *ends) for ends in pairwise(edges(bits, fields))]

    def __len__(self) -> int:
        return len(self._fields)

    def step(self, step: int, query: Words) -> tuple[Indices, Distances, int]:
        """Codes that this step finds first, their distances, and how many were compared.

        Args:
            step: from 0; after step r all codes at distance <= r have been found.
            query: (W,) uint64.
        """
        distance, number = divmod(step, len(self))
        found = self._fields[number].lookup(query, distance)
        differing = self._buckets[found] ^ query
        first = np.full(len(found), step)
        total = np.zeros(len(found), np.uint16)
        for other, field in enumerate(self._fields):
            apart = field.distance(differing)
            total += apart
            np.minimum(first, apart.astype(np.intp) * len(self) + other, out=first)
        new = np.flatnonzero(first == step)
        return found[new], total[new], len(found)


class _Field:
    """Bits start..stop of the codes, and the codes sorted by them."""

    def __init__(self, buckets: Words, start: int, stop: int) -> None:
        self._start, self._bits = start, stop - start
        inside = np.zeros(64 * buckets.shape[1], bool)
        inside[start:stop] = True
        mask = words(np.packbits(inside)[None])[0]
        self._masks = {word: mask[word] for word in np.flatnonzero(mask).tolist()}
        values = self._value(buckets)
        self._order = _sorted_by(values)
        counts = np.bincount(values, minlength=1 << self._bits)
        self._offsets = np.concatenate(([0], np.cumsum(counts)))

    def _value(self, codes: Words) -> NDArray[np.uint32]:
        """The field of codes (n, W) as numbers (n,)."""
        word, shift = divmod(self._start, 64)
        value = codes[:, word].byteswap() << np.uint64(shift) >> np.uint64(64 - self._bits)
        beyond = shift + self._bits - 64
        if beyond > 0:
            value |= codes[:, word + 1].byteswap() >> np.uint64(64 - beyond)
        return value.astype(np.uint32)

    def lookup(self, query: Words, distance: int) -> Indices:
        """Codes whose field is at `distance` from the query's."""
        keys = self._value(query[None]) ^ ring(self._bits, distance)
        entries, _ = rows_of(self._offsets, keys.astype(np.int64), np.zeros(len(keys), np.uint16))
        return self._order[entries].astype(np.int64)

    def distance(self, differing: Words) -> NDArray[np.uint16]:
        """Differing bits of the field, (n,)."""
        result = np.zeros(len(differing), np.uint16)
        for word, mask in self._masks.items():
            result += np.bitwise_count(differing[:, word] & mask)
        return result


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
