"""What learned codes are compared with: descriptors, and neural codes compressed by PCA.

The hash functions that they are compared with are in `latenthash.hashing`.
"""

from .base import Descriptor
from .extract import BaselineReport, extract_baseline, fit_descriptor
from .neural import Compression, compress_codes, learn_compression
from .registry import DESCRIPTORS, make_descriptor, read_descriptor, write_descriptor

__all__ = [
    "DESCRIPTORS",
    "BaselineReport",
    "Compression",
    "Descriptor",
    "compress_codes",
    "extract_baseline",
    "fit_descriptor",
    "learn_compression",
    "make_descriptor",
    "read_descriptor",
    "write_descriptor",
]
