"""Which index an address opens: a folder, or what an adapter knows by the address's scheme.

The one place that knows adapters by name. They are loaded when an address asks for one,
so that nothing here depends on them or on what they need.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from ..codes import CodeSet
from ..errors import DataError
from ..progress import Progress, silent
from .base import StoredIndex, StoredWriter
from .bucket import BucketIndex, IndexWriter, build_index

Address = Path | str
"""A folder, or text such as `milvus://host:port/collection`."""
ADAPTERS = {"milvus": "latenthash.adapters.milvus"}
_SCHEME = "://"


def parse_address(text: str) -> Address:
    """A folder as a path, an address with a scheme as it is; what a path would mangle.

    Raises:
        DataError: no adapter knows the scheme.
    """
    scheme, found, _ = text.partition(_SCHEME)
    if not found:
        return Path(text)
    if scheme not in ADAPTERS:
        known = ", ".join(name + _SCHEME for name in sorted(ADAPTERS))
        raise DataError(f"{text!r}: unknown {scheme}{_SCHEME}", f"give a folder, or {known}")
    return text


def is_remote(address: Address) -> bool:
    """Whether it is no folder of this machine."""
    return not isinstance(parse_address(str(address)), Path)


def open_index(address: Address, ram: int | None = None) -> StoredIndex:
    """Open an index for searching.

    Args:
        address: a folder, or an adapter's address.
        ram: bytes of a folder's index to lock in memory; see `BucketIndex`.

    Raises:
        DataError: no index there, or no such address.
        EngineError: what the adapter needs is not installed.
        StorageError: it is damaged, or nobody answers.
    """
    where = parse_address(str(address))
    if isinstance(where, Path):
        return BucketIndex(where, ram)
    if ram is not None:
        raise DataError(f"{where}: memory to lock", "its server decides; leave it out")
    opened: StoredIndex = _adapter(where).open_index(where)
    return opened


def open_writer(address: Address) -> StoredWriter:
    """The one writer of an index, to be used as a context; adapters connect at once.

    Raises:
        DataError, EngineError, StorageError: as for `open_index`.
    """
    where = parse_address(str(address))
    if isinstance(where, Path):
        return IndexWriter(where)
    writer: StoredWriter = _adapter(where).open_writer(where)
    return writer


def build(
    codes: CodeSet,
    address: Address,
    storage: str | None = None,
    on_progress: Progress = silent,
) -> None:
    """Build the index of a code set; see `build_index`.

    Args:
        codes: at least one image.
        address: a folder, or an adapter's address.
        storage: of a folder's features: float32, float16 or int8; None: float16.
        on_progress: told of images.

    Raises:
        DataError, EngineError, StorageError: as for `open_index`; or no images.
    """
    where = parse_address(str(address))
    if isinstance(where, Path):
        build_index(codes, where, storage or "float16", on_progress)
        return
    if storage is not None:
        raise DataError(f"{where}: storage {storage}", "its server decides; leave it out")
    _adapter(where).build_index(codes, where, on_progress)


def _adapter(address: str) -> Any:
    return importlib.import_module(ADAPTERS[address.partition(_SCHEME)[0]])
