"""How features are stored: float32, float16 or int8 with a scale per dimension."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...distances import l2
from ...errors import DataError
from . import layout

Scale = NDArray[np.float32]
_LEVELS = 127
_SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
_NEAREST = 10
_QUERIES = 50
_VALUES = 1 << 15  # at a time: their float32 stays in the cache


def require_storage(storage: str) -> None:
    """Raise `DataError` for a storage that there is not."""
    if storage not in layout.STORAGE:
        raise DataError(f"storage {storage!r}", f"choose one of {', '.join(layout.STORAGE)}")


def choose_scale(sample: NDArray[np.floating]) -> Scale:
    """Scale of each dimension for int8, value = scale * stored.

    Cutting off a few outliers can leave finer steps for all others: of several shares of
    the largest value, each dimension takes the one with the least squared error.

    Args:
        sample: (S, D), typical features.

    Returns:
        (D,) float32, positive.
    """
    values = np.asarray(sample, dtype=np.float32)
    largest = np.abs(values).max(axis=0)
    best, least = np.zeros_like(largest), np.full_like(largest, np.inf)
    for share in _SHARES:
        scale = share * largest / _LEVELS
        error = _squared_error(values, np.where(scale > 0, scale, 1))
        better = error < least
        best[better], least[better] = scale[better], error[better]
    seen = best > 0
    # a dimension that the sample never saw active gets the steps of a typical one
    typical = np.median(best[seen]) if seen.any() else 1
    return np.maximum(np.where(seen, best, typical), np.finfo(np.float32).tiny).astype(np.float32)


def _squared_error(values: NDArray[np.float32], scale: NDArray[np.float32]) -> Scale:
    total = np.zeros(values.shape[1], dtype=np.float32)
    for block in _blocks(values):
        difference = block - scale * _quantise(block, scale)
        total += np.einsum("nd,nd->d", difference, difference)
    return total


def _blocks(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    rows = max(1, _VALUES // values.shape[1])
    return (values[start : start + rows] for start in range(0, len(values), rows))


def _quantise(values: NDArray[np.float32], scale: Scale) -> NDArray[np.int8]:
    steps = values / scale
    np.rint(steps, out=steps)
    np.clip(steps, -_LEVELS, _LEVELS, out=steps)
    return steps.astype(np.int8)


def store(features: NDArray[np.floating], storage: str, scale: Scale | None) -> NDArray[Any]:
    """Features as they are stored.

    Args:
        features: (N, D).
        storage: float32, float16 or int8.
        scale: (D,) for int8.

    Raises:
        DataError: a value that int8 cannot express: not a number, or infinite.
    """
    if scale is None:
        largest = np.finfo(layout.STORAGE[storage]).max
        if features.dtype.itemsize > np.dtype(layout.STORAGE[storage]).itemsize:
            features = np.clip(features, -largest, largest)
        return np.ascontiguousarray(features, dtype=layout.STORAGE[storage])
    result = np.empty(features.shape, dtype=np.int8)
    for given, stored in zip(_blocks(features), _blocks(result), strict=True):
        block = np.asarray(given, dtype=np.float32)
        if not np.isfinite(block).all():
            raise DataError("features hold values that are no finite number", "extract again")
        stored[:] = _quantise(block, scale)
    return result


def restore(stored: NDArray[Any], scale: Scale | None) -> NDArray[Any]:
    """Features from what is stored: (N, D), float32 if it was int8."""
    return stored if scale is None else stored.astype(np.float32) * scale


def feature_loss(
    sample: NDArray[np.floating], storage: str, scale: Scale | None
) -> dict[str, float]:
    """What storing costs, measured on a sample.

    Args:
        sample: (S, D) as given.
        storage: float32, float16 or int8.
        scale: (D,) for int8.

    Returns:
        "recall_at_10": share of the exact ten nearest (l2) that are found again;
        "distance_error": mean relative error of the distances to them.
    """
    kept = restore(store(sample, storage, scale), scale)
    if np.can_cast(sample.dtype, layout.STORAGE[storage]) or len(sample) < 2:
        return {"recall_at_10": 1.0, "distance_error": 0.0}
    queries = np.linspace(0, len(sample) - 1, min(_QUERIES, len(sample))).astype(int)
    measured = [_loss_of_query(sample, kept, query) for query in np.unique(queries)]
    recall, error = np.mean(measured, axis=0)
    return {"recall_at_10": round(float(recall), 4), "distance_error": round(float(error), 6)}


def _loss_of_query(
    given: NDArray[np.floating], kept: NDArray[Any], query: int
) -> tuple[float, float]:
    others = np.delete(np.arange(len(given)), query)
    exact = l2(given[query], given[others])
    stored = l2(given[query], kept[others])
    count = min(_NEAREST, len(others))
    nearest = np.argsort(exact, kind="stable")[:count]
    # a stored neighbour as near as the count-th exact one is no loss
    found = np.argsort(stored, kind="stable")[:count]
    recall = float((exact[found] <= exact[nearest[-1]]).mean())
    base = np.where(exact[nearest] > 0, exact[nearest], 1)
    return recall, float((np.abs(stored[nearest] - exact[nearest]) / base).mean())
