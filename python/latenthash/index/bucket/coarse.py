"""The coarse step: from a query's code to the buckets near it. Three ways, one answer.

* `scan` reads all distinct codes: nothing to prepare, always the same cost.
* `table` looks up the neighbours of a short code in a table of whole codes.
* `mih` looks up neighbours of the fields of a long code (see `tables`).

The last two cost little near the query and more with every ring. They are taken when the
costs measured on this machine say that they are done before a scan would be; if a query
goes farther than was expected, it changes over to a scan. Their tables take a moment to
make, so they are made beside the queries, once as much time was lost without them.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from threading import Lock, Thread

import numpy as np
from numpy.typing import NDArray

from ... import kernels
from ...kernels.nearest import Sample
from .cost import Costs, machine_costs
from .memory import available
from .tables import WHOLE_BITS, Distances, Indices, Tables, Words, field_count, work

_log = logging.getLogger(__name__)
_SMALL = 200_000  # words; scanned faster than one would find a better way
_ALL = 1 << 62
_SAMPLES = 8  # that are kept: one for each filter in use
Sizes = NDArray[np.int32]


class Scan:
    """One query in one segment, all codes read; no farther than `aim` said."""

    way = "scan"

    def __init__(self, codes: SegmentCodes, sizes: Sizes, query: Words) -> None:
        """Read nothing yet; `sizes` (K,) counts the images of each code that may be found."""
        self._codes, self._sizes, self._query = codes, sizes, query
        self._counts = np.zeros(0, np.int64)
        self._near = np.empty(0, np.int64), np.empty(0, np.uint16)

    def aim(self, limit: int, wanted: int | None) -> None:
        """Read the codes: all within `limit`, or those nearest that hold `wanted` images."""
        [near] = self._codes.nearest(self._query[None], self._sizes, limit, wanted)
        self.take(near)

    def take(self, near: kernels.Near) -> None:
        """As `aim`, with what `SegmentCodes.nearest` found."""
        self._near = near.indices, near.distances
        self._counts = np.cumsum(near.rings)

    def count(self, radius: int) -> int:
        """Images within `radius`, or `wanted` and more."""
        return int(self._counts[radius])

    def taken(self, radius: int) -> tuple[Indices, Distances]:
        """Buckets within `radius` that have images, ascending, and their distances."""
        indices, distances = self._near
        near = distances <= radius
        return (indices, distances) if near.all() else (indices[near], distances[near])


class Probe:
    """One query in one segment, looked up outwards; a scan once that is cheaper."""

    def __init__(
        self, codes: SegmentCodes, tables: Tables, sizes: Sizes, query: Words, expected: int
    ) -> None:
        """Look up nothing yet; `sizes` (K,) as in `Scan`, `expected` the likely radius."""
        self._codes, self._tables, self._sizes, self._query = codes, tables, sizes, query
        self._done, self._spent, self._expected = 0, 0.0, expected
        self._found: list[tuple[Indices, Distances]] = []
        self._rings = np.zeros(codes.bits + 1, np.int64)
        self._aim: tuple[int, int | None] = (codes.bits, None)
        self._scan: Scan | None = None

    def aim(self, limit: int, wanted: int | None) -> None:
        """Note how far a scan would have to look."""
        self._aim = limit, wanted

    @property
    def way(self) -> str:
        """How the segment is searched: table, mih or scan."""
        return "scan" if self._scan else _name(self._tables.fields)

    def count(self, radius: int) -> int:
        """Images within `radius`."""
        if self._scan is None and self._done <= radius:
            self._advance(max(radius, min(self._expected, self._aim[0])))
        return self._scan.count(radius) if self._scan else int(self._rings[: radius + 1].sum())

    def _advance(self, radius: int) -> None:
        codes = self._codes
        self._spent += codes.probing(self._done, radius)
        if codes.way is None and self._spent > codes.costs.scan(codes.buckets.size):
            self._scan = Scan(codes, self._sizes, self._query)
            self._scan.aim(*self._aim)
            return
        found, distances, compared = self._tables.steps(self._done, radius, self._query)
        codes.learn(self._done, radius, compared)
        self._found.append((found, distances))
        counts = np.bincount(distances, self._sizes[found], codes.bits + 1)
        self._rings += counts.astype(np.int64)
        self._done = radius + 1

    def taken(self, radius: int) -> tuple[Indices, Distances]:
        """Buckets within `radius` that have images, ascending, and their distances."""
        self.count(radius)
        if self._scan:
            return self._scan.taken(radius)
        found, distances = (np.concatenate(part) for part in zip(*self._found, strict=True))
        near = np.flatnonzero((distances <= radius) & (self._sizes[found] > 0))
        near = near[np.argsort(found[near])]
        return found[near], distances[near]


def _name(fields: int) -> str:
    return "table" if fields == 1 else "mih"


class SegmentCodes:
    """The distinct codes of a segment, and what was made to search them; thread-safe."""

    def __init__(self, buckets: Words, bits: int, way: str | None = None) -> None:
        """Take (K, W) codes of `bits` bits.

        Args:
            buckets: as in a segment.
            bits: of a code.
            way: always search so: scan, table or mih; None: as is cheapest.
        """
        self.buckets, self.bits, self.way = buckets, bits, way
        short = bits <= WHOLE_BITS if way is None else way == "table"
        self._count = 1 if short else field_count(bits, len(buckets))
        self._tables: Tables | None = None
        self._lost = 0.0  # seconds that tables would have saved
        self._crowding = 1.0  # codes found by a lookup, as against evenly spread ones
        self._lock = Lock()
        self._samples: deque[tuple[Sizes, Sample]] = deque(maxlen=_SAMPLES)
        if way in ("table", "mih"):
            self._tables = Tables(buckets, bits, self._count)

    @property
    def costs(self) -> Costs:
        """What the steps cost here."""
        return machine_costs()

    def start(
        self, query: Words, sizes: Sizes, expected: int | None = None, batched: bool = False
    ) -> Scan | Probe:
        """Begin a search outwards from a query.

        Args:
            query: (W,) uint64.
            sizes: (K,) int32, images of each code that may be found.
            expected: radius that it will likely go to; None: not known.
            batched: a scan would share its reading with other queries.
        """
        tables = self.tables_for(expected, batched)
        if tables is None:
            return Scan(self, sizes, query)
        return Probe(self, tables, sizes, query, expected or 0)

    def nearest(
        self, queries: Words, sizes: Sizes, limit: int, wanted: int | None
    ) -> list[kernels.Near]:
        """Buckets near (Q, W) queries by scan; see `Scan.aim`."""
        return kernels.nearest(
            self.buckets, sizes, queries, self.bits,
            _ALL if wanted is None else wanted, limit, self._sample(sizes),
        )  # fmt: skip

    def _sample(self, sizes: Sizes) -> Sample:
        for known, sample in list(self._samples):
            if known is sizes:
                return sample
        sample = kernels.sample_of(self.buckets, sizes)
        self._samples.append((sizes, sample))
        return sample

    def tables_for(self, expected: int | None, batched: bool = False) -> Tables | None:
        """The tables, if it is cheaper to use them than to scan; None: scan."""
        if self.way is not None:
            return self._tables
        if expected is None or self.buckets.size < _SMALL:
            return None
        saved = self.costs.scan(self.buckets.size, batched) - self.probing(0, expected)
        if saved <= 0:
            return None
        if self._tables is None:
            self._consider(saved)
        return self._tables

    def probing(self, first: int, last: int) -> float:
        """Seconds that steps first..last of the tables will take."""
        lookups, found = work(self.bits, self._count, len(self.buckets), first, last)
        return self.costs.probe(lookups, self._crowding * found)

    def learn(self, first: int, last: int, compared: int) -> None:
        """Note how many codes steps first..last had to compare."""
        _, found = work(self.bits, self._count, len(self.buckets), first, last)
        self._crowding += (compared / found - self._crowding) / 8 if found else 0

    def _consider(self, saved: float) -> None:
        """Have tables made once as much was lost without them as they cost."""
        with self._lock:
            self._lost += saved
            if self._lost < self._count * len(self.buckets) * self.costs.sort:
                return
            self._lost = float("-inf")  # once
        if self._count * self.buckets.shape[0] * 4 > available() // 4:
            _log.info("no memory to spare for tables of %d codes: scanning", len(self.buckets))
            return
        Thread(target=self._make, name="latenthash-tables", daemon=True).start()

    def _make(self) -> None:
        self._tables = Tables(self.buckets, self.bits, self._count)


def reach(parts: Sequence[Scan | Probe], limit: int, wanted: int | None) -> int:
    """Radius at which the parts hold `wanted` images together, `limit` if none does.

    Args:
        parts: the same query in each segment.
        limit: largest radius.
        wanted: images; None: as many as there are.
    """
    for part in parts:
        part.aim(limit, wanted)
    return reached(parts, limit, wanted)


def reached(parts: Sequence[Scan | Probe], limit: int, wanted: int | None) -> int:
    """As `reach`, of parts that know what they aim for."""
    if wanted is None:
        return limit

    def count(radius: int) -> int:
        return sum(part.count(radius) for part in parts)

    for radius in range(limit + 1):
        if all(part.way == "scan" for part in parts):
            return min(bisect_left(range(limit + 1), wanted, key=count), limit)
        if count(radius) >= wanted:
            return radius
    return limit
