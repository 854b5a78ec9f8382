"""Indexes over codes and features."""

from .base import DEFAULT_CANDIDATES, MAX_CANDIDATES, Hits, Index, SearchOptions
from .bucket import AddReport, BucketIndex, IndexWriter, build_index
from .filter import Filter
from .linear import LinearIndex

__all__ = [
    "DEFAULT_CANDIDATES",
    "MAX_CANDIDATES",
    "AddReport",
    "BucketIndex",
    "Filter",
    "Hits",
    "Index",
    "IndexWriter",
    "LinearIndex",
    "SearchOptions",
    "build_index",
]
