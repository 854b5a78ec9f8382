"""How the library tells a caller how far it is; bars belong to the tools."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

Progress = Callable[[int, int], None]
"""Called with (done, total), done growing from 0 to total."""
Announce = Callable[[str], AbstractContextManager[Progress]]
"""Called with a stage's name; gives a context with its progress."""


def silent(done: int, total: int) -> None:
    """Report to nobody."""


def quietly(stage: str) -> AbstractContextManager[Progress]:
    """Announce to nobody."""
    return nullcontext(silent)
