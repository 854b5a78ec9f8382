"""The bucket index: images that share a code lie together on disk."""

from .build import build_index
from .reader import BucketIndex

__all__ = ["BucketIndex", "build_index"]
