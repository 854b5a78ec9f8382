"""The server: the few things that are asked of Milvus, and its errors in our words."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ...closing import Closing
from ...errors import EngineError, StorageError
from .address import TOKEN, Address

Row = dict[str, Any]
MOST_HITS = 16_384
"""Milvus answers no search with more."""
_CONNECTING, _ASKING, _WORKING = 10.0, 60.0, 3600.0  # seconds of patience
_GONE = (100, 101)  # Milvus' codes of a collection that there is not, or not in memory


@dataclass(frozen=True)
class Column:
    """A field of a collection.

    Attributes:
        name: of the field.
        kind: name of Milvus' data type.
        options: is_primary, dim, max_length.
    """

    name: str
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """What a collection holds.

    Attributes:
        columns: all fields, the first is the key.
        vector: the one that has an index.
        index: its type: one that looks at every row, so that answers are exact.
        metric: of the index.
    """

    columns: tuple[Column, ...]
    vector: str
    index: str
    metric: str


class Server(Closing):
    """A connection; many threads may use it, but no forked process."""

    def __init__(self, address: Address) -> None:
        """Connect.

        Raises:
            EngineError: pymilvus is not installed.
            StorageError: nobody answers there.
        """
        try:
            import grpc
            import pymilvus
        except ModuleNotFoundError as error:
            raise EngineError(
                f"{error.name} is not installed", "pip install '.[milvus]'"
            ) from error
        self.address = address
        self._library, self._failures = pymilvus, (pymilvus.MilvusException, grpc.RpcError)
        with self._told("no connection", "is the server up, and LATENTHASH_MILVUS_TOKEN right?"):
            self._client = pymilvus.MilvusClient(
                uri=address.uri,
                token=os.environ.get(TOKEN, ""),
                db_name=address.database,
                timeout=_CONNECTING,
                dedicated=True,  # closed with this object, not kept for the next, nor by a fork
            )

    @contextmanager
    def _told(self, doing: str, remedy: str = "see the log of Milvus") -> Iterator[None]:
        """Milvus' errors as ours."""
        try:
            yield
        except self._failures as error:
            if getattr(error, "code", None) in _GONE:
                remedy = "the index was built anew, or dropped: open it again"
            said = getattr(error, "message", "") or getattr(error, "details", str)() or str(error)
            raise StorageError(f"{self.address}: {doing}: {said}", remedy) from error

    def create(self, name: str, layout: Layout, shards: int = 1) -> None:
        """Make a collection; it can be written, and read once it is loaded."""
        kinds, client = self._library.DataType, self._client
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        for column in layout.columns:
            schema.add_field(column.name, kinds[column.kind], **column.options)
        with self._told(f"creating {name}"):
            client.create_collection(
                name,
                schema=schema,
                consistency_level="Bounded",
                num_shards=shards,
                timeout=_WORKING,
            )

    def load(self, name: str, layout: Layout, flush: bool = False, replicas: int = 1) -> None:
        """Give a collection its index, and let it be read.

        Args:
            name: of the collection.
            layout: names the index.
            flush: seal what was written first, so that the index covers it now; else
                Milvus does so when it sees fit, and reads without an index until then.
            replicas: copies in memory, on as many nodes.
        """
        client = self._client
        with self._told(f"loading {name}"):
            if flush:
                client.flush(name, timeout=_WORKING)
            params = client.prepare_index_params()
            params.add_index(layout.vector, index_type=layout.index, metric_type=layout.metric)
            client.create_index(name, params, timeout=_WORKING)
            client.load_collection(name, timeout=_WORKING, replica_number=replicas)

    def drop(self, name: str) -> None:
        """Remove a collection; if there is none, nothing happens."""
        with self._told(f"dropping {name}"):
            self._client.drop_collection(name, timeout=_WORKING)

    def collections(self) -> list[str]:
        """Names of all collections of the database."""
        with self._told("listing collections"):
            return [str(name) for name in self._client.list_collections(timeout=_ASKING)]

    def insert(self, name: str, rows: list[Row]) -> None:
        """Append rows; their keys must be new."""
        with self._told(f"writing to {name}"):
            done = self._client.insert(name, rows, timeout=_WORKING)
        self._require(done.get("insert_count", 0), len(rows), name)

    def put(self, name: str, rows: list[Row]) -> None:
        """Write rows, in place of those that have their keys."""
        with self._told(f"writing to {name}"):
            done = self._client.upsert(name, rows, timeout=_WORKING)
        self._require(done.get("upsert_count", 0), len(rows), name)

    def _require(self, written: int, given: int, name: str) -> None:
        if written != given:
            problem = f"{self.address}: {name} took {written} of {given} rows"
            raise StorageError(problem, "see the log of Milvus")

    def delete(self, name: str, keys: Sequence[int] | Sequence[str]) -> None:
        """Remove rows by key; keys that there are not are no error."""
        if keys:
            with self._told(f"removing from {name}"):
                self._client.delete(name, ids=list(keys), timeout=_WORKING)

    def compact(self, name: str) -> None:
        """Ask Milvus to give back the room of removed rows; it does so when it can."""
        with self._told(f"compacting {name}"):
            self._client.compact(name, timeout=_WORKING)

    def query(
        self, name: str, condition: str, columns: Sequence[str], newest: bool = False
    ) -> list[Row]:
        """Rows that meet a condition, in no order.

        Args:
            name: of the collection.
            condition: not empty.
            columns: to return; a packed vector comes as bytes, any other as float32 array.
            newest: see all that was written before, which can wait a fifth of a second;
                else what is older than some seconds, and all that this process has waited for.
        """
        level = "Strong" if newest else "Bounded"
        with self._told(f"reading {name}"):
            found = self._client.query(
                name,
                filter=condition,
                output_fields=list(columns),
                consistency_level=level,
                strict_float32=True,
                timeout=_ASKING,
            )
            return [_unwrapped(row) for row in found]

    def count(self, name: str, condition: str = "") -> int:
        """Rows that meet a condition, with all that was written until now."""
        [row] = self.query(name, condition, ["count(*)"], newest=True)
        return int(row["count(*)"])

    def search(
        self,
        name: str,
        layout: Layout,
        vectors: Sequence[Any],
        limit: int,
        condition: str = "",
        columns: Sequence[str] = (),
    ) -> list[list[Row]]:
        """Nearest rows of each vector, nearest first; ties in any order.

        Returns:
            For each vector at most `limit` rows with "id", "distance" and "entity", which
            holds the columns.
        """
        with self._told(f"searching {name}"):
            answers = self._client.search(
                name,
                data=list(vectors),
                anns_field=layout.vector,
                limit=limit,
                filter=condition,
                output_fields=list(columns),
                search_params={"metric_type": layout.metric, "params": {}},
                consistency_level="Bounded",
                timeout=_ASKING,
            )
            return [list(answer) for answer in answers]

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def _unwrapped(row: Row) -> Row:
    """pymilvus gives a vector of bytes as a list of one."""
    return {
        name: value[0] if isinstance(value, list) and isinstance(value[0], bytes) else value
        for name, value in row.items()
    }
