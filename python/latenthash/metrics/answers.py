"""Measures of answers as such: classes, neighbours found, time."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .ranks import Values, ratio

NO_HIT = -1


def accuracy(predicted: ArrayLike, truth: ArrayLike) -> float:
    """Share of predicted classes that are right; 0 of none.

    Args:
        predicted: (Q,).
        truth: (Q,).

    Raises:
        ValueError: the shapes differ.
    """
    found, expected = np.asarray(predicted), np.asarray(truth)
    if found.shape != expected.shape:
        raise ValueError(f"{found.shape} predictions for {expected.shape} classes")
    return float(ratio((found == expected).sum(), found.size))


def recall_of_exact(found: NDArray[np.integer], exact: NDArray[np.integer]) -> Values:
    """Share of the exact nearest neighbours that an approximate search found.

    |found and exact| / |exact|; their order does not count; 0 where exact is empty.
    Source: Jegou, Douze, Schmid, Product Quantization for Nearest Neighbor Search, 2011
    (for k neighbours of k, as ANN benchmarks have it).

    Args:
        found: (Q, F) ids, each at most once a query; -1 where there was no hit.
        exact: (Q, k) ids likewise.

    Returns:
        (Q,) float64.
    """
    # for q: len(set(found[q]) & set(exact[q]) - {-1}) / len(set(exact[q]) - {-1})
    width = max(found.max(initial=NO_HIT), exact.max(initial=NO_HIT)) - NO_HIT + 1
    shift = width * np.arange(len(exact), dtype=np.int64)[:, None]  # no two queries share an id
    real = exact != NO_HIT
    common = np.isin(exact - NO_HIT + shift, found - NO_HIT + shift) & real
    return ratio(common.sum(axis=1), real.sum(axis=1))


def time_saved(plain: ArrayLike, hashed: ArrayLike) -> Values:
    """1 - hashed / plain: the share of the linear search's time that hashing saves.

    Negative where hashing takes longer; 0 where the linear search took no time.

    Args:
        plain: (Q,) seconds of the linear search, query by query.
        hashed: (Q,) seconds of the search by codes.

    Returns:
        (Q,) float64.
    """
    before = np.asarray(plain, np.float64)
    return ratio(before - np.asarray(hashed, np.float64), before)
