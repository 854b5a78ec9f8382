"""Blobs of training, by address: (N, H, W, C) in memory, float32 or bfloat16.

C is a multiple of 16. Sums are made of pieces that do not depend on the number of threads.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import Structure, c_float, c_int64, c_void_p
from typing import Any

from . import library
from .team import together

FLOAT32, BFLOAT16 = 0, 3  # as in native.c
LINE = 16
"""Channels that are a whole number of lines fit."""
PIECES = 64
"""Of sums over a blob."""
WIDEST = 4096
"""Values of a padded row."""
_Pair = c_int64 * 2


class DepthwiseInput(Structure):
    """`depthwise_input` of native.c."""

    _fields_ = (
        ("images", c_void_p),
        ("gradient", c_void_p),
        ("kernels", c_void_p),
        ("type", c_int64),
        ("count", c_int64),
        ("channels", c_int64),
        ("size", _Pair),
        ("outputs", _Pair),
        ("kernel", _Pair),
        ("stride", _Pair),
        ("pad", _Pair),
        ("room", c_int64),
    )


class NormaliseInput(Structure):
    """`normalise_input` of native.c."""

    _fields_ = (
        ("blob", c_void_p),
        ("gradient", c_void_p),
        ("type", c_int64),
        ("rows", c_int64),
        ("channels", c_int64),
        ("values", c_void_p * 5),
        ("low", c_float),
        ("high", c_float),
    )


class Task(Structure):
    """`task` of native.c: what the threads of a team do together."""

    _fields_ = (("work", c_void_p), ("given", c_void_p), ("out", c_void_p), ("next", c_int64))


Team = Callable[[Any, Task, int], None]
"""Has as many threads call a C function with a task."""


def available() -> bool:
    """Whether there is a compiled library."""
    return library.native() is not None


def call(name: str, given: Structure, out: int, threads: int, team: Team | None = None) -> None:
    """Have threads share one piece of work.

    Args:
        name: of the function in native.c.
        given: its first argument.
        out: address of what it writes.
        threads: that take part.
        team: whose they are; None: our own, which are slow to wake.
    """
    native = library.native()
    if native is None:
        raise RuntimeError("there are no compiled kernels")
    function = ctypes.cast(getattr(native, name), c_void_p).value
    task = Task(function, ctypes.addressof(given), out, 0)
    if team is not None and threads > 1:
        team(native.lh_share, task, threads)
    else:
        together(lambda _: native.lh_share(ctypes.byref(task)), threads)
