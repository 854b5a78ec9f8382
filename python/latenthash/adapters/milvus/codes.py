"""The collection of codes: what is searched, and what is known of each image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...hamming import Codes, width
from .coarse import Answer
from .layouts import code_layout
from .server import Row, Server
from .text import Clause, among, both, from_stored, quoted, span, to_stored

Ids = NDArray[np.int64]
_BLOCK = 4096  # rows in one answer
_ASKED = 1000  # texts in one condition


class CodeRows:
    """The images of one build, those with ids below `stop`; the others are not there yet."""

    def __init__(self, server: Server, name: str, bits: int, stop: int) -> None:
        """Name the collection."""
        self._server, self._name, self.bits, self.stop = server, name, bits, stop
        self._visible = f"id < {stop}"

    def __len__(self) -> int:
        return self._server.count(self._name, self._visible)

    def nearest(
        self, clause: Clause, codes: Sequence[bytes], first: int, stop: int, limit: int
    ) -> list[Answer]:
        """As `coarse.Ask` wants it, of the images that a filter lets in."""
        part = first > 0 or stop < self.stop or limit >= stop - first
        columns = ["bucket", *(["name"] if clause.passes else [])]
        found = self._server.search(
            self._name,
            code_layout(self.bits),
            codes,
            limit,
            both(clause.condition, span(first, stop) if part else ""),
            columns,
        )
        return [self._answer(hits, clause, first, stop, limit) for hits in found]

    def _answer(
        self, hits: Sequence[Row], clause: Clause, first: int, stop: int, limit: int
    ) -> Answer:
        ids = np.fromiter((hit["id"] for hit in hits), np.int64, len(hits))
        buckets = np.fromiter((hit["entity"]["bucket"] for hit in hits), np.int64, len(hits))
        hamming = np.fromiter((round(hit["distance"]) for hit in hits), np.uint16, len(hits))
        counts = ids < stop
        if clause.passes is not None:
            names = (from_stored(hit["entity"]["name"]) for hit in hits)
            counts &= np.fromiter(map(clause.passes, names), bool, len(hits))
        last = int(hamming.max()) if len(hits) else -1
        return Answer(
            first, stop, limit, ids[counts], buckets[counts], hamming[counts], len(hits), last
        )

    def get(self, ids: Ids, columns: Sequence[str], newest: bool = False) -> dict[int, Row]:
        """{id: columns} of those of the images that are there; `newest` as of `Server.query`."""
        wanted = np.unique(ids[(ids >= 0) & (ids < self.stop)])
        found: dict[int, Row] = {}
        for start in range(0, len(wanted), _BLOCK):
            condition = among("id", wanted[start : start + _BLOCK].tolist())
            rows = self._server.query(self._name, condition, ["id", *columns], newest)
            found.update((row["id"], readable(row)) for row in rows)
        return found

    def packed(self, ids: Ids) -> tuple[Codes, NDArray[np.bool_]]:
        """Codes (n, W) uint8 of images, and (n,) bool: which are there."""
        found = self.get(ids, ["code"])
        none = bytes(width(self.bits))
        there = np.array([number in found for number in ids.tolist()], bool)
        codes = b"".join(found[n]["code"] if n in found else none for n in ids.tolist())
        return np.frombuffer(codes, np.uint8).reshape(len(ids), -1), there

    def find(self, column: str, values: Sequence[str]) -> list[Row]:
        """Rows with id and this column, where it has one of the values."""
        found: list[Row] = []
        for start in range(0, len(values), _ASKED):
            some = map(to_stored, values[start : start + _ASKED])
            condition = both(among(column, some), self._visible)
            found += map(readable, self._server.query(self._name, condition, ["id", column]))
        return found

    def find_name(self, name: str) -> int | None:
        """Id of the image with this name; of the newest if there are more."""
        condition = both(f"name == {quoted(to_stored(name))}", self._visible)
        rows = self._server.query(self._name, condition, ["id"])
        return max((int(row["id"]) for row in rows), default=None)

    def blocks(self, columns: Sequence[str], rows: int = _BLOCK) -> Iterator[list[Row]]:
        """All images, ascending by id, some ids at a time."""
        for start in range(0, self.stop, rows):
            condition = span(start, min(start + rows, self.stop))
            found = self._server.query(self._name, condition, ["id", *columns], newest=True)
            yield sorted(map(readable, found), key=_by_id)


def readable(row: Row) -> Row:
    """A row with its name as the file has it."""
    return {**row, "name": from_stored(row["name"])} if "name" in row else row


def _by_id(row: Row) -> Any:
    return row["id"]
