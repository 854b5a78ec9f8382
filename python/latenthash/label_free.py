"""How sensible codes are where nothing has a label.

Two questions: does the ranking by codes agree with the ranking by features that the codes
stand for? And does a crop of a photo find the photo?
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .codes import CodeSet
from .hamming import Codes, distances
from .index import BucketIndex, Hits, SearchOptions

_NEAREST = 10
_QUERIES = 500  # photos asked for their nearest
_SHORTLIST = 0.1  # share of the photos that the codes put forward
_DEPTH = 100  # a photo ranked behind does not count as found
_FEWEST = 2 * _NEAREST


@dataclass(frozen=True)
class Agreement:
    """Quality of codes without labels.

    Attributes:
        queries: photos that were asked for their nearest others.
        recall_at_10_codes: of the ten nearest by feature, the share that is among the
            first ten by (Hamming distance, id).
        shortlist: photos that the codes put forward.
        recall_at_10_shortlist: of the ten nearest by feature, the share found when the
            `shortlist` nearest by code are ranked by feature.
        crops: crops that were asked for their photo.
        crop_map_codes: mean of 1 / rank of the photo by code alone; 0 beyond rank 100.
        crop_map_features: the same by feature.
        distinct_codes: how many codes the photos have.
    """

    queries: int
    recall_at_10_codes: float
    shortlist: int
    recall_at_10_shortlist: float
    crops: int
    crop_map_codes: float
    crop_map_features: float
    distinct_codes: int


def measure(
    index: BucketIndex, photos: CodeSet, crops: CodeSet, truth: NDArray[np.int64], seed: int = 0
) -> Agreement:
    """Measure an index whose ids are the rows of `photos`.

    Args:
        index: of the photos.
        photos: two or more.
        crops: of some of them.
        truth: (Q,) row of the photo that each crop shows.
        seed: of which photos are asked.
    """
    codes = photos.codes
    chosen = np.sort(np.random.default_rng(seed).permutation(len(codes))[:_QUERIES])
    features = np.concatenate([photos.features(row, row + 1) for row in chosen.tolist()])
    shortlist = min(len(codes), max(_FEWEST, round(_SHORTLIST * len(codes))))
    exact = index.search(codes[chosen], features, SearchOptions(top=_NEAREST + 1, exact=True))
    near = index.search(codes[chosen], features, SearchOptions(
        top=_NEAREST + 1, candidates=shortlist, max_candidates=shortlist))  # fmt: skip
    nearest = _without_self(exact, chosen)
    found = index.search(crops.codes, crops.features(), SearchOptions(top=_DEPTH, exact=True))
    by_code = by_hamming(crops.codes, codes, _DEPTH)
    return Agreement(
        queries=len(chosen),
        recall_at_10_codes=_recall(
            _others(by_hamming(codes[chosen], codes, _NEAREST + 1), chosen), nearest
        ),
        shortlist=shortlist,
        recall_at_10_shortlist=_recall(_without_self(near, chosen), nearest),
        crops=len(truth),
        crop_map_codes=mean_reciprocal_rank(by_code, truth),
        crop_map_features=mean_reciprocal_rank([hits.ids for hits in found], truth),
        distinct_codes=len(np.unique(codes, axis=0)),
    )


def by_hamming(queries: Codes, codes: Codes, top: int) -> NDArray[np.int64]:
    """(Q, min(top, N)) rows of `codes`, by (Hamming distance, row)."""
    ranked = [np.argsort(distances(query[None], codes)[0], kind="stable") for query in queries]
    return np.array([rows[:top] for rows in ranked])


def mean_reciprocal_rank(ranked: Iterable[NDArray[np.int64]], truth: NDArray[np.int64]) -> float:
    """Mean average precision where one row is right; 0 for a query that does not rank it."""
    ranks = [np.flatnonzero(rows == row) for rows, row in zip(ranked, truth, strict=True)]
    return float(np.mean([1 / (1 + rank[0]) if len(rank) else 0.0 for rank in ranks]))


def _without_self(answers: Iterable[Hits], chosen: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return _others([hits.ids for hits in answers], chosen)


def _others(
    ranked: Iterable[NDArray[np.int64]], chosen: NDArray[np.int64]
) -> list[NDArray[np.int64]]:
    """The first ten but for the query itself."""
    return [rows[rows != row][:_NEAREST] for rows, row in zip(ranked, chosen, strict=True)]


def _recall(found: list[NDArray[np.int64]], nearest: list[NDArray[np.int64]]) -> float:
    pairs = zip(found, nearest, strict=True)
    return float(np.mean([np.isin(right, rows).mean() for rows, right in pairs]))
