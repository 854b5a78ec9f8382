"""Threads that share one piece of work; C lets go of the interpreter's lock meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from ..threads import VARIABLE, thread_count

T = TypeVar("T")
_PARTS = 4  # for each member: a slow one leaves more to the others
_SHARE = 1 << 19  # bytes; waking a thread takes as long as reading about so many


def team_size(size: int, threads: int | None = None) -> int:
    """Threads for work that reads `size` bytes: at most `threads`, 1 for little work."""
    most = _default(os.environ.get(VARIABLE)) if threads is None else thread_count(threads)
    return max(1, min(most, size // _SHARE))


def together(work: Callable[[int], None], members: int) -> None:
    """Call work(0) on this thread and work(1).. on others; all take from one counter.

    Who has not begun when this thread is done is not needed any more.
    """
    others = [_pool().submit(work, number) for number in range(1, members)]
    try:
        work(0)
    finally:
        begun = [future for future in others if not future.cancel()]
        for future in begun:
            future.result()


def in_parts(count: int, members: int, work: Callable[[int, int], T]) -> list[T]:
    """[work(start, stop), ..] over parts of 0..count, in order, each done by whoever is free."""
    parts = 1 if members == 1 else _PARTS * members
    edges = [count * part // parts for part in range(parts + 1)]
    results: dict[int, T] = {}
    waiting = iter(range(parts))

    def member(_: int) -> None:
        for part in waiting:
            results[part] = work(edges[part], edges[part + 1])

    together(member, members)
    return [results[part] for part in range(parts)]


@cache
def _default(_variable: str | None) -> int:
    """`thread_count`, which reads many files."""
    return thread_count()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), "latenthash-kernel")


if hasattr(os, "register_at_fork"):  # a child has the pool, but not its threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
