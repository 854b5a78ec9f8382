"""The demo's picture: some queries with what they found, right and wrong marked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .search import Answer, Hit, Searcher
from .sheets import Cell, Row, contact_sheet

_AT_RANDOM, _WORST = 6, 2  # rows


def draw_answers(
    searcher: Searcher, answers: Sequence[Answer], truth: Sequence[str], path: Path
) -> None:
    """Draw a few answers as rows of pictures.

    Where classes hold many images: the first ones, then those with the most wrong hits,
    so that the picture does not flatter. Where each image is a class of its own, another
    one is not wrong, and the first ones are drawn.

    Args:
        searcher: that answered.
        answers: in random order.
        truth: class of each query.
        path: PNG to write.
    """
    alone = _each_its_own_class(searcher)
    pairs = list(zip(answers, truth, strict=True))
    first, rest = pairs[:_AT_RANDOM], pairs[_AT_RANDOM:]
    if not alone:
        rest.sort(key=lambda pair: -sum(hit.label != pair[1] for hit in pair[0].hits))
    rows = [
        Row(
            Cell(Path(answer.query), f"query\n{Path(label).stem if alone else label}"),
            [_cell(searcher, hit, label, alone) for hit in answer.hits],
        )
        for answer, label in (*first, *rest[:_WORST])
    ]
    title = (
        f"{_AT_RANDOM} queries at random, and the {_WORST} worst of {len(pairs)}; class, distance"
    )
    contact_sheet(rows, path, "Crops, and the photos nearest to each" if alone else title)


def _each_its_own_class(searcher: Searcher) -> bool:
    labels = searcher.index.labels(np.arange(len(searcher.index)))
    return len(set(labels)) == len(labels)


def _cell(searcher: Searcher, hit: Hit, label: str, alone: bool) -> Cell:
    name = Path(hit.label).stem if alone else hit.label
    right = True if hit.label == label else None if alone else False
    return Cell(searcher.image_path(hit.name), f"{name}\n{hit.distance:.3g}", right)
