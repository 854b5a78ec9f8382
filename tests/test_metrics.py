"""Measures over hits in rank order, and of answers as such."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, average_precision_score, fbeta_score

from latenthash import metrics
from latenthash.metrics import ranks as ranks_module

SEEDS = st.integers(0, 2**32)


def relevance(seed: int, queries: int, ranks: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random((queries, ranks)) < rng.random((queries, 1))


@given(ranks=st.integers(1, 40), seed=SEEDS)
def test_ap_equals_scikit_learn(ranks: int, seed: int) -> None:
    relevant = relevance(seed, 4, ranks)
    relevant[:, -1] = True
    scores = -np.arange(ranks)
    expected = [average_precision_score(row, scores) for row in relevant]
    np.testing.assert_allclose(metrics.average_precision_at_k(relevant), expected)
    found = metrics.average_precision_all(relevant, relevant.sum(axis=1))
    np.testing.assert_allclose(found, expected)


@given(ranks=st.integers(0, 30), seed=SEEDS)
def test_ap_equals_the_loop(ranks: int, seed: int) -> None:
    relevant = relevance(seed, 5, ranks)
    for row, found in zip(relevant, metrics.average_precision_at_k(relevant), strict=True):
        hits = total = 0.0
        for rank, hit in enumerate(row, 1):
            if hit:
                hits += 1
                total += hits / rank
        assert found == pytest.approx(total / hits if hits else 0)


def test_ap_by_hand() -> None:
    relevant = np.array([[True, False, True], [False, False, False]])
    np.testing.assert_allclose(metrics.average_precision_at_k(relevant), [(1 + 2 / 3) / 2, 0])
    assert metrics.map_at_k(relevant) == pytest.approx(5 / 12)
    # of the first query's class there are 4, two of them not found; of the second's none
    found = metrics.average_precision_all(relevant, np.array([4, 0]))
    np.testing.assert_allclose(found, [(1 + 2 / 3) / 4, 0])
    assert metrics.map_all(relevant, np.array([4, 0])) == pytest.approx(5 / 24)


def test_precision_divides_by_k_even_if_fewer_came_back() -> None:
    relevant = np.array([[True, True, False, False], [False, True, False, False]])
    np.testing.assert_allclose(metrics.precision_at(relevant, 2), [1, 0.5])
    np.testing.assert_allclose(metrics.precision_at(relevant, 10), [0.2, 0.1])


def test_recall_and_f_by_hand() -> None:
    relevant = np.array([[True, True, False, True], [False, False, False, False]])
    totals = np.array([5, 0])
    np.testing.assert_allclose(metrics.recall_at(relevant, totals, 3), [2 / 5, 0])
    np.testing.assert_allclose(metrics.recall_at(relevant, totals, 9), [3 / 5, 0])
    precision, recall = 2 / 3, 2 / 5
    f1 = 2 * precision * recall / (precision + recall)
    np.testing.assert_allclose(metrics.f_beta_at(relevant, totals, 3), [f1, 0])


@given(seed=SEEDS, k=st.integers(1, 20), beta=st.sampled_from([0, 0.5, 1, 2]))
def test_f_beta_equals_scikit_learn(seed: int, k: int, beta: float) -> None:
    relevant = relevance(seed, 3, 20)
    returned = np.arange(20) < k
    found = metrics.f_beta_at(relevant, relevant.sum(axis=1), k, beta)
    expected = [fbeta_score(row, returned, beta=beta, zero_division=0) for row in relevant]
    np.testing.assert_allclose(found, expected)


@given(seed=SEEDS)
def test_precision_by_rank_is_precision_at_every_rank(seed: int) -> None:
    relevant = relevance(seed, 6, 25)
    expected = [metrics.precision_at(relevant, rank).mean() for rank in range(1, 26)]
    np.testing.assert_allclose(metrics.precision_by_rank(relevant), expected)


@given(seed=SEEDS)
def test_curve_is_precision_and_recall_at_each_rank(seed: int) -> None:
    relevant = relevance(seed, 6, 25)
    totals = relevant.sum(axis=1) + np.arange(6)  # of some queries, not all was ranked
    at = [1, 2, 7, 25]
    precision, recall = metrics.precision_recall_curve(relevant, totals, at)
    for rank, one, other in zip(at, precision, recall, strict=True):
        assert one == pytest.approx(metrics.precision_at(relevant, rank).mean())
        assert other == pytest.approx(metrics.recall_at(relevant, totals, rank).mean())


def test_hits_beyond_the_last_rank_are_those_of_the_last() -> None:
    relevant = np.array([[True, False, True]])
    assert metrics.hits_at(relevant, [1, 2, 3, 50]).tolist() == [[1, 1, 2, 2]]


def test_impossible_arguments_are_refused() -> None:
    relevant = np.array([[True]])
    with pytest.raises(ValueError, match="rank 0"):
        metrics.precision_at(relevant, 0)
    with pytest.raises(ValueError, match="rank -1"):
        metrics.hits_at(relevant, [3, -1])
    with pytest.raises(ValueError, match="beta -1"):
        metrics.f_beta_at(relevant, np.array([1]), 1, -1)
    with pytest.raises(ValueError, match=r"\(2,\) predictions for \(3,\)"):
        metrics.accuracy([1, 2], [1, 2, 3])


def test_ratio_of_nothing_is_nothing() -> None:
    assert ranks_module.ratio([1, 0, 3], [2, 0, 0]).tolist() == [0.5, 0, 0]


def test_accuracy_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 3, (2, 50))
    assert metrics.accuracy(predicted, truth) == pytest.approx(accuracy_score(truth, predicted))
    assert metrics.accuracy([], []) == 0


@given(seed=SEEDS, found=st.integers(0, 12), exact=st.integers(0, 12))
def test_recall_of_exact_equals_sets(seed: int, found: int, exact: int) -> None:
    rng = np.random.default_rng(seed)
    answers, truth = (
        np.array([rng.permutation(15)[:size] for _ in range(4)], np.int64).reshape(4, size)
        for size in (found, exact)
    )
    answers[rng.random(answers.shape) < 0.2] = -1
    truth[rng.random(truth.shape) < 0.2] = -1
    expected = []
    for one, other in zip(answers.tolist(), truth.tolist(), strict=True):
        wanted = set(other) - {-1}
        expected.append(len(wanted & set(one)) / len(wanted) if wanted else 0)
    np.testing.assert_allclose(metrics.recall_of_exact(answers, truth), expected)


def test_time_saved_by_hand() -> None:
    np.testing.assert_allclose(
        metrics.time_saved([0.37, 1.0, 1.0, 0.0], [0.13, 0.25, 2.0, 0.1]),
        [0.6486486, 0.75, -1, 0],
        rtol=1e-6,
    )


def test_bootstrap_finds_the_standard_error() -> None:
    rng = np.random.default_rng(3)
    values = np.stack([rng.normal(5, 2, 400), rng.random(400) < 0.3, np.full(400, 7)])
    found = metrics.bootstrap_intervals(values, seed=0, resamples=4000)
    error = 1.96 * values.std(axis=1) / np.sqrt(400)
    middle = values.mean(axis=1)
    np.testing.assert_allclose(found[:2, 0], (middle - error)[:2], atol=0.15 * error[0])
    np.testing.assert_allclose(found[:2, 1], (middle + error)[:2], atol=0.15 * error[0])
    assert found[2].tolist() == [7, 7]


def test_bootstrap_is_seeded_and_needs_queries() -> None:
    values = np.random.default_rng(0).random((2, 30))
    first = metrics.bootstrap_intervals(values, 1)
    assert np.array_equal(first, metrics.bootstrap_intervals(values, 1))
    assert not np.array_equal(first, metrics.bootstrap_intervals(values, 2))
    narrow = metrics.bootstrap_intervals(values, 1, level=0.5)
    assert (np.diff(narrow) < np.diff(first)).all()
    with pytest.raises(ValueError, match="0 queries"):
        metrics.bootstrap_intervals(values[:, :0], 1)
    with pytest.raises(ValueError, match=r"level 1\.5"):
        metrics.bootstrap_intervals(values, 1, level=1.5)
