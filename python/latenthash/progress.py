"""How the library tells a caller how far it is; bars belong to the tools."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with (done, total), done growing from 0 to total."""


def silent(done: int, total: int) -> None:
    """Report to nobody."""
