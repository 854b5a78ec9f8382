"""What is asked of the library and what it answers, in plain numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from latenthash.feedback import Votes


@dataclass(frozen=True)
class Query:
    """What is searched with: an image of the index, or a picture.

    Attributes:
        number: its id, or None.
        picture: a file's bytes, if there is no id.
        crop: (x, y, width, height) as shares of the picture; None: the whole.
    """

    number: int | None = None
    picture: bytes = b""
    crop: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class Wish:
    """How it is searched; see `SearchOptions`."""

    top: int = 100
    metric: str = "l2"
    radius: int | None = None
    candidates: int | None = 1000
    max_distance: float | None = None
    labels: tuple[int, ...] = ()
    exact: bool = False
    compare: bool = False
    fold: bool = True
    liked: tuple[int, ...] = ()
    disliked: tuple[int, ...] = ()


@dataclass(frozen=True)
class Seen:
    """A query as the index sees it: code (W,), feature (D,), and the bits' weights if moved."""

    code: Any
    feature: Any
    votes: Votes | None
    times: dict[str, float]


@dataclass(frozen=True)
class HitList:
    """Hits in numbers: lists with one entry a hit, best first.

    Attributes:
        coarse_ranks: 1 + the images whose code is nearer.
        copies: near-copies folded into each.
        codes: as 0 and 1.
        names: as the index has them.
        labels: numbers of their classes, None where unknown, as in
        label_names: "" where unknown.
    """

    ids: list[int]
    hamming: list[int]
    distances: list[float]
    coarse_ranks: list[int]
    copies: list[int]
    codes: list[str]
    names: list[str]
    labels: list[int | None]
    label_names: list[str]


@dataclass(frozen=True)
class Found:
    """An answer in numbers.

    Attributes:
        code: that was searched with, as 0 and 1.
        exact_ms, overlap: of the plain search and with its hits, if both were compared.
    """

    code: str
    hits: HitList
    certificate: dict[str, Any]
    timings_ms: dict[str, float]
    warnings: list[str]
    refined: bool
    exact_ms: float | None = None
    overlap: float | None = None


@dataclass(frozen=True)
class Entry:
    """One image of the index, as the catalogue wants to know it."""

    number: int
    name: str
    label: int | None
    label_name: str
    code: str
    content: str
