"""gunicorn's worker with threads, and an end to requests that come too slowly.

A thread waits for its request's bytes. One that is not through in time finds its
connection closed for reading: it answers with a refusal, or not at all, and is free.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

_LOOK = 0.5  # seconds between looks at what is late


class Watch:
    """Ends the reading of connections whose time is over."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends: dict[socket.socket, float] = {}
        self._lock, self._over = Lock(), Event()

    def start(self) -> None:
        """Begin to look."""
        Thread(target=self._run, name="slow requests", daemon=True).start()

    @contextmanager
    def over(self, connection: socket.socket) -> Iterator[None]:
        """Watch a connection while a request of it is handled."""
        with self._lock:
            self._ends[connection] = monotonic() + self._seconds
        try:
            yield
        finally:
            with self._lock:
                self._ends.pop(connection, None)

    def _run(self) -> None:
        while not self._over.wait(_LOOK):
            now = monotonic()
            with self._lock:
                for connection in [c for c, end in self._ends.items() if end < now]:
                    del self._ends[connection]
                    with contextlib.suppress(OSError):  # it ended by itself
                        connection.shutdown(socket.SHUT_RD)


class BoundedThreadWorker(ThreadWorker):
    """`gthread`, with a limit on the time that a request takes to arrive."""

    def init_process(self) -> None:
        """Start to watch, then serve."""
        self.watch = Watch(float(os.environ.get("LATENTHASH_BODY_SECONDS", "30")))
        self.watch.start()
        super().init_process()

    def handle(self, conn: TConn) -> Any:
        """Handle a request in a thread."""
        with self.watch.over(conn.sock):
            return super().handle(conn)
