from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from latenthash.distances import METRICS

SCIPY = {"l2": "euclidean", "l1": "cityblock", "linf": "chebyshev", "cosine": "cosine"}


@pytest.mark.parametrize("metric", SCIPY)
@given(rows=st.integers(0, 600), dim=st.integers(1, 70), seed=st.integers(0, 2**32))
def test_equal_to_scipy(metric: str, rows: int, dim: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    query, features = rng.random(dim) + 0.1, rng.random((rows, dim)) + 0.1
    expected = cdist(query[None], features, SCIPY[metric])[0] if rows else []
    found = METRICS[metric](query, features)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@given(dim=st.integers(1, 70), seed=st.integers(0, 2**32))
def test_chi2_equals_its_formula_with_zeros(dim: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    query, features = np.maximum(rng.normal(size=dim), 0), np.maximum(rng.normal(size=(7, dim)), 0)
    expected = [
        sum((x - y) ** 2 / (x + y) for x, y in zip(query, row, strict=True) if x + y > 0)
        for row in features
    ]
    np.testing.assert_allclose(METRICS["chi2"](query, features), expected, rtol=1e-4)


def test_cosine_of_a_zero_feature_is_one() -> None:
    assert METRICS["cosine"](np.ones(4), np.zeros((1, 4))).tolist() == [1.0]
    assert METRICS["cosine"](np.zeros(4), np.ones((1, 4))).tolist() == [1.0]


@pytest.mark.parametrize("metric", METRICS)
def test_a_row_does_not_depend_on_its_neighbours(metric: str) -> None:
    rng = np.random.default_rng(0)
    query, features = rng.random(129), rng.random((515, 129)).astype(np.float16)
    together = METRICS[metric](query, features)
    alone = np.concatenate([METRICS[metric](query, row[None]) for row in features])
    assert (together == alone).all()


@pytest.mark.parametrize("metric", METRICS)
def test_the_query_itself_is_nearest(metric: str) -> None:
    features = np.random.default_rng(0).random((50, 33)).astype(np.float16)
    assert METRICS[metric](features[17], features).argmin() == 17
