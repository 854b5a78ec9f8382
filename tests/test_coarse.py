"""All ways of the coarse step against a loop over all codes."""

from __future__ import annotations

import time
from math import comb
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from latenthash.hamming import pack, words
from latenthash.index.bucket import coarse
from latenthash.index.bucket.coarse import SegmentCodes, reach
from latenthash.index.bucket.cost import Costs
from latenthash.index.bucket.tables import WHOLE_BITS, Tables, field_count, ring

WIDTHS = [1, 2, 7, 8, 16, 20, 21, 48, 63, 64, 65, 128, 200, 1024]


def distinct(count: int, bits: int, seed: int, clustered: bool) -> NDArray[np.uint64]:
    """Distinct codes in ascending order, as a segment holds them."""
    rng = np.random.default_rng(seed)
    codes = rng.random((count, bits)) < 0.5
    if clustered:
        centres = codes[: max(1, count // 20)]
        codes = centres[rng.integers(0, len(centres), count)] ^ (rng.random((count, bits)) < 0.05)
    return words(np.unique(pack(codes), axis=0))


def naive(buckets: NDArray[np.uint64], query: NDArray[np.uint64]) -> list[int]:
    return [
        sum((int(a) ^ int(b)).bit_count() for a, b in zip(code, query, strict=True))
        for code in buckets
    ]


@settings(max_examples=80)
@given(
    count=st.integers(1, 150),
    bits=st.sampled_from(WIDTHS),
    seed=st.integers(0, 2**32),
    clustered=st.booleans(),
    radius=st.integers(0, 1024),
    wanted=st.none() | st.integers(1, 400),
)
def test_every_way_finds_what_a_loop_finds(
    count: int, bits: int, seed: int, clustered: bool, radius: int, wanted: int | None
) -> None:
    rng = np.random.default_rng(seed + 1)
    buckets = distinct(count, bits, seed, clustered)
    sizes = rng.integers(0, 4, len(buckets), dtype=np.int32)
    query = buckets[rng.integers(len(buckets))] ^ words(pack([rng.random(bits) < 0.1]))[0]
    limit, apart = min(radius, bits), np.array(naive(buckets, query))
    held = [int(sizes[apart <= reached].sum()) for reached in range(limit + 1)]
    reached = limit
    if wanted is not None:
        reached = next((far for far in range(limit) if held[far] >= wanted), limit)
    ways = ["scan", "mih"] + ["table"] * (bits <= WHOLE_BITS)
    for way in ways:
        part = SegmentCodes(buckets, bits, way).start(query, sizes)
        assert reach([part], limit, wanted) == reached, way
        assert part.count(reached) == held[reached]
        found, distances = part.taken(reached)
        assert found.tolist() == np.flatnonzero((apart <= reached) & (sizes > 0)).tolist()
        assert distances.tolist() == apart[found].tolist()
        assert part.way == (way if bits > 1 or way == "scan" else "table")


def test_segments_are_counted_together_whatever_their_ways() -> None:
    buckets = distinct(300, 48, 0, clustered=True)
    halves = [buckets[::2], buckets[1::2]]
    parts = [
        SegmentCodes(half, 48, way).start(buckets[7], np.ones(len(half), np.int32))
        for half, way in zip(halves, ("mih", "scan"), strict=True)
    ]
    apart = np.sort(naive(buckets, buckets[7]))
    assert reach(parts, 48, 20) == apart[19]
    assert reach(parts, 3, 200) == 3


def test_no_step_finds_a_code_twice() -> None:
    buckets = distinct(500, 40, 1, clustered=True)
    tables = Tables(buckets, 40, 4)
    found = np.concatenate(
        [tables.steps(*ends, buckets[0])[0] for ends in [(0, 0), (1, 9), (10, 10), (11, 40)]]
    )
    assert sorted(found.tolist()) == list(range(len(buckets)))


@pytest.mark.parametrize("bits", [1, 5, 11])
def test_rings_hold_each_number_once(bits: int) -> None:
    for distance in range(bits + 2):
        expected = [x for x in range(2**bits) if x.bit_count() == distance]
        assert sorted(ring(bits, distance).tolist()) == expected
        assert len(expected) == comb(bits, distance)


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("codes", [1, 1000, 10**8])
def test_fields_have_a_bit_at_least_and_fit_a_table(bits: int, codes: int) -> None:
    fields = field_count(bits, codes)
    assert 1 <= fields <= bits
    assert -(-bits // fields) <= 24


CHEAP_PROBES = Costs(step=0, word=1.0, batch_word=1.0, lookup=1e-9, compare=1e-9, sort=1e-9)
CHEAP_SCANS = Costs(step=0, word=1e-9, batch_word=1e-9, lookup=1.0, compare=1.0, sort=1e-9)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> SegmentCodes:
    monkeypatch.setattr(coarse, "_SMALL", 10)
    return SegmentCodes(distinct(2000, 64, 0, clustered=False), 64)


def set_costs(monkeypatch: pytest.MonkeyPatch, costs: Costs) -> None:
    monkeypatch.setattr(coarse, "machine_costs", lambda: costs)


def started(codes: SegmentCodes, expected: int | None) -> Any:
    return codes.start(codes.buckets[0], np.ones(len(codes.buckets), np.int32), expected)


def wait_for_tables(codes: SegmentCodes) -> None:
    until = time.monotonic() + 30
    while codes._tables is None and time.monotonic() < until:
        time.sleep(0.01)


def test_tables_are_made_once_they_would_have_paid(
    large: SegmentCodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_costs(monkeypatch, CHEAP_PROBES)
    assert started(large, None).way == "scan"  # a first query: nothing is known of it
    assert large._tables is None
    started(large, 3)
    wait_for_tables(large)
    assert started(large, 3).way == "mih"


def test_tables_are_not_made_where_scans_are_cheaper(
    large: SegmentCodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_costs(monkeypatch, CHEAP_SCANS)
    for _ in range(5):
        assert started(large, 3).way == "scan"
    assert large._lost == 0


def test_tables_are_not_made_without_memory(
    large: SegmentCodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_costs(monkeypatch, CHEAP_PROBES)
    monkeypatch.setattr(coarse, "available", lambda: 100)
    for _ in range(5):
        assert started(large, 3).way == "scan"


def test_a_query_that_goes_far_changes_over_to_a_scan(
    large: SegmentCodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_costs(monkeypatch, CHEAP_PROBES)
    started(large, 2)
    wait_for_tables(large)
    costs = Costs(step=0, word=1e-9, batch_word=1e-9, lookup=1e-11, compare=1e-9, sort=1e-9)
    set_costs(monkeypatch, costs)
    part = started(large, 0)
    assert part.way == "mih"
    assert part.count(0) >= 1
    assert part.count(64) == len(large.buckets)
    assert part.way == "scan"
    assert len(part.taken(64)[0]) == len(large.buckets)


def test_few_codes_are_scanned() -> None:
    codes = SegmentCodes(distinct(100, 16, 0, clustered=False), 16)
    assert started(codes, 0).way == "scan"
