from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latenthash import kernels
from latenthash.errors import StorageError
from latenthash.hamming import distances, pack, words
from latenthash.kernels import library


def random_codes(rng: np.random.Generator, count: int, bits: int) -> np.ndarray:
    return pack(rng.random((count, bits)) < rng.choice([0.05, 0.5]))


@pytest.mark.parametrize("bits", [1, 8, 48, 64, 65, 128, 1024])
@pytest.mark.parametrize("count", [1, 2, 700])
def test_order_is_that_of_distance_and_place(level: str, bits: int, count: int) -> None:
    rng = np.random.default_rng(bits * count)
    codes, queries = random_codes(rng, count, bits), random_codes(rng, 5, bits)
    for k in {1, count // 2, count}:
        order, rings = kernels.rank(words(codes), words(queries), bits, k)
        assert order.shape == (5, k)
        for query, found, ring in zip(queries, order, rings, strict=True):
            far = [int((np.unpackbits(code ^ query)).sum()) for code in codes]
            assert found.tolist() == sorted(range(count), key=lambda row: (far[row], row))[:k]
            assert ring.tolist() == [far.count(distance) for distance in range(bits + 1)]


@given(seed=st.integers(0, 2**32), count=st.integers(0, 300), bits=st.integers(1, 130))
def test_compiled_and_numpy_agree(seed: int, count: int, bits: int) -> None:
    rng = np.random.default_rng(seed)
    codes, queries = (random_codes(rng, size, bits) for size in (count, 3))
    order, rings = kernels.rank(words(codes), words(queries), bits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "native", lambda: None)
        again, counts = kernels.rank(words(codes), words(queries), bits)
    assert np.array_equal(order, again)
    assert np.array_equal(rings, counts)
    expected = np.argsort(distances(queries, codes), axis=1, kind="stable")
    assert np.array_equal(order, expected)


def test_what_does_not_fit_is_refused() -> None:
    codes = words(np.full((4, 1), 255, np.uint8))
    with pytest.raises(ValueError, match="the first 5 of 4 codes"):
        kernels.rank(codes, codes, 8, 5)
    with pytest.raises(ValueError, match="the first -1 of 4 codes"):
        kernels.rank(codes, codes, 8, -1)
    with pytest.raises(ValueError, match="codes of shape"):
        kernels.rank(codes, np.zeros((1, 2), np.uint64), 8)
    with pytest.raises(StorageError, match="more than 3 bits"):
        kernels.rank(codes, np.zeros((1, 1), np.uint64), 3)
