"""The coarse step: all images up to a Hamming distance, the last ring whole.

Milvus gives the nearest rows up to a limit, and which of several equally far ones it cuts
off is chance. So more are asked for than are wanted, until what is cut off is farther than
the last ring; and where one answer cannot hold the ring, ids are asked span by span.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .server import MOST_HITS

Ids = NDArray[np.int64]
Distances = NDArray[np.uint16]
_SPARE = 2  # of so many images wanted one more is asked for: the ring's share
_LEAST = 64  # more than wanted at least
_CUTS = 4  # spans that one becomes
_ROUND = 1 << 18  # hits that one request may bring


@dataclass(frozen=True, eq=False)
class Answer:
    """What Milvus found among ids first..stop - 1.

    Attributes:
        first, stop: the span.
        limit: hits asked for.
        ids: (n,) int64 of those that count: visible, and let in by the filter.
        buckets: (n,) int64 of the same.
        hamming: (n,) uint16 of the same.
        count: hits, also those that do not count.
        last: distance of the farthest of them; -1 if there are none.
    """

    first: int
    stop: int
    limit: int
    ids: Ids
    buckets: Ids
    hamming: Distances
    count: int
    last: int

    @property
    def full(self) -> bool:
        """Whether there may be more images than it holds."""
        return self.count >= self.limit and self.limit < self.stop - self.first


@dataclass(frozen=True, eq=False)
class Near:
    """Result of the coarse step.

    Attributes:
        ids: (M,) int64, the candidates, ascending by distance, then id.
        buckets: (M,) int64 of the same.
        hamming: (M,) uint16 of the same.
        within: images in reach, more than M if there is a cap.
        all: every image that passes the filter is a candidate.
    """

    ids: Ids
    buckets: Ids
    hamming: Distances
    within: int
    all: bool


Ask = Callable[[Sequence[bytes], int, int, int], list[Answer]]
"""Nearest images of codes: among ids first..stop - 1, so many at most; where the span holds
no more than that, all of it."""


def nearest(
    ask: Ask, codes: Sequence[bytes], stop: int, radius: int, wanted: int | None, cap: int | None
) -> list[Near]:
    """Candidates of each code.

    Args:
        ask: asks Milvus.
        codes: packed.
        stop: ids are below this.
        radius: largest distance.
        wanted: nearest images are taken until there are so many; None: all within `radius`.
        cap: most candidates; of the last ring those of the lowest ids. None: no limit.
    """
    limit = first_limit(wanted)
    step = max(1, _ROUND // limit)
    answers = [
        answer
        for start in range(0, len(codes), step)
        for answer in ask(codes[start : start + step], 0, stop, limit)
    ]
    return [
        _near(_settled(ask, code, answer, radius, wanted), radius, wanted, cap)
        for code, answer in zip(codes, answers, strict=True)
    ]


def first_limit(wanted: int | None) -> int:
    """How many hits to ask for at first."""
    if wanted is None:
        return MOST_HITS
    return min(MOST_HITS, wanted + max(_LEAST, wanted // _SPARE))


def _settled(
    ask: Ask, code: bytes, answer: Answer, radius: int, wanted: int | None
) -> list[Answer]:
    """Answers that hold all images in reach, and one beyond if there is any."""
    answers = [answer]
    while True:
        reach = _reach(answers, radius, wanted)
        beyond = any((one.hamming > reach).any() for one in answers)
        lacking = [one for one in answers if one.full and (one.last <= reach or not beyond)]
        if not lacking:
            return answers
        answers = [one for one in answers if one not in lacking]
        for one in lacking:
            answers += _closer(ask, code, one)


def _closer(ask: Ask, code: bytes, answer: Answer) -> list[Answer]:
    """The same span again with more hits: first of all of it, then of its parts."""
    if answer.limit < MOST_HITS:
        return ask([code], answer.first, answer.stop, MOST_HITS)
    edges = np.linspace(answer.first, answer.stop, _CUTS + 1).astype(np.int64).tolist()
    return [
        part
        for first, stop in pairwise(edges)
        if first < stop
        for part in ask([code], first, stop, MOST_HITS)
    ]


def _reach(answers: Sequence[Answer], radius: int, wanted: int | None) -> int:
    """Largest distance to take, as far as these answers tell."""
    if wanted is None:
        return radius
    hamming = np.concatenate([one.hamming for one in answers])
    if len(hamming) < wanted:
        return radius
    return min(radius, int(np.partition(hamming, wanted - 1)[wanted - 1]))


def _near(answers: Sequence[Answer], radius: int, wanted: int | None, cap: int | None) -> Near:
    reach = _reach(answers, radius, wanted)
    ids, buckets = (
        np.concatenate([getattr(one, name) for one in answers]) for name in ("ids", "buckets")
    )
    hamming = np.concatenate([one.hamming for one in answers])
    order = np.lexsort((ids, hamming))
    within = int((hamming <= reach).sum())
    taken = order[:within][:cap]
    return Near(ids[taken], buckets[taken], hamming[taken], within, len(taken) == len(ids))
