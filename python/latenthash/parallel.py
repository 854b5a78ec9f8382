"""Work on many items in threads, in order, with a bounded number ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def ordered_map(
    function: Callable[[A], B], items: Iterable[A], workers: int, ahead: int | None = None
) -> Iterator[B]:
    """Yield function(item) for each item in order, computed by `workers` threads.

    At most `ahead` results (default: 4 a worker) wait to be taken, so memory does not
    grow with the number of items. An exception is raised where its item's turn comes.
    """
    waiting: deque[Future[B]] = deque()
    limit = 4 * workers if ahead is None else ahead
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > limit:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
