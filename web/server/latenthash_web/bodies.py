"""Request bodies that end before they are whole are refused, not read as if they were."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

Environ = dict[str, Any]
Application = Callable[[Environ, Any], Iterable[bytes]]


class Stream(Protocol):
    """What WSGI calls wsgi.input."""

    def read(self, size: int = -1) -> bytes:
        """Bytes, fewer at the end."""

    def readline(self, size: int = -1) -> bytes:
        """A line or a part of one."""


class WholeBody:
    """A stream whose early end is an OSError, which Django takes for an unreadable request."""

    def __init__(self, stream: Stream, length: int) -> None:
        self._stream, self._left = stream, length

    def read(self, size: int = -1) -> bytes:
        """As the stream's.

        Raises:
            OSError: nothing more comes of what was announced.
        """
        return self._counted(self._stream.read(size), size)

    def readline(self, size: int = -1) -> bytes:
        """As `read`, of a line."""
        return self._counted(self._stream.readline(size), size)

    def _counted(self, part: bytes, size: int) -> bytes:
        self._left -= len(part)
        if not part and size != 0 and self._left > 0:
            raise OSError(f"the body ended {self._left} bytes too soon")
        return part


def whole_bodies(application: Application) -> Application:
    """The application, whose requests are whole."""

    def handle(environ: Environ, start_response: Any) -> Iterable[bytes]:
        length = str(environ.get("CONTENT_LENGTH") or "0")
        if length.isdecimal():
            environ["wsgi.input"] = WholeBody(environ["wsgi.input"], int(length))
        return application(environ, start_response)

    return handle
