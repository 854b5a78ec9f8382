from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from latenthash.parallel import ordered_map


def test_order_is_kept_however_long_each_takes() -> None:
    gate = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert gate.wait(10)
        if item == 3:
            gate.set()
        return item * item

    assert list(ordered_map(work, range(20), workers=4)) == [n * n for n in range(20)]


def test_no_more_is_taken_than_the_bound() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield number

    results = ordered_map(lambda item: item, items(), workers=2, ahead=5)
    for done in range(1, 100):
        next(results)
        assert taken <= done + 5
    results.close()  # type: ignore[attr-defined]
    assert taken < 110


def test_an_exception_is_raised_at_its_turn() -> None:
    def work(item: int) -> int:
        if item == 5:
            raise ValueError(item)
        return item

    results = ordered_map(work, range(100), workers=3)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="5"):
        next(results)
