"""Indexes over codes and features."""

from .base import DEFAULT_CANDIDATES, Hits, Index, SearchOptions
from .bucket import BucketIndex, build_index
from .linear import LinearIndex

__all__ = [
    "DEFAULT_CANDIDATES",
    "BucketIndex",
    "Hits",
    "Index",
    "LinearIndex",
    "SearchOptions",
    "build_index",
]
