"""Hash functions of features, learned without labels."""

from .function import HashFunction
from .learning import METHODS, SAMPLE, HashSettings, learn
from .store import read_hash, write_hash

__all__ = [
    "METHODS",
    "SAMPLE",
    "HashFunction",
    "HashSettings",
    "learn",
    "read_hash",
    "write_hash",
]
