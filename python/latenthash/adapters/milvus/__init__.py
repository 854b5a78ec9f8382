"""An index in Milvus, behind the interfaces of `latenthash.index`: needs pymilvus."""

from .build import build_index
from .index import MilvusIndex
from .writer import MilvusWriter

open_index = MilvusIndex
open_writer = MilvusWriter

__all__ = ["MilvusIndex", "MilvusWriter", "build_index", "open_index", "open_writer"]
