"""Measures over hits in rank order.

`relevant` is always (Q, k) bool: entry [q, r] says whether the hit of query q at rank
r + 1 is of the query's class. Ranks with no hit are False. `totals` is (Q,): how many
images of the query's class the whole database holds. With P(r) the share of relevant
hits among the first r and R the total, recall at r is P(r) r / R; what would be 0 / 0
(nothing relevant, nothing found) is 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Relevance = NDArray[np.bool_]
Values = NDArray[np.float64]
Counts = NDArray[np.integer]


def ratio(part: ArrayLike, whole: ArrayLike) -> Values:
    """part / whole, elementwise; 0 where the whole is 0."""
    above, below = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    result = np.zeros(below.shape)
    np.divide(above, below, out=result, where=below != 0)
    return result


def hits_at(relevant: Relevance, ranks: ArrayLike) -> NDArray[np.int32]:
    """Relevant hits among the first r, for each r of `ranks`.

    Ranks beyond k count the k.

    Args:
        relevant: (Q, k) bool.
        ranks: (C,) positive integers.

    Returns:
        (Q, C) int32.

    Raises:
        ValueError: a rank below 1.
    """
    wanted = np.asarray(ranks, np.int64)
    if (wanted < 1).any():
        raise ValueError(f"rank {wanted.min()}; ranks start at 1")
    hits = np.zeros((len(relevant), relevant.shape[1] + 1), np.int32)
    np.cumsum(relevant, axis=1, dtype=np.int32, out=hits[:, 1:])
    return hits[:, np.minimum(wanted, relevant.shape[1])]


def precision_at(relevant: Relevance, k: int) -> Values:
    """P(k) = relevant hits among the first k / k, even if fewer than k came back.

    Source: Manning, Raghavan, Schuetze, Introduction to Information Retrieval, 2008, 8.4.

    Returns:
        (Q,) float64.
    """
    return _first(relevant, k) / k


def recall_at(relevant: Relevance, totals: Counts, k: int) -> Values:
    """Relevant hits among the first k / R; 0 where R is 0.

    Source: Manning et al. 2008, 8.3.

    Returns:
        (Q,) float64.
    """
    return ratio(_first(relevant, k), totals)


def f_beta_at(relevant: Relevance, totals: Counts, k: int, beta: float = 1.0) -> Values:
    """F = (1 + b^2) P R / (b^2 P + R) of precision and recall at k; F1 at beta 1.

    With h hits that is (1 + b^2) h / (b^2 R + k): recall weighs b times as much as
    precision. Source: van Rijsbergen, Information Retrieval, 1979, ch. 7.

    Returns:
        (Q,) float64.

    Raises:
        ValueError: beta is negative.
    """
    if beta < 0:
        raise ValueError(f"beta {beta}; it is 0 or more")
    weight = beta * beta
    return (1 + weight) * _first(relevant, k) / (weight * np.asarray(totals) + k)


def average_precision_at_k(relevant: Relevance) -> Values:
    """AP = sum over ranks r <= k of P(r) relevant(r) / relevant hits among the k.

    0 where there is none. It asks how well the k are sorted, not how many of the class
    they are. Source: the evaluation that comes with Lin et al. 2015.

    Returns:
        (Q,) float64.
    """
    return ratio(_precision_sums(relevant), relevant.sum(axis=1))


def average_precision_all(relevant: Relevance, totals: Counts) -> Values:
    """AP = sum over ranks r of P(r) relevant(r) / R; 0 where R is 0.

    Give the whole ranking; where only the first k ranks are given, the relevant images
    beyond them count 0. Source: Manning et al. 2008, 8.4.

    Returns:
        (Q,) float64.
    """
    return ratio(_precision_sums(relevant), totals)


def map_at_k(relevant: Relevance) -> float:
    """Mean of `average_precision_at_k` over the queries."""
    return float(average_precision_at_k(relevant).mean())


def map_all(relevant: Relevance, totals: Counts) -> float:
    """Mean of `average_precision_all` over the queries."""
    return float(average_precision_all(relevant, totals).mean())


def precision_by_rank(relevant: Relevance) -> Values:
    """P(r) at every rank r = 1..k, mean over the queries: (k,) float64."""
    ranks = np.arange(1, relevant.shape[1] + 1)
    precision: Values = np.cumsum(relevant.sum(axis=0)) / (ranks * len(relevant))
    return precision


def precision_recall_curve(
    relevant: Relevance, totals: Counts, ranks: ArrayLike
) -> tuple[Values, Values]:
    """Precision and recall of the first r, each the mean over the queries, for each r.

    The curve of Hamming ranking in the literature of hashing; nothing is interpolated.

    Args:
        relevant: (Q, k) bool.
        totals: (Q,).
        ranks: (C,) positive integers, at most k.

    Returns:
        Precision (C,), recall (C,).
    """
    hits, wanted = hits_at(relevant, ranks), np.asarray(ranks)
    recall = ratio(hits, np.asarray(totals)[:, None])
    return (hits / wanted).mean(axis=0), recall.mean(axis=0)


def _first(relevant: Relevance, k: int) -> NDArray[np.int64]:
    """Relevant hits among the first k: (Q,)."""
    if k < 1:
        raise ValueError(f"rank {k}; ranks start at 1")
    hits: NDArray[np.int64] = relevant[:, :k].sum(axis=1)
    return hits


def _precision_sums(relevant: Relevance) -> Values:
    """Sum of P(r) over the ranks r of relevant hits: (Q,)."""
    # for r in 1..k: if relevant[q, r]: hits += 1; total[q] += hits / r
    queries, width = relevant.shape
    counts = np.count_nonzero(relevant, axis=1)
    rows = np.repeat(np.arange(queries), counts)
    ranks = np.flatnonzero(relevant) - rows * width + 1
    hits = np.arange(1, len(rows) + 1) - np.repeat(np.cumsum(counts) - counts, counts)
    sums: Values = np.bincount(rows, hits / ranks, minlength=queries).astype(np.float64, copy=False)
    return sums
