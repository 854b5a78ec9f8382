"""Calls of several threads that are done together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Lock
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Together(Generic[Item, Result]):
    """Runs one batch after the other.

    Nobody waits for company: a call that finds nothing running is done at once, alone.
    Those that come meanwhile must wait anyway, and go together.
    """

    def __init__(self, work: Callable[[list[Item]], Sequence[Result]], most: int) -> None:
        """Name what answers a list of items, in their order, and how many it may get."""
        self._work, self._most = work, most
        self._waiting: list[tuple[Item, Future[Result]]] = []
        self._joining, self._running = Lock(), Lock()

    def __call__(self, item: Item) -> Result:
        """The answer to one item; what goes wrong with a batch, all who are in it get."""
        answer: Future[Result] = Future()
        with self._joining:
            self._waiting.append((item, answer))
        with self._running:
            while not answer.done():  # whoever waited longer goes first
                self._run()
        return answer.result()

    def _run(self) -> None:
        with self._joining:
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        try:
            done = list(zip(batch, self._work([item for item, _ in batch]), strict=True))
        except BaseException as error:
            for _, answer in batch:
                answer.set_exception(error)
        else:
            for (_, answer), result in done:
                answer.set_result(result)
