"""Markdown: tables and figures as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; all columns but the first to the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    lines = [list(head), rule, *([str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def percent(value: float | None, digits: int = 2) -> str:
    """A share in percent, "-" where there is none."""
    return "-" if value is None else f"{100 * value:.{digits}f}"


def between(value: float, ends: Sequence[float]) -> str:
    """A mean with its 95 % interval, in percent."""
    return f"{percent(value)} ({percent(ends[0], 1)} to {percent(ends[1], 1)})"


def bold(text: str) -> str:
    """Ours."""
    return f"**{text}**"
