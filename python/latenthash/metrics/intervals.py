"""How far a mean over queries can be trusted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .ranks import Values


def bootstrap_intervals(
    values: NDArray[np.float64], seed: int, resamples: int = 1000, level: float = 0.95
) -> Values:
    """Percentile bootstrap intervals of means over queries.

    Queries are drawn with replacement, as many as there are; the interval lies between
    the (1 - level) / 2 and (1 + level) / 2 quantiles of the resamples' means. All
    measures see the same draws. It tells of the choice of queries only, not of another
    training or database. Source: Efron and Tibshirani, An Introduction to the
    Bootstrap, 1993, ch. 13.

    Args:
        values: (M, Q) float64, M measures of Q queries.
        seed: of the draws.
        resamples: how many.
        level: of confidence, between 0 and 1.

    Returns:
        (M, 2) float64: low and high.

    Raises:
        ValueError: no queries, or level outside 0..1.
    """
    measures, queries = values.shape
    if not queries or not 0 < level < 1:
        raise ValueError(f"an interval of {queries} queries at level {level}")
    rng = np.random.default_rng(seed)
    means = np.empty((resamples, measures))
    for mean in means:
        drawn = np.bincount(rng.integers(queries, size=queries), minlength=queries)
        mean[:] = (values * drawn).sum(axis=1) / queries
    return np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0).T
