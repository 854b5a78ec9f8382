"""Ctrl-C as a wish, granted when it is safe."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Interruption:
    """While it is open, the first Ctrl-C only sets `asked`; the second interrupts.

    Handlers that somebody else has set stay as they are, and threads other than the main
    one get no signals anyway.

    Attributes:
        asked: whether there was one.
    """

    def __init__(self) -> None:
        self.asked = False
        self._replaced = False

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            signal.default_int_handler(number, frame)
        self.asked = True

    def __enter__(self) -> Interruption:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._ask)
            self._replaced = True
        return self

    def __exit__(self, *_: object) -> None:
        if self._replaced:
            signal.signal(signal.SIGINT, signal.default_int_handler)
