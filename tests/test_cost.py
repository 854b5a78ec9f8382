from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from latenthash.index.bucket import cost
from latenthash.index.bucket.cost import Costs, machine_costs


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    machine_costs.cache_clear()
    return tmp_path


KNOWN = Costs(1, 2, 3, 4, 5, 6)


def test_costs_are_positive_and_reads_in_passing_are_the_cheapest() -> None:
    costs = cost.measure()
    assert all(value > 0 for value in asdict(costs).values())
    assert costs.word < costs.compare
    assert costs.scan(10**6) < costs.scan(10**7)


def test_costs_are_sums() -> None:
    assert KNOWN.scan(10) == 1 + 10 * 2
    assert KNOWN.scan(10, batched=True) == 1 + 10 * 3
    assert KNOWN.probe(2, 3, 4) == 2 * 1 + 3 * 4 + 4 * 5


def test_measured_once_then_read(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(cost, "measure", lambda: calls.append(1) or KNOWN)
    for _ in range(2):
        machine_costs.cache_clear()
        assert machine_costs() == KNOWN
    assert len(calls) == 1
    [file] = (fresh / "latenthash").iterdir()
    file.write_text("{")
    machine_costs.cache_clear()
    assert machine_costs() == KNOWN
    assert len(calls) == 2


def test_a_cache_that_cannot_be_written_is_done_without(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (fresh / "latenthash").write_text("a file")
    monkeypatch.setattr(cost, "measure", lambda: KNOWN)
    assert machine_costs() == KNOWN
