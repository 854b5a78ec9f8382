"""Finds and loads the compiled kernels."""

from __future__ import annotations

import ctypes
import logging
from ctypes import Structure, c_float, c_int64, c_void_p
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)
VERSION = 8  # as in native.c
BEST = -1
_FUNCTIONS: dict[str, list[Any]] = {
    "lh_scan": [c_void_p, c_void_p, c_void_p, c_void_p, c_void_p],
    "lh_rank": [c_void_p, c_int64, c_void_p, c_void_p, c_void_p],
    "lh_select": [c_void_p, c_void_p, c_void_p, c_void_p, c_void_p],
    "lh_within": [c_void_p, c_int64, c_int64, c_int64, c_int64, c_void_p],
    "lh_fine": [c_void_p, c_void_p, c_void_p],
    "lh_read": [c_void_p, c_int64, c_void_p],
    "lh_use_level": [c_int64],
    "lh_share": [c_void_p],  # the functions of blobs.py
}
_COUNTING = ("lh_within", "lh_read", "lh_use_level")


class ScanInput(Structure):
    """`scan_input` of native.c."""

    _fields_ = (
        ("codes", c_void_p),
        ("count", c_int64),
        ("words", c_int64),
        ("queries", c_void_p),
        ("query_count", c_int64),
    )


class SelectInput(Structure):
    """`select_input` of native.c."""

    _fields_ = (
        ("sizes", c_void_p),
        ("limits", c_void_p),
        ("parts", c_int64),
        ("places", c_void_p),
    )


class SelectLog(Structure):
    """`select_log` of native.c."""

    _fields_ = (
        ("number", c_int64),
        ("room", c_int64),
        ("used", c_int64),
        ("indices", c_void_p),
        ("distances", c_void_p),
        ("queries", c_void_p),
    )


class FineInput(Structure):
    """`fine_input` of native.c."""

    _fields_ = (
        ("features", c_void_p),
        ("type", c_int64),
        ("dim", c_int64),
        ("metric", c_int64),
        ("scale", c_void_p),
        ("query", c_void_p),
        ("rows", c_void_p),
        ("count", c_int64),
        ("k", c_int64),
    )


class FineState(Structure):
    """`fine_state` of native.c."""

    _fields_ = (
        ("next", c_int64),
        ("check", c_int64),
        ("limit", c_float),
        ("room", c_void_p),
    )


@cache
def native() -> ctypes.CDLL | None:
    """The compiled library; None, with a logged warning, where there is none that fits."""
    folder = Path(__file__).parent
    for suffix in EXTENSION_SUFFIXES:
        if (path := folder / f"_native{suffix}").is_file():
            return _load(path)
    log.warning("search is slow: its compiled part is missing - install a C compiler, then "
                "install latenthash again (pip install -e .)")  # fmt: skip
    return None


def _load(path: Path) -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(str(path))
        version = library.lh_version()
    except (OSError, AttributeError) as error:
        log.warning("search is slow: %s - install latenthash again (pip install -e .)", error)
        return None
    if version != VERSION:
        log.warning("search is slow: %s is of an older version - install latenthash again "
                    "(pip install -e .)", path)  # fmt: skip
        return None
    for name, arguments in _FUNCTIONS.items():
        function = getattr(library, name)
        function.argtypes = arguments
        function.restype = c_int64 if name in _COUNTING else None
    library.lh_use_level(BEST)
    return library
