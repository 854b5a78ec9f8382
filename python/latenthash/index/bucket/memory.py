"""The memory under an index: reading ahead what is not in it, locking what must stay."""

from __future__ import annotations

import ctypes
import logging
import mmap
import os
import re
from collections import deque
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ...parallel import ordered_map

_log = logging.getLogger(__name__)
_PAGE = mmap.PAGESIZE
_GAP = 32  # pages that are read in less time than another request takes
_THREADS = 4  # that tell the kernel: each call waits for the disk's queue
_SAMPLE = 16  # rows looked at to tell whether features are in memory
_WILLNEED = 3
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_size(text: str) -> int:
    """Bytes of a size such as 512M or 2G.

    Raises:
        DataError: no such size.
    """
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?", text.strip().upper())
    if parts is None:
        raise DataError(f"size {text!r}", "give bytes, or a size such as 512M or 2G")
    return int(float(parts[1]) * _UNITS[parts[2]])


def available() -> int:
    """Bytes of memory that can be had without swapping; all of it where that is unknown."""
    try:
        found = re.search(r"MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:  # no Linux
        found = None
    if found:
        return int(found[1]) << 10
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@lru_cache(maxsize=1)
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    for name in ("madvise", "mincore"):
        getattr(libc, name).argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    libc.mlock.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    return libc


def read_ahead(features: NDArray[Any], rows: NDArray[np.int64]) -> bool:
    """Have the kernel read rows that are not in memory, all at once.

    Touched one after the other, each row would wait for the disk; told of all of them,
    the kernel keeps the disk's queue full.

    Args:
        features: (N, D), memory-mapped.
        rows: (M,).

    Returns:
        Whether rows were missing.
    """
    if not len(rows) or not _missing(features, rows[:: -(-len(rows) // _SAMPLE)]):
        return False
    ranges = list(_ranges(features, np.sort(rows), _GAP))
    parts = [ranges[first::_THREADS] for first in range(_THREADS)]
    deque(ordered_map(_advise, parts, _THREADS), maxlen=0)
    return True


def _advise(ranges: list[tuple[int, int]]) -> None:
    libc = _libc()
    for start, length in ranges:
        libc.madvise(start, length, _WILLNEED)  # advice: a refusal costs time, nothing else


def _missing(features: NDArray[Any], rows: NDArray[np.int64]) -> bool:
    """Whether one of the rows is not in memory."""
    libc, page = _libc(), (ctypes.c_ubyte * 1)()
    first = features.ctypes.data + rows * features.strides[0]
    for address in (first // _PAGE * _PAGE).tolist():
        if libc.mincore(address, _PAGE, page) == 0 and not page[0] & 1:
            return True
    return False


def _ranges(features: NDArray[Any], rows: NDArray[np.int64], gap: int) -> Iterable[tuple[int, int]]:
    """(address, length) of the whole pages of rows, joined if at most `gap` pages apart."""
    size = features.strides[0]
    first = (features.ctypes.data + rows * size) // _PAGE
    last = (features.ctypes.data + rows * size + size - 1) // _PAGE
    breaks = np.flatnonzero(first[1:] > last[:-1] + 1 + gap)
    starts = first[np.concatenate(([0], breaks + 1))]
    ends = last[np.concatenate((breaks, [len(rows) - 1]))] + 1
    return zip((starts * _PAGE).tolist(), ((ends - starts) * _PAGE).tolist(), strict=True)


def lock(arrays: Iterable[NDArray[Any]], budget: int) -> int:
    """Lock arrays in memory, in order, until `budget` bytes are used.

    Returns:
        Bytes locked; less than possible, with a warning, where the system forbids it.
    """
    locked = 0
    for array in arrays:
        length = min(array.nbytes, budget - locked)
        if length <= 0:
            continue
        if _libc().mlock(array.ctypes.data, length) != 0:
            _log.warning(
                "locking %.0f MB in memory: %s; raise the limit (ulimit -l) or give less --ram",
                length / 1e6,
                os.strerror(ctypes.get_errno()),
            )
            break
        locked += length
    return locked
