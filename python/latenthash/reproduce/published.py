"""Published figures that ours are set beside."""

from __future__ import annotations

import csv
from importlib.resources import files
from typing import NamedTuple

PAPER = "Lin, Yang, Hsiao and Chen, Deep Learning of Binary Hash Codes, CVPR Workshops 2015"
CIFAR10_BITS = (12, 32, 48)
CIFAR10_MAP_AT_1000 = {
    "AlexNet with a latent layer (the paper)": (0.8930, 0.8972, 0.8973),
    "CNNH+": (0.465, 0.521, 0.532),
    "KSH": (0.303, 0.346, 0.356),
    "ITQ-CCA": (0.264, 0.288, 0.295),
    "LSH": (0.121, 0.120, 0.120),
}
"""Mean average precision at 1,000 on CIFAR-10 by bits, as the paper gives it."""


class ThesisQuery(NamedTuple):
    """A query of the thesis' chapter 5: 40 images of Caltech-101 that are in the library.

    Attributes:
        query: number, from 1.
        category: class of the image.
        number: of the image in its class.
        precision_hashed: of the first 20, by buckets and then by feature, in percent.
        precision_plain: of the first 20, all images compared, in percent.
        seconds_hashed: of the query, by buckets.
        seconds_plain: of the query, all images compared.
        reduction: of the time, in percent, as printed there.
    """

    query: int
    category: str
    number: int
    precision_hashed: float
    precision_plain: float
    seconds_hashed: float
    seconds_plain: float
    reduction: float


def thesis_queries() -> list[ThesisQuery]:
    """Tables 5-1, 5-2 and 5-3 of the thesis, joined.

    The reduction of query 29 is the one of query 30 there; its times give 63.7.
    """
    text = files(__package__).joinpath("thesis_table_5.csv").read_text()
    rows = csv.reader(text.splitlines()[1:])
    return [
        ThesisQuery(int(number), category, int(at), *map(float, values))
        for number, category, at, *values in rows
    ]
