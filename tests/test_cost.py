from __future__ import annotations

from dataclasses import asdict

from latenthash.index.bucket.cost import Costs, machine_costs, measure

KNOWN = Costs(step=1, word=2, batch_word=3, lookup=4, compare=5, sort=6)


def test_costs_are_positive_and_reads_in_passing_are_the_cheapest() -> None:
    costs = measure()
    assert all(value > 0 for value in asdict(costs).values())
    assert costs.word < costs.compare
    assert costs.scan(10**6) < costs.scan(10**7)


def test_costs_are_sums() -> None:
    assert KNOWN.scan(10) == 10 * 2
    assert KNOWN.scan(10, batched=True) == 10 * 3
    assert KNOWN.probe(3, 4) == 1 + 3 * 4 + 4 * 5


def test_measured_once() -> None:
    assert machine_costs() is machine_costs()
