"""Indexes over codes and features."""

from .base import (
    DEFAULT_CANDIDATES,
    MAX_CANDIDATES,
    AddReport,
    Hits,
    Index,
    SearchOptions,
    StoredIndex,
    StoredWriter,
)
from .bucket import BucketIndex, IndexWriter, build_index
from .filter import Filter
from .linear import LinearIndex
from .opening import Address, open_index, open_writer, parse_address

__all__ = [
    "DEFAULT_CANDIDATES",
    "MAX_CANDIDATES",
    "AddReport",
    "Address",
    "BucketIndex",
    "Filter",
    "Hits",
    "Index",
    "IndexWriter",
    "LinearIndex",
    "SearchOptions",
    "StoredIndex",
    "StoredWriter",
    "build_index",
    "open_index",
    "open_writer",
    "parse_address",
]
