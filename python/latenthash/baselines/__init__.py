"""What learned codes are compared with: descriptors, compressed neural codes, other searches.

The hash functions that they are compared with are in `latenthash.hashing`.
"""

from .base import Descriptor
from .extract import BaselineReport, extract_baseline, fit_descriptor
from .faiss_search import HnswSearch, LinearSearch
from .neighbours import HashThenRerank, Neighbours, NeighbourSearch
from .neural import Compression, compress_codes, directions, learn_compression, unit_rows
from .pq_search import IvfPqSearch, PqSearch
from .registry import DESCRIPTORS, make_descriptor, read_descriptor, write_descriptor
from .searches import SEARCHES, make_search

__all__ = [
    "DESCRIPTORS",
    "SEARCHES",
    "BaselineReport",
    "Compression",
    "Descriptor",
    "HashThenRerank",
    "HnswSearch",
    "IvfPqSearch",
    "LinearSearch",
    "NeighbourSearch",
    "Neighbours",
    "PqSearch",
    "compress_codes",
    "directions",
    "extract_baseline",
    "fit_descriptor",
    "learn_compression",
    "make_descriptor",
    "make_search",
    "read_descriptor",
    "unit_rows",
    "write_descriptor",
]
