"""Measures of what lies at each Hamming distance."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latenthash import metrics
from latenthash.metrics import average_precision_all


def every_order(rings: list[list[bool]]) -> list[list[bool]]:
    """All rankings in which only images of one ring change places."""
    orders = [list(permutations(ring)) for ring in rings]
    return [[hit for ring in choice for hit in ring] for choice in product(*orders)]


def counts(rings: list[list[bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([[sum(ring) for ring in rings]]), np.array([[len(ring) for ring in rings]])


@settings(deadline=None)
@given(st.lists(st.lists(st.booleans(), max_size=4), min_size=1, max_size=3))
def test_tie_aware_is_the_mean_over_every_order(rings: list[list[bool]]) -> None:
    relevant = np.array(every_order(rings), bool)
    expected = average_precision_all(relevant, relevant.sum(axis=1)).mean()
    [found] = metrics.tie_aware_average_precision(*counts(rings))
    assert found == pytest.approx(expected, abs=1e-12)


def test_tie_aware_by_hand() -> None:
    # one relevant of two at the same distance: first or second, 1 or 1/2
    [one] = metrics.tie_aware_average_precision(np.array([[1, 0]]), np.array([[2, 0]]))
    assert one == pytest.approx(0.75)
    # without ties it is the usual value
    [plain] = metrics.tie_aware_average_precision(np.array([[1, 0, 1]]), np.array([[1, 1, 1]]))
    assert plain == pytest.approx((1 + 2 / 3) / 2)
    empty = metrics.tie_aware_average_precision(np.zeros((2, 3), int), np.array([[1, 2, 3]] * 2))
    assert empty.tolist() == [0, 0]


def test_tie_aware_is_precise_where_rings_are_many_and_large() -> None:
    rng = np.random.default_rng(0)
    found = rng.integers(0, 3000, (3, 49))
    relevant = rng.binomial(found, 0.1)
    found[:, 40:], relevant[:, 40:] = 1, 1  # harmonic numbers that are close together
    for ours, r, n in zip(metrics.tie_aware_average_precision(relevant, found), relevant, found,
                          strict=True):  # fmt: skip
        total, before, hits = np.longdouble(0), 0, 0
        for count, some in zip(n.tolist(), r.tolist(), strict=True):
            for place in range(1, count + 1):
                others = (place - 1) * (some - 1) / max(count - 1, 1)
                total += np.longdouble(some) / count * (hits + 1 + others) / (before + place)
            before, hits = before + count, hits + some
        assert ours == pytest.approx(float(total / hits), rel=1e-11)


@settings(deadline=None)
@given(st.lists(st.lists(st.booleans(), max_size=4), min_size=1, max_size=3), st.integers(1, 14))
def test_tie_aware_precision_is_the_mean_over_every_order(rings: list[list[bool]], k: int) -> None:
    expected = np.mean([sum(order[:k]) / k for order in every_order(rings)])
    [found] = metrics.tie_aware_precision_at(*counts(rings), k)
    assert found == pytest.approx(expected, abs=1e-12)


def test_tie_aware_precision_at_no_rank_is_refused() -> None:
    with pytest.raises(ValueError, match="rank 0"):
        metrics.tie_aware_precision_at(np.zeros((1, 2), int), np.zeros((1, 2), int), 0)


def test_map_tie_aware_is_the_mean() -> None:
    relevant, found = np.array([[1, 0], [0, 0]]), np.array([[2, 0], [1, 1]])
    assert metrics.map_tie_aware(relevant, found) == pytest.approx(0.375)


def test_within_a_radius_by_hand() -> None:
    relevant = np.array([[0, 3, 1], [0, 0, 2], [0, 0, 0]])
    found = np.array([[0, 4, 4], [0, 0, 2], [1, 1, 1]])
    np.testing.assert_allclose(metrics.precision_within(relevant, found, 1), [3 / 4, 0, 0])
    np.testing.assert_allclose(metrics.precision_within(relevant, found, 99), [1 / 2, 1, 0])
    np.testing.assert_allclose(metrics.recall_within(relevant, 1), [3 / 4, 0, 0])
    np.testing.assert_allclose(metrics.recall_within(relevant, 2), [1, 1, 0])


@given(seed=st.integers(0, 2**32))
def test_radius_curve_is_every_radius(seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = rng.integers(0, 5, (4, 7))
    relevant = rng.binomial(found, 0.4)
    precision, recall = metrics.radius_curve(relevant, found)
    for radius in range(7):
        expected = metrics.precision_within(relevant, found, radius).mean()
        assert precision[radius] == pytest.approx(expected)
        assert recall[radius] == pytest.approx(metrics.recall_within(relevant, radius).mean())


def test_a_negative_radius_is_refused() -> None:
    with pytest.raises(ValueError, match="radius -1"):
        metrics.precision_within(np.zeros((1, 2), int), np.zeros((1, 2), int), -1)
    with pytest.raises(ValueError, match="radius -2"):
        metrics.recall_within(np.zeros((1, 2), int), -2)
