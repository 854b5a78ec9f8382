from __future__ import annotations

from itertools import accumulate

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from latenthash.index.bucket.fine import Nearest


@given(
    st.lists(st.lists(st.integers(0, 30), max_size=20), max_size=6),
    st.integers(1, 9),
    st.none() | st.floats(0, 40),
)
def test_the_limit_is_the_kth_nearest_so_far(
    given_: list[list[int]], k: int, most: float | None
) -> None:
    nearest = Nearest(k, most)
    for part, seen in zip(given_, accumulate(given_), strict=True):
        nearest.add(np.array(part, np.float32))
        limit = sorted(seen)[k - 1] if len(seen) >= k else np.inf
        assert nearest.limit == min(limit, np.inf if most is None else np.float32(most))


def test_a_limit_between_two_float32_is_rounded_as_distances_are() -> None:
    assert Nearest(3, 0.1).limit == np.float32(0.1)
