from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from coded import BITS, code_file, labels_of
from latenthash.codes import CodeSet
from latenthash.evaluate import Pool, Task
from latenthash.evaluate.coarse_to_fine import opened_index
from latenthash.evaluate.in_library import ROUNDS, TOP, measure_in_library
from latenthash.hamming import unpack
from latenthash.index import SearchOptions

QUERIES = [0, 3, 50, 77, 101]


def copies_of(count: int) -> np.ndarray:
    """Contents, of which images 3, 4 and 90 have the same."""
    content = np.random.default_rng(5).integers(0, 256, (count, 32), np.uint8)
    content[[4, 90]] = content[3]
    return content


def naive(pool: Pool, query: int, candidates: int | None, without: set[int]) -> list[bool]:
    """Relevance in the order of chi-square, rank by rank, without some images."""
    bits = unpack(pool.codes, BITS)
    features = pool.features(np.arange(len(pool))).astype(np.float64)
    far = [int((bits[query] != bits[row]).sum()) for row in range(len(pool))]
    reach = BITS if candidates is None else sorted(far)[candidates - 1]

    def chi2(row: int) -> float:
        x, y = features[query], features[row]
        both = [(a - b) ** 2 / (a + b) if a + b else 0 for a, b in zip(x, y, strict=True)]
        return float(np.float32(sum(both)))

    taken = sorted((chi2(row), row) for row in range(len(pool)) if far[row] <= reach)
    same = pool.labels == pool.labels[query]
    return [bool(same[row]) for _, row in taken if row not in without]


@pytest.mark.parametrize("candidates", [8, 60])  # fewer than the hits wanted, and more
def test_both_searches_equal_the_naive_ones(tmp_path: Path, candidates: int) -> None:
    labels = labels_of(60, 40, 30, 20)
    path = code_file(tmp_path / "library.h5", labels, content=copies_of(150))
    told: list[tuple[int, int]] = []
    with CodeSet(path) as codes:
        pool = Pool(codes)
        task = Task(np.array(QUERIES), pool.rows_of(0))
        options = SearchOptions(metric="chi2", candidates=candidates)
        with opened_index(pool, task.database) as index:
            found = measure_in_library(pool, task, index, options, lambda *step: told.append(step))
        expected = {
            (way, alone): [
                naive(pool, query, limit, self_of(query) if alone else set()) for query in QUERIES
            ]
            for way, limit in (("hashed", candidates), ("plain", None))
            for alone in (False, True)
        }
        facts = found.to_json(pool)
    for (way, alone), rankings in expected.items():
        ranked = (found.without_self if alone else found.with_self)[way]
        wanted = [sum(hits[:TOP]) / TOP for hits in rankings]
        assert ranked.precision.tolist() == pytest.approx(wanted)
        padded = np.array([(hits + [False] * 100)[:100] for hits in rankings])
        np.testing.assert_allclose(
            ranked.precision_by_rank, padded.cumsum(axis=1).mean(axis=0) / np.arange(1, 101)
        )
        for rank in (1, 2, 7, 100):
            scores = [
                average_precision_score(hits[:rank], -np.arange(rank)) if any(hits[:rank]) else 0
                for hits in padded
            ]
            assert ranked.map_by_rank[rank - 1] == pytest.approx(np.mean(scores))
        part = facts["without_self" if alone else "with_self"][way]
        assert part["per_query"] == ranked.precision.tolist()
        assert part[f"precision_at_{TOP}"] == pytest.approx(np.mean(wanted))
    assert (found.with_self["plain"].map_by_rank[0], told[-1]) == (1, (40, 40))
    assert len(told) == 2 * (1 + ROUNDS)


def self_of(query: int) -> set[int]:
    return {3, 4, 90} if query == 3 else {query}


def test_times_are_those_of_each_query(tmp_path: Path) -> None:
    path = code_file(tmp_path / "library.h5", labels_of(60, 40))
    with CodeSet(path) as codes:
        pool = Pool(codes)
        task = Task(np.array([1, 2]), pool.rows_of(0))
        with opened_index(pool, task.database) as index:
            found = measure_in_library(pool, task, index, SearchOptions(metric="chi2"))
        facts = found.to_json(pool)
    hashed, plain = found.seconds["hashed"], found.seconds["plain"]
    assert hashed.shape == plain.shape == (2,)
    assert (hashed > 0).all()
    seconds = facts.pop("seconds")
    assert seconds["saved"] == pytest.approx((1 - hashed / plain).tolist())
    assert seconds["mean_hashed"] == pytest.approx(hashed.mean())
    assert seconds["mean_saved"] == pytest.approx((1 - hashed / plain).mean())
    assert facts["queries"] == [
        {"name": "0/1.png", "class": pool.class_name(1)},
        {"name": "0/2.png", "class": pool.class_name(2)},
    ]
