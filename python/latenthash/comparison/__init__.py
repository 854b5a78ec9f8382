"""Methods side by side: hash functions on the same features, searches of the same database."""

from .hashes import BITS, OWN, HashResult, compare_hashes
from .report import draw, hash_table, report, search_table
from .search import SearchResult, compare_search
from .sets import ImageSet, images_of, read_sets, read_training

__all__ = [
    "BITS",
    "OWN",
    "HashResult",
    "ImageSet",
    "SearchResult",
    "compare_hashes",
    "compare_search",
    "draw",
    "hash_table",
    "images_of",
    "read_sets",
    "read_training",
    "report",
    "search_table",
]
