"""Indexes over codes and features."""

from .base import DEFAULT_CANDIDATES, MAX_CANDIDATES, Hits, Index, SearchOptions
from .bucket import BucketIndex, build_index
from .filter import Filter
from .linear import LinearIndex

__all__ = [
    "DEFAULT_CANDIDATES",
    "MAX_CANDIDATES",
    "BucketIndex",
    "Filter",
    "Hits",
    "Index",
    "LinearIndex",
    "SearchOptions",
    "build_index",
]
