"""Spark: images anywhere to codes in Parquet, and from there to an index.

`extract_table` runs a network on a cluster and writes a `CodeTable`; `write_shards` makes
code files of it, `index_shards` and `load_milvus` an index of those.
"""

from ...errors import EngineError

try:
    import pandas  # noqa: F401  (pyspark asks for it when Arrow batches go through Python)
    import pyarrow  # noqa: F401
    import pyspark  # noqa: F401
except ImportError as error:
    raise EngineError(
        f"{error.name} is not installed", "pip install '.[spark]'; it needs Java 17 too"
    ) from error

from .extract import DEFAULT_IMAGES, SparkReport, extract_table
from .inputs import ImageFolder, Images, ImageTable
from .session import open_session
from .shards import DEFAULT_SHARD, Indexed, index_shards, load_milvus, write_shards
from .table import CodeTable

__all__ = [
    "DEFAULT_IMAGES",
    "DEFAULT_SHARD",
    "CodeTable",
    "ImageFolder",
    "ImageTable",
    "Images",
    "Indexed",
    "SparkReport",
    "extract_table",
    "index_shards",
    "load_milvus",
    "open_session",
    "write_shards",
]
