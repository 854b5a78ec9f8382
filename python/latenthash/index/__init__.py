"""Indexes over codes and features."""

from .base import DEFAULT_CANDIDATES, MAX_CANDIDATES, Hits, Index, SearchOptions, StoredIndex
from .bucket import AddReport, BucketIndex, IndexWriter, build_index
from .filter import Filter
from .linear import LinearIndex
from .opening import Address, open_index, parse_address

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
    "build_index",
    "open_index",
    "parse_address",
]
