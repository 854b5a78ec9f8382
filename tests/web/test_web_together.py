"""Calls that are done together: who waits joins the next batch, each gets its own answer."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import numpy as np
import pytest
from web_library import Site, picture


@pytest.fixture
def together(site: None) -> Any:
    from catalogue.services.together import Together

    return Together


class Gate:
    """Work that begins, then waits until it may go on, and notes its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun, self.opened = Event(), Event()

    def __call__(self, items: list[int]) -> list[int]:
        self.batches.append(items)
        self.begun.set()
        assert self.opened.wait(60)
        return [10 * item for item in items]


def until_waiting(run: Any, count: int) -> None:
    for _ in range(6000):
        if len(run._waiting) == count:
            return
        time.sleep(0.01)
    raise AssertionError(f"{len(run._waiting)} wait")


def begin(pool: ThreadPoolExecutor, run: Any, gate: Gate, calls: int) -> list[Any]:
    """Call with 0, and while that runs with the numbers up to `calls`; then let all go on."""
    begun = [pool.submit(run, 0)]
    assert gate.begun.wait(60)
    begun += [pool.submit(run, number) for number in range(1, calls)]
    until_waiting(run, calls - 1)
    gate.opened.set()
    return begun


@pytest.mark.parametrize(("most", "sizes"), [(1, [1] * 7), (4, [1, 4, 2]), (9, [1, 6])])
def test_those_that_come_meanwhile_go_together(together: Any, most: int, sizes: Any) -> None:
    gate = Gate()
    with ThreadPoolExecutor(7) as pool:
        begun = begin(pool, together(gate, most), gate, 7)
        assert [call.result(60) for call in begun] == list(range(0, 70, 10))
    assert [len(batch) for batch in gate.batches] == sizes
    assert sorted(item for batch in gate.batches for item in batch) == list(range(7))


def test_a_failure_reaches_its_batch_and_nobody_else(together: Any) -> None:
    gate = Gate()

    def work(items: list[int]) -> list[int]:
        found = gate(items)
        if 1 in items:
            raise ValueError("the net is gone")
        return found

    run = together(work, 9)
    with ThreadPoolExecutor(4) as pool:
        first, *others = begin(pool, run, gate, 4)
        assert first.result(60) == 0
        for call in others:
            with pytest.raises(ValueError, match="gone"):
                call.result(60)
    assert run(5) == 50


def test_too_few_answers_are_an_error(together: Any) -> None:
    with pytest.raises(ValueError, match="shorter"):
        together(lambda items: [], 4)(1)


def test_uploads_at_once_get_what_they_get_alone(library: Site) -> None:
    from django.test import override_settings

    from catalogue import services

    queries = [services.Query(picture=picture(seed)) for seed in range(6)]
    with override_settings(BATCH=8):
        network = services.library().network
        alone = [network.encode(query) for query in queries]
        describe, sizes, begins = network._described._work, [], Event()

        def noted(images: list[Any]) -> Any:
            sizes.append(len(images))
            begins.set()
            return describe(images)

        network._described._work = noted
        with ThreadPoolExecutor(6) as pool:
            with network._computing:
                begun = [pool.submit(network.encode, queries[0])]
                assert begins.wait(60)
                begun += [pool.submit(network.encode, query) for query in queries[1:]]
                until_waiting(network._described, 5)
            found = [call.result(60) for call in begun]
    assert sizes == [1, 5]
    for (code, feature, _), (other_code, other_feature, _) in zip(alone, found, strict=True):
        np.testing.assert_array_equal(code, other_code)
        np.testing.assert_array_equal(feature, other_feature)
