"""How features are stored, and what it costs."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from latenthash.errors import DataError
from latenthash.index.bucket.storage_types import (
    choose_scale,
    feature_loss,
    require_storage,
    restore,
    store,
)


def sample(count: int = 300, dim: int = 24, seed: int = 0) -> NDArray[np.float16]:
    """Non-negative with a long tail, as after a rectifier; dimensions of many sizes."""
    rng = np.random.default_rng(seed)
    values = rng.gamma(0.7, 1, (count, dim)) * 10.0 ** rng.integers(-2, 3, dim)
    values[rng.random(values.shape) < 0.5] = 0
    return values.astype(np.float16)


def test_int8_is_the_nearest_step_of_each_dimension() -> None:
    values = sample()
    scale = choose_scale(values)
    stored = store(values, "int8", scale)
    for row, line in enumerate(values[:20].astype(np.float64)):
        for dim, value in enumerate(line):
            step = min(max(round(value / scale[dim]), -127), 127)
            assert (
                abs(int(stored[row, dim]) - step) <= 1e-3
                or abs(value / scale[dim] % 1 - 0.5) < 1e-4
            )
    error = np.abs(restore(stored, scale) - values.astype(np.float32))
    inside = np.abs(values) <= 127 * scale
    assert (error <= 0.501 * scale)[inside].all()


def test_the_scale_is_no_worse_than_the_largest_value() -> None:
    values = sample().astype(np.float32)
    scale, plain = choose_scale(values), np.abs(values).max(axis=0) / 127
    squares = [
        ((restore(store(values, "int8", one), one) - values) ** 2).sum(axis=0)
        for one in (scale, plain.astype(np.float32))
    ]
    assert (squares[0] <= squares[1] * (1 + 1e-5)).all()


def test_dimensions_that_the_sample_never_saw_active_have_steps_too() -> None:
    values = sample()
    values[:, 3] = 0
    scale = choose_scale(values)
    assert scale.dtype == np.float32 and (scale > 0).all()
    assert choose_scale(np.zeros((5, 4), np.float16)).tolist() == [1, 1, 1, 1]
    assert (choose_scale(np.full((1, 4), 6e-8, np.float16)) > 0).all()


@pytest.mark.parametrize("storage", ["float32", "float16"])
def test_what_fits_is_stored_as_it_is(storage: str) -> None:
    values = sample()
    assert np.array_equal(restore(store(values, storage, None), None), values)
    assert feature_loss(values, storage, None) == {"recall_at_10": 1.0, "distance_error": 0.0}


def test_too_large_for_float16_is_cut_not_infinite() -> None:
    stored = store(np.array([[1e9, -1e9, 3]], np.float32), "float16", None)
    assert stored.tolist() == [[65504, -65504, 3]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_int8_refuses_what_is_no_number(value: float) -> None:
    values = np.ones((3, 2), np.float32)
    values[1, 1] = value
    with pytest.raises(DataError, match="finite"):
        store(values, "int8", np.ones(2, np.float32))


def test_loss_is_measured() -> None:
    values = sample()
    fine = feature_loss(values, "int8", choose_scale(values))
    coarse = feature_loss(values, "int8", 20 * choose_scale(values))
    assert 0.8 < fine["recall_at_10"] <= 1 and 0 < fine["distance_error"] < 0.05
    assert coarse["recall_at_10"] < fine["recall_at_10"]
    assert coarse["distance_error"] > 3 * fine["distance_error"]


def test_loss_by_hand() -> None:
    values = np.array([[0.0], [1.2], [2.9]], np.float32)
    loss = feature_loss(values, "int8", np.ones(1, np.float32))
    # stored as 0, 1, 3; the queries are not stored: distances 1.2 -> 1, 2.9 -> 3; 1.2 -> 1.2, ...
    errors = [[0.2 / 1.2, 0.1 / 2.9], [0, 0.1 / 1.7], [0, 0.2 / 1.7]]
    assert loss["distance_error"] == pytest.approx(np.mean(errors), abs=1e-5)
    assert loss["recall_at_10"] == 1


def test_an_unknown_storage_is_refused() -> None:
    with pytest.raises(DataError, match="float64"):
        require_storage("float64")
