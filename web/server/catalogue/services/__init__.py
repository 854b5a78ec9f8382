"""The index and its network, for the rest of the service.

The one place that imports the library. It speaks in ids, bytes and plain numbers, so
that views and models know nothing of arrays. One `Library` a process, shared by threads;
its arrays are mapped, so that all workers share one copy in memory.
"""

from .contents import METRIC_NAMES
from .library import Library, library, open_library, warm
from .pictures import Picture, rewritten
from .terms import Entry, Found, HitList, Query, Wish

__all__ = [
    "METRIC_NAMES",
    "Entry",
    "Found",
    "HitList",
    "Library",
    "Picture",
    "Query",
    "Wish",
    "library",
    "open_library",
    "rewritten",
    "warm",
]
