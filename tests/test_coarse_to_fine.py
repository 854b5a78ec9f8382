from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.metrics import average_precision_score

from coded import BITS, code_file, labels_of
from latenthash.codes import CodeSet
from latenthash.errors import DataError, MismatchError
from latenthash.evaluate import Pool, Task, evaluate_task
from latenthash.evaluate.coarse_to_fine import NO_HIT, ask, measure_fine, opened_index
from latenthash.hamming import unpack
from latenthash.index import BucketIndex, SearchOptions, build_index

K = 20


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    database = code_file(tmp_path / "d.h5", labels_of(40, 30, 20, 10))
    queries = code_file(tmp_path / "q.h5", labels_of(8, 8, 8, 8), 1)
    with CodeSet(database) as one, CodeSet(queries) as other:
        yield Pool(one, other)


def whole(pool: Pool) -> Task:
    return Task(pool.rows_of(1), pool.rows_of(0))


def naive(pool: Pool, task: Task, options: SearchOptions) -> list[list[int]]:
    """Rows of the pool in the order of the fine ranking, with plain loops."""
    bits = unpack(pool.codes, BITS)
    features = pool.features(np.arange(len(pool))).astype(np.float64)
    answers = []
    for query in task.queries.tolist():
        far = {row: int((bits[query] != bits[row]).sum()) for row in task.database.tolist()}
        nearest = sorted(far.values())
        reach = nearest[min(options.candidates or len(far), len(far)) - 1]
        if options.radius is not None:
            reach = min(reach, options.radius)
        taken = [row for row in far if options.exact or far[row] <= reach]
        fine = cdist(features[[query]], features[taken])[0] if taken else []
        answers.append([row for _, row in sorted(zip(fine, taken, strict=True))][: options.top])
    return answers


@pytest.mark.parametrize(
    "options",
    [
        SearchOptions(candidates=30),
        SearchOptions(candidates=None, radius=1),
        SearchOptions(candidates=None, radius=0),  # some find nothing at all
        SearchOptions(exact=True),
    ],
)
@pytest.mark.parametrize("part", ["whole", "rows of both files"])
def test_the_fine_ranking_equals_the_naive_one(
    pool: Pool, options: SearchOptions, part: str
) -> None:
    task = whole(pool)
    if part != "whole":  # neither the first file nor in one piece
        mixed = np.random.default_rng(2).permutation(len(pool))
        task = Task(np.sort(mixed[:20]), np.sort(mixed[20:]))
    coarse = evaluate_task(pool, task, K, seed=3)
    told: list[tuple[int, int]] = []
    with opened_index(pool, task.database) as index:
        fine = measure_fine(pool, coarse, index, options, lambda *step: told.append(step))
    expected = naive(pool, task, fine.options)
    assert fine.options.top == K
    found = [[row for row in rows.tolist() if row != NO_HIT] for rows in fine.found.rows]
    assert found == expected
    assert told[-1] == (len(task.queries), len(task.queries))

    averages, gains = [], []
    for place, (query, rows) in enumerate(zip(task.queries, expected, strict=True)):
        hits = (pool.labels[rows] == pool.labels[query]).tolist() + [False] * (K - len(rows))
        averages.append(average_precision_score(hits, -np.arange(K)) if any(hits) else 0)
        gains.append(sum(hits[:5]) / 5 - coarse.measured.values["precision_at_5"][place])
    assert fine.means[f"map_at_{K}"] == pytest.approx(np.mean(averages))
    mean, low, high = fine.gains["precision_at_5"]
    assert mean == pytest.approx(np.mean(gains))
    assert low <= mean <= high
    assert fine.precision[4] == pytest.approx(fine.means["precision_at_5"])
    assert fine.ranks.tolist() == list(range(1, K + 1))


def test_features_that_tell_more_than_codes_gain(pool: Pool) -> None:
    coarse = evaluate_task(pool, whole(pool), K)
    with opened_index(pool, coarse.task.database) as index:
        fine = measure_fine(pool, coarse, index, SearchOptions(candidates=60))
    mean, low, _ = fine.gains["map_at_20"]
    assert mean == pytest.approx(fine.means["map_at_20"] - coarse.means["map_at_20"])
    assert low > 0


def test_measures_are_those_of_the_hamming_ranking(pool: Pool) -> None:
    coarse = evaluate_task(pool, whole(pool), K)
    with opened_index(pool, coarse.task.database) as index:
        fine = measure_fine(pool, coarse, index, SearchOptions())
    assert set(fine.means) == {
        "map_at_20",
        *(f"{name}_at_{rank}" for name in ("precision", "recall", "f1") for rank in (1, 5, 10, 20)),
    }
    # recall counts the relevant images of the whole database
    [rows] = ask(pool, Task(coarse.task.queries[:1], coarse.task.database), index_of(pool),
                 SearchOptions(top=K)).rows  # fmt: skip
    label = pool.labels[coarse.task.queries[0]]
    hits = (pool.labels[rows] == label).sum()
    total = (pool.labels[coarse.task.database] == label).sum()
    one = evaluate_task(pool, Task(coarse.task.queries[:1], coarse.task.database), K)
    with opened_index(pool, one.task.database) as index:
        alone = measure_fine(pool, one, index, SearchOptions())
    assert alone.means["recall_at_20"] == pytest.approx(hits / total)


def index_of(pool: Pool) -> BucketIndex:
    folder = pool.sets[0].path.with_name("index")
    return BucketIndex(build_index(pool.sets[0], folder))


def test_k_beyond_the_database(pool: Pool) -> None:
    coarse = evaluate_task(pool, whole(pool), 1000)
    with opened_index(pool, coarse.task.database) as index:
        fine = measure_fine(pool, coarse, index, SearchOptions(exact=True))
    assert fine.found.rows.shape == (32, 100)
    assert "map_at_1000" in fine.means
    assert fine.means["recall_at_100"] == 1
    assert (fine.found.candidates == 100).all()


def test_an_index_that_is_there_gives_the_same(pool: Pool, tmp_path: Path) -> None:
    coarse = evaluate_task(pool, whole(pool), K)
    build_index(pool.sets[0], tmp_path / "index")
    found = []
    for folder in (None, tmp_path / "index"):
        with opened_index(pool, coarse.task.database, folder) as index:
            found.append(measure_fine(pool, coarse, index, SearchOptions(candidates=30)))
    assert np.array_equal(found[0].found.rows, found[1].found.rows)
    assert found[0].means == found[1].means


def test_an_index_of_other_images_is_refused(pool: Pool, tmp_path: Path) -> None:
    for name, labels, model in (
        ("fewer", labels_of(30, 30, 20, 10), {}),
        ("others", labels_of(40, 30, 20, 10), {}),
        ("net", labels_of(40, 30, 20, 10), {"weights_sha256": "other"}),
    ):
        with CodeSet(code_file(tmp_path / f"{name}.h5", labels, 5, **model)) as codes:
            build_index(codes, tmp_path / name)
        kind = MismatchError if name == "net" else DataError
        with (
            pytest.raises(kind, match=r"other images|weights_sha256"),
            opened_index(pool, pool.rows_of(0), tmp_path / name),
        ):
            pass
    build_index(pool.sets[0], tmp_path / "index")
    with (
        pytest.raises(DataError, match="leave out --index"),
        opened_index(pool, pool.rows_of(0)[:-1], tmp_path / "index"),
    ):
        pass


def test_the_temporary_index_is_gone_afterwards(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    with opened_index(pool, pool.rows_of(1)) as index:
        assert len(index) == 32
        assert any(scratch.iterdir())
    with pytest.raises(ZeroDivisionError), opened_index(pool, pool.rows_of(0)):
        _ = 1 / 0
    assert not any(scratch.iterdir())
