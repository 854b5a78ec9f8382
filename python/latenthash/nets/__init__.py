"""Builders of the shipped networks."""

from .build import (
    ADVICE,
    MAX_BITS,
    NETS,
    NetFiles,
    build,
    features,
    find_family,
    texts,
    write_features,
    write_net,
)
from .family import NetFamily

__all__ = [
    "ADVICE",
    "MAX_BITS",
    "NETS",
    "NetFamily",
    "NetFiles",
    "build",
    "features",
    "find_family",
    "texts",
    "write_features",
    "write_net",
]
