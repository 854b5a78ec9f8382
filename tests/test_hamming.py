from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latenthash import hamming

widths = st.integers(1, hamming.MAX_BITS)


@given(bits=widths, seed=st.integers(0, 2**32))
def test_unpack_undoes_pack(bits: int, seed: int) -> None:
    code = np.random.default_rng(seed).random((3, bits)) < 0.5
    packed = hamming.pack(code)
    assert packed.shape == (3, hamming.width(bits))
    assert (hamming.unpack(packed, bits) == code).all()


@given(bits=widths, seed=st.integers(0, 2**32))
def test_distances_equal_the_naive_count(bits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    queries, codes = rng.random((2, bits)) < 0.5, rng.random((5, bits)) < 0.5
    naive = [[int((q != c).sum()) for c in codes] for q in queries]
    assert hamming.distances(hamming.pack(queries), hamming.pack(codes)).tolist() == naive


def test_half_is_one_and_just_below_is_zero() -> None:
    below = np.nextafter(np.float32(0.5), np.float32(0))
    assert hamming.binarise(np.array([0.5, below, 0.0, 1.0], np.float32)).tolist() == [
        True, False, False, True,
    ]  # fmt: skip


def test_bit_zero_is_the_most_significant_and_padding_is_zero() -> None:
    assert hamming.pack([[1, 0, 0, 0, 0, 0, 0, 0, 1, 1]]).tolist() == [[0x80, 0xC0]]


def test_text_shows_bit_zero_first() -> None:
    assert hamming.to_text(hamming.pack([1, 0, 1, 1, 0, 0, 0, 0, 0, 1]), 10) == "1011000001"


@pytest.mark.parametrize("bits", [0, -1, 1025])
def test_widths_outside_the_range_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match=str(bits)):
        hamming.width(bits)
