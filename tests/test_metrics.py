from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from latenthash.metrics import average_precision_at_k, map_at_k, precision_at


@given(ranks=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_ap_equals_scikit_learn(ranks: int, seed: int) -> None:
    relevant = np.random.default_rng(seed).random((4, ranks)) < 0.4
    relevant[:, -1] = True
    scores = -np.arange(ranks)
    expected = [average_precision_score(row, scores) for row in relevant]
    np.testing.assert_allclose(average_precision_at_k(relevant), expected)


def test_ap_by_hand() -> None:
    relevant = np.array([[True, False, True], [False, False, False]])
    np.testing.assert_allclose(average_precision_at_k(relevant), [(1 + 2 / 3) / 2, 0])
    assert map_at_k(relevant) == pytest.approx(5 / 12)


def test_precision_divides_by_k_even_if_fewer_came_back() -> None:
    relevant = np.array([[True, True, False, False], [False, True, False, False]])
    assert precision_at(relevant, 2) == pytest.approx(0.75)
    assert precision_at(relevant, 10) == pytest.approx(0.15)
