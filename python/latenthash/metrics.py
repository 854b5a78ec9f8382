"""Measures of retrieval: pure functions over relevance in rank order.

`relevant` is always (Q, k) bool: entry [q, r] says whether the hit of query q at rank
r + 1 is of the query's class. Ranks with no hit are False.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Relevance = NDArray[np.bool_]


def average_precision_at_k(relevant: Relevance) -> NDArray[np.float64]:
    """AP at k of each query, as in the evaluation of Lin et al. 2015.

    AP = sum over ranks r <= k of precision(r) * relevant(r), divided by the number of
    relevant hits among the k; 0 where there is none.

    Returns:
        (Q,) float64.
    """
    # for r in 1..k: if relevant[r]: total += (relevant in 1..r) / r; AP = total / relevant
    hits = np.cumsum(relevant, axis=1)
    ranks = np.arange(1, relevant.shape[1] + 1)
    total = (hits / ranks * relevant).sum(axis=1)
    count = relevant.sum(axis=1)
    precision: NDArray[np.float64] = total / np.maximum(count, 1)
    return precision


def map_at_k(relevant: Relevance) -> float:
    """Mean of `average_precision_at_k` over the queries."""
    return float(average_precision_at_k(relevant).mean())


def precision_at(relevant: Relevance, k: int) -> float:
    """Share of relevant images among the first k ranks, mean over the queries."""
    return float(relevant[:, :k].sum(axis=1).mean() / k)
