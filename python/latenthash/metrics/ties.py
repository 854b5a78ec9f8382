"""Measures that do not depend on the order within equal Hamming distances.

They look at counts alone: `relevant` and `found` are (Q, D), how many images of the
query's class, and how many in all, lie at distance 0, 1, .. D - 1 from each query.
"""

from __future__ import annotations

import numpy as np

from .ranks import Counts, Values, ratio


def tie_aware_average_precision(relevant: Counts, found: Counts) -> Values:
    """Expected `average_precision_all` if images at equal distance come in random order.

    With t images and s relevant ones nearer than a ring of n images, r of them relevant,
    the ring adds the sum over its places i = 1..n of
    (r / n) (s + 1 + (i - 1)(r - 1)/(n - 1)) / (t + i); the total is divided by all
    relevant images; 0 where there is none. Source: McSherry and Najork, Computing
    Information Retrieval Performance Measures Efficiently in the Presence of Tied
    Scores, ECIR 2008.

    Args:
        relevant: (Q, D) integers.
        found: (Q, D) integers, at least `relevant`.

    Returns:
        (Q,) float64.
    """
    r, n = np.asarray(relevant, np.float64), np.asarray(found, np.int64)
    ends = np.cumsum(n, axis=1)
    before = ends - n
    hits_before = np.cumsum(r, axis=1) - r
    # sum of 1/(t + i) is a difference of harmonic numbers; (i - 1)/(t + i) is
    # 1 - (t + 1)/(t + i): no loop over places
    harmonic = _harmonic(int(ends.max(initial=0)))
    inverse = harmonic[ends] - harmonic[before]
    later = (n - (before + 1) * inverse) * ratio(r - 1, n - 1)
    total = (ratio(r, n) * ((hits_before + 1) * inverse + later)).sum(axis=1)
    return ratio(total, r.sum(axis=1))


def map_tie_aware(relevant: Counts, found: Counts) -> float:
    """Mean of `tie_aware_average_precision` over the queries."""
    return float(tie_aware_average_precision(relevant, found).mean())


def tie_aware_precision_at(relevant: Counts, found: Counts, k: int) -> Values:
    """Expected `precision_at` k if images at equal distance came in random order.

    Rings that end within the first k count whole, the one that k cuts by its share of
    relevant images. Source: McSherry and Najork, as above.

    Args:
        relevant: (Q, D) integers.
        found: (Q, D) integers, at least `relevant`.
        k: rank, at least 1.

    Returns:
        (Q,) float64.

    Raises:
        ValueError: k below 1.
    """
    if k < 1:
        raise ValueError(f"rank {k}: give 1 or more")
    n = np.asarray(found, np.int64)
    before = np.cumsum(n, axis=1) - n
    taken = np.clip(k - before, 0, n)
    return np.asarray((taken * ratio(relevant, n)).sum(axis=1) / k)


def precision_within(relevant: Counts, found: Counts, radius: int) -> Values:
    """Share of relevant images among those within the radius; 0 where none is within.

    Source: the hash lookup of the literature, mostly at radius 2, which counts a query
    that finds nothing as a failure (Liu et al., Supervised Hashing with Kernels, 2012).

    Returns:
        (Q,) float64.
    """
    inside = _inside(radius)
    return ratio(relevant[:, inside].sum(axis=1), found[:, inside].sum(axis=1))


def recall_within(relevant: Counts, radius: int) -> Values:
    """Share of all relevant images that lies within the radius; 0 where there is none.

    Returns:
        (Q,) float64.
    """
    return ratio(relevant[:, _inside(radius)].sum(axis=1), relevant.sum(axis=1))


def radius_curve(relevant: Counts, found: Counts) -> tuple[Values, Values]:
    """`precision_within` and `recall_within` at radius 0..D - 1, mean over the queries.

    Returns:
        Precision (D,), recall (D,).
    """
    hits = np.cumsum(relevant, axis=1)
    precision = ratio(hits, np.cumsum(found, axis=1))
    return precision.mean(axis=0), ratio(hits, hits[:, -1:]).mean(axis=0)


def _inside(radius: int) -> slice:
    if radius < 0:
        raise ValueError(f"radius {radius}; it is 0 or more")
    return slice(radius + 1)


def _harmonic(count: int) -> Values:
    """H(0)..H(count): sums of 1/1 + 1/2 + .. 1/i, (count + 1,)."""
    return np.concatenate([[0.0], np.cumsum(1 / np.arange(1, count + 1))])
