"""Distances between one query's feature and many: the measures of the fine step.

Each takes query (D,) and features (N, D), any floating type, and returns (N,)
float32; smaller is nearer. Differences are taken value by value, not through the dot
product, so that equal features get equal distances and the query itself gets 0.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.floating]
Distances = NDArray[np.float32]
_ROWS = 256  # rows at a time: the temporary of 4096-d float32 stays in the cache


def l2(query: Features, features: Features) -> Distances:
    """Euclidean: sqrt(sum (x - y)^2)."""
    return _blockwise(_l2, query, features)


def l1(query: Features, features: Features) -> Distances:
    """Manhattan: sum |x - y|."""
    return _blockwise(_l1, query, features)


def linf(query: Features, features: Features) -> Distances:
    """Chebyshev: max |x - y|."""
    return _blockwise(_linf, query, features)


def chi2(query: Features, features: Features) -> Distances:
    """Chi-square for non-negative features: sum (x - y)^2 / (x + y), 0 / 0 taken as 0."""
    return _blockwise(_chi2, query, features)


def cosine(query: Features, features: Features) -> Distances:
    """Cosine distance: 1 - x.y / (|x| |y|), in 0..2; 1 if one of the two is zero."""
    return _blockwise(_cosine, query, features)


METRICS: dict[str, Callable[[Features, Features], Distances]] = {
    "l2": l2,
    "chi2": chi2,
    "cosine": cosine,
    "l1": l1,
    "linf": linf,
}


def _blockwise(
    kernel: Callable[[Distances, Distances], Distances], query: Features, features: Features
) -> Distances:
    x = np.asarray(query, dtype=np.float32)
    result = np.empty(len(features), dtype=np.float32)
    for start in range(0, len(features), _ROWS):
        block = features[start : start + _ROWS]
        result[start : start + _ROWS] = kernel(x, np.asarray(block, dtype=np.float32))
    return result


def _dot(x: Distances, y: Distances) -> Distances:
    """Row by row x.y; not through BLAS: a row's result must not depend on its neighbours."""
    products: Distances = np.einsum("...d,...d->...", x, y)
    return products


def _l2(x: Distances, y: Distances) -> Distances:
    difference = y - x
    return np.sqrt(_dot(difference, difference))


def _l1(x: Distances, y: Distances) -> Distances:
    total: Distances = np.abs(y - x).sum(axis=1)
    return total


def _linf(x: Distances, y: Distances) -> Distances:
    largest: Distances = np.abs(y - x).max(axis=1)
    return largest


def _chi2(x: Distances, y: Distances) -> Distances:
    difference, total = y - x, y + x
    ratio = np.divide(difference, total, out=np.zeros_like(total), where=total != 0)
    return _dot(ratio, difference)


def _cosine(x: Distances, y: Distances) -> Distances:
    norms = np.sqrt(_dot(y, y) * _dot(x, x))
    similarity = np.divide(_dot(y, x), norms, out=np.zeros_like(norms), where=norms != 0)
    distances: Distances = np.clip(1 - similarity, 0, 2)
    return distances
