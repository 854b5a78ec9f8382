"""The bucket index: images that share a code lie together on disk."""

from .build import build_index
from .reader import BucketIndex
from .writer import IndexWriter

__all__ = ["BucketIndex", "IndexWriter", "build_index"]
