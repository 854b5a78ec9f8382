"""Hash functions of features, learned without labels or with them."""

from .function import HashFunction, Kernel
from .learning import SAMPLE, learn, sample_rows
from .planes import principal_components
from .settings import METHODS, SUPERVISED, HashSettings
from .store import read_hash, write_hash

__all__ = [
    "METHODS",
    "SAMPLE",
    "SUPERVISED",
    "HashFunction",
    "HashSettings",
    "Kernel",
    "learn",
    "principal_components",
    "read_hash",
    "sample_rows",
    "write_hash",
]
