"""Contact sheets: a row a query, its hits beside it, right and wrong marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .errors import ImageError
from .files import atomic_file
from .images import decode

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RIGHT, WRONG, NEUTRAL = "#1a9641", "#d7191c", "#555555"
_THUMB = 1.1  # inches
_CAPTION = 0.38
_LETTERS = 15  # that fit below a picture


@dataclass(frozen=True)
class Cell:
    """A picture with a caption.

    Attributes:
        path: image file; one that cannot be read shows its reason.
        caption: below it, one or two lines; cut to what fits.
        right: True draws a green frame, False a red one, None none.
    """

    path: Path | None
    caption: str = ""
    right: bool | None = None


@dataclass(frozen=True)
class Row:
    """A query and its hits, best first."""

    query: Cell
    hits: Sequence[Cell] = field(default_factory=list)


def contact_sheet(rows: Sequence[Row], path: Path, title: str = "") -> None:
    """Draw rows of pictures into a PNG.

    Args:
        rows: at least one.
        path: written whole or not at all.
        title: a line above.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = 1 + max(len(row.hits) for row in rows)
    head = 0.45 if title else 0.1
    size = (columns * _THUMB + 0.5, len(rows) * (_THUMB + _CAPTION) + head)
    figure = Figure(figsize=size)
    FigureCanvasAgg(figure)
    for y, row in enumerate(rows):
        for x, cell in enumerate((row.query, *row.hits)):
            left = x * _THUMB + (0.1 if x == 0 else 0.4)
            bottom = size[1] - head - y * (_THUMB + _CAPTION) - _THUMB + 0.1
            side = _THUMB - 0.1
            box = (left / size[0], bottom / size[1], side / size[0], side / size[1])
            _draw(figure, cell, box)
    if title:
        figure.text(0.1 / size[0], 1 - 0.2 / size[1], title, va="center", fontsize=10)
    with atomic_file(path) as partial:
        figure.savefig(partial, dpi=110, format="png")


def _draw(figure: Figure, cell: Cell, box: tuple[float, float, float, float]) -> None:
    axes = figure.add_axes(box)
    axes.set(xticks=[], yticks=[])
    try:
        if cell.path is None:
            raise ImageError("no file")
        axes.imshow(_thumbnail(cell.path))
    except ImageError as error:
        axes.text(0.5, 0.5, error.problem, ha="center", va="center", fontsize=6, wrap=True)
    colour = {True: RIGHT, False: WRONG, None: NEUTRAL}[cell.right]
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=0.8 if cell.right is None else 2.5)
    caption = "\n".join(_shortened(line) for line in cell.caption.split("\n"))
    axes.set_xlabel(caption, fontsize=7, color=colour, labelpad=3)


def _thumbnail(path: Path) -> NDArray[np.uint8]:
    """RGB pixels, small, padded to a square."""
    pixels = decode(path, 3)[:, :, ::-1]
    step = max(1, max(pixels.shape[:2]) // 256)
    small = pixels[::step, ::step]
    side = max(small.shape[:2])
    square = np.full((side, side, 3), 255, np.uint8)
    top, left = ((side - length) // 2 for length in small.shape[:2])
    square[top : top + small.shape[0], left : left + small.shape[1]] = small
    return square


def _shortened(text: str) -> str:
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…"
