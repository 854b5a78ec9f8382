"""What is known of an index: its manifest and its network's small files, in a collection.

The collection has the index's name. Rows are pieces of files as base64, by key
`path/000000`; the row `current` names the generation that is in force. Writing that row
is the one moment of change: Milvus replaces a row at once.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping

from ...errors import DataError, StorageError
from ...manifest import FORMAT, Manifest
from .layouts import fact_layout
from .server import Row, Server
from .text import among

STAGE = "build_index"
_CURRENT, _NOTHING = "current", b"\0"
_PIECE = 48_000  # bytes; as base64 they fit a text
_ROWS = 100  # written at once: 6 MB
_REMEDY = "build the index again with build_index.py"


def exists(server: Server) -> bool:
    """Whether there is a collection for the facts."""
    return server.address.collection in server.collections()


def prepare(server: Server) -> None:
    """Make the collection of the facts, unless it is there, and let it be read."""
    if not exists(server):
        server.create(server.address.collection, fact_layout())
    server.load(server.address.collection, fact_layout())


def current(server: Server, newest: bool) -> int | None:
    """Number of the generation in force; None: there is none.

    Args:
        server: where.
        newest: for certain; else as of some seconds ago at worst, and sooner told.
    """
    found = server.query(
        server.address.collection, among("key", [_CURRENT]), ["key", "value"], newest
    )
    return int(found[0]["value"]) if found else None


def write_file(server: Server, path: str, content: bytes) -> None:
    """Keep a file, in place of one that has its path."""
    remove_file(server, path)
    pieces = [content[at : at + _PIECE] for at in range(0, len(content), _PIECE)] or [b""]
    rows = [
        _row(f"{path}/{number:06}", base64.b64encode(piece).decode())
        for number, piece in enumerate(pieces)
    ]
    for start in range(0, len(rows), _ROWS):
        server.put(server.address.collection, rows[start : start + _ROWS])


def read_file(server: Server, path: str) -> bytes:
    """A file that was kept.

    Raises:
        StorageError: it is not there.
    """
    pieces = {row["key"]: row["value"] for row in _rows(server, path, ["key", "value"])}
    if not pieces or sorted(pieces) != [f"{path}/{at:06}" for at in range(len(pieces))]:
        raise StorageError(f"{server.address}: {path}: missing, or a piece of it", _REMEDY)
    return b"".join(base64.b64decode(pieces[key]) for key in sorted(pieces))


def commit(server: Server, manifest: Manifest) -> Manifest:
    """Make a manifest the one in force, and wait until it is seen; it gets its checksum."""
    number = int(manifest["generation"])
    content = {key: value for key, value in manifest.items() if key != "checksum"}
    whole = {**content, "checksum": _checksum(content)}
    write_file(server, _path(number), json.dumps(whole, sort_keys=True).encode())
    server.put(server.address.collection, [_row(_CURRENT, str(number))])
    if current(server, newest=True) != number:
        raise StorageError(f"{server.address}: another writer changed it", "one at a time")
    remove_file(server, _path(number - 2))  # readers may just be reading the one before
    return whole


def load(server: Server) -> Manifest:
    """The manifest in force.

    Raises:
        DataError: no index there, or one of a newer format.
        StorageError: damaged.
    """
    number = current(server, newest=True) if exists(server) else None
    if number is None:
        raise DataError(f"{server.address}: no index there", "build one with build_index.py")
    try:
        manifest = json.loads(read_file(server, _path(number)))
        content = {key: value for key, value in manifest.items() if key != "checksum"}
        whole = manifest["checksum"] == _checksum(content)
    except (ValueError, AttributeError, KeyError) as error:
        raise StorageError(f"{server.address}: its manifest is damaged", _REMEDY) from error
    if not whole:
        raise StorageError(f"{server.address}: its manifest is damaged", _REMEDY)
    if manifest.get("stage") != STAGE or manifest.get("format", 0) > FORMAT:
        raise DataError(f"{server.address}: of another version", "update latenthash")
    found: Manifest = manifest
    return found


def _path(number: int) -> str:
    return f"manifest/{number:06}"


def _row(key: str, value: str) -> Row:
    return {"key": key, "value": value, "nothing": _NOTHING}


def _rows(server: Server, path: str, columns: list[str]) -> list[Row]:
    condition = f'key like "{path}/%"'
    return server.query(server.address.collection, condition, columns, newest=True)


def remove_file(server: Server, path: str) -> None:
    """Remove a file; if there is none, nothing happens."""
    server.delete(
        server.address.collection, [str(row["key"]) for row in _rows(server, path, ["key"])]
    )


def _checksum(content: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
