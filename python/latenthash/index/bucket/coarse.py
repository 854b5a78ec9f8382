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
from collections.abc import Sequence
from threading import Lock, Thread

import numpy as np
from numpy.typing import NDArray

from ... import kernels
from .cost import Costs, machine_costs
from .memory import available
from .tables import WHOLE_BITS, Distances, Indices, Tables, Words, field_count, work

_log = logging.getLogger(__name__)
_SMALL = 200_000  # words; scanned faster than one would find a better way
Sizes = NDArray[np.int32]


class Scan:
    """One query in one segment, all codes read."""

    way = "scan"

    def __init__(self, buckets: Words, bits: int, sizes: Sizes, query: Words) -> None:
        """Read all (K, W) codes; `sizes` (K,) counts the images of each that may be found."""
        self._distances, rings = kernels.scan_rings(buckets, sizes, query, bits)
        self._counts = np.cumsum(rings)

    def count(self, radius: int) -> int:
        """Images within `radius`."""
        return int(self._counts[radius])

    def taken(self, radius: int) -> tuple[Indices, Distances]:
        """Buckets within `radius`, ascending, and their distances."""
        indices = kernels.within(self._distances, radius)
        return indices, self._distances[indices]


class Probe:
    """One query in one segment, looked up ring by ring; a scan once that is cheaper."""

    def __init__(self, codes: SegmentCodes, tables: Tables, sizes: Sizes, query: Words) -> None:
        """Look up nothing yet; `sizes` (K,) as in `Scan`."""
        self._codes, self._tables, self._sizes, self._query = codes, tables, sizes, query
        self._steps, self._spent = 0, 0.0
        self._found: list[tuple[Indices, Distances]] = []
        self._rings = np.zeros(codes.bits + 1, np.int64)
        self._scan: Scan | None = None

    @property
    def way(self) -> str:
        """How the segment is searched: table, mih or scan."""
        return "scan" if self._scan else _name(len(self._tables))

    def count(self, radius: int) -> int:
        """Images within `radius`."""
        while self._scan is None and self._steps <= radius:
            self._advance()
        return self._scan.count(radius) if self._scan else int(self._rings[: radius + 1].sum())

    def _advance(self) -> None:
        fields, codes = len(self._tables), self._codes
        ahead = codes.costs.probe(1, *work(codes.bits, fields, len(codes.buckets), self._steps))
        if codes.changes_over and self._spent + ahead > codes.costs.scan(codes.buckets.size):
            self._scan = Scan(codes.buckets, codes.bits, self._sizes, self._query)
            return
        found, distances, compared = self._tables.step(self._steps, self._query)
        self._found.append((found, distances))
        np.add.at(self._rings, distances, self._sizes[found])
        self._spent += codes.costs.probe(1, compared / 8, compared)
        self._steps += 1

    def taken(self, radius: int) -> tuple[Indices, Distances]:
        """Buckets within `radius`, ascending, and their distances."""
        self.count(radius)
        if self._scan:
            return self._scan.taken(radius)
        found, distances = (np.concatenate(part) for part in zip(*self._found, strict=True))
        near = np.flatnonzero(distances <= radius)
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
        self._lock = Lock()
        if way in ("table", "mih"):
            self._tables = Tables(buckets, bits, self._count)

    @property
    def changes_over(self) -> bool:
        """Whether a search by tables may go on as a scan."""
        return self.way is None

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
            return Scan(self.buckets, self.bits, sizes, query)
        return Probe(self, tables, sizes, query)

    def tables_for(self, expected: int | None, batched: bool = False) -> Tables | None:
        """The tables, if it is cheaper to use them than to scan; None: scan."""
        if self.way is not None:
            return self._tables
        if expected is None or self.buckets.size < _SMALL:
            return None
        saved = self.costs.scan(self.buckets.size, batched) - self._probing(expected)
        if saved <= 0:
            return None
        if self._tables is None:
            self._consider(saved)
        return self._tables

    def _probing(self, radius: int) -> float:
        """Seconds to look up everything within `radius`, if codes are spread evenly."""
        steps = [
            work(self.bits, self._count, len(self.buckets), step) for step in range(radius + 1)
        ]
        lookups, compared = (sum(column) for column in zip(*steps, strict=True))
        return self.costs.probe(len(steps), lookups, compared)

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
