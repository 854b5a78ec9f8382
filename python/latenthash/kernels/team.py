"""Threads that share one piece of work; C lets go of the interpreter's lock meanwhile."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from threading import get_native_id
from typing import TypeVar

from ..threads import VARIABLE, thread_count

T = TypeVar("T")
PARTS = 4
"""Of work for each member: a slow one leaves more to the others."""
_SHARE = 1 << 19  # bytes; waking a thread takes as long as reading about so many


def team_size(size: int, threads: int | None = None) -> int:
    """Threads for work that reads `size` bytes: at most `threads`, 1 for little work."""
    most = _default(os.environ.get(VARIABLE)) if threads is None else thread_count(threads)
    return max(1, min(most, size // _SHARE))


def together(work: Callable[[int], None], members: int) -> None:
    """Call work(0) on this thread and work(1).. on others; all take from one counter.

    Who has not begun when this thread is done is not needed any more.
    """
    others = [_helper(number).start(work, number) for number in range(1, members)]
    try:
        work(0)
    finally:
        begun = [future for future in others if not future.cancel()]
        for future in begun:
            future.result()


def in_parts(count: int, members: int, work: Callable[[int, int], T]) -> list[T]:
    """[work(start, stop), ..] over parts of 0..count, in order, each done by whoever is free."""
    parts = 1 if members == 1 else PARTS * members
    edges = [count * part // parts for part in range(parts + 1)]
    results: dict[int, T] = {}
    waiting = iter(range(parts))

    def member(_: int) -> None:
        for part in waiting:
            results[part] = work(edges[part], edges[part + 1])

    together(member, members)
    return [results[part] for part in range(parts)]


def _core() -> int:
    """Number of the core that this thread runs on; -1 where a thread cannot be moved."""
    ask = _asking()
    return int(ask()) if ask else -1


@cache
def _asking() -> Callable[[], int] | None:
    can_move = hasattr(os, "sched_setaffinity")
    return getattr(ctypes.CDLL(None), "sched_getcpu", None) if can_move else None


@cache
def _default(_variable: str | None) -> int:
    """`thread_count`, which reads many files."""
    return thread_count()


class _Helper:
    """A thread that works beside its caller, on another core.

    Left alone, the system often wakes it on the caller's core, to share the cache, where
    it waits for longer than a query takes.
    """

    def __init__(self, number: int) -> None:
        self._pool = ThreadPoolExecutor(1, f"latenthash-kernel-{number}")
        self._thread = self._pool.submit(get_native_id).result()
        self._avoids = -1

    def start(self, work: Callable[[int], None], number: int) -> Future[None]:
        """Have work(number) done."""
        core = _core()
        if core != self._avoids:
            self._avoid(core)
        return self._pool.submit(work, number)

    def _avoid(self, core: int) -> None:
        self._avoids = core
        others = os.sched_getaffinity(0) - {core}
        if others:
            with suppress(OSError):  # forbidden in some containers: slower, nothing else
                os.sched_setaffinity(self._thread, others)


@cache
def _helper(number: int) -> _Helper:
    return _Helper(number)


if hasattr(os, "register_at_fork"):  # a child has the helpers, but not their threads
    os.register_at_fork(after_in_child=_helper.cache_clear)
