"""Searches for nearest neighbours, against NumPy's loop and FAISS's flat index."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from latenthash.baselines import (
    SEARCHES,
    HashThenRerank,
    HnswSearch,
    IvfPqSearch,
    LinearSearch,
    NeighbourSearch,
    PqSearch,
    make_search,
)
from latenthash.baselines.neighbours import ordered
from latenthash.codes import CodeSet
from latenthash.errors import DataError
from sets import write_set

K = 10


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> CodeSet:
    return CodeSet(write_set(tmp_path_factory.mktemp("sets") / "db.h5", 400, seed=0))


@pytest.fixture(scope="module")
def queries(tmp_path_factory: pytest.TempPathFactory) -> CodeSet:
    return CodeSet(write_set(tmp_path_factory.mktemp("sets") / "q.h5", 30, seed=1))


def naive(queries: CodeSet, database: CodeSet, k: int) -> list[list[int]]:
    """Rows of the nearest, by plain loops in double precision; ties by row."""
    rows = database.features().astype(float)
    found = []
    for query in queries.features().astype(float):
        far = [float(((query - row) ** 2).sum()) for row in rows]
        found.append(sorted(range(len(rows)), key=lambda row: (far[row], row))[:k])
    return found


def ask(search: NeighbourSearch, queries: CodeSet, k: int = K) -> NDArray[np.int64]:
    return search.search(queries.features().astype(np.float32), queries.codes, k).ids


def recall(found: NDArray[np.int64], truth: list[list[int]]) -> float:
    shared = [len({*row.tolist()} & {*exact}) for row, exact in zip(found, truth, strict=True)]
    return sum(shared) / sum(map(len, truth))


@pytest.mark.parametrize("one_by_one", [False, True])
def test_linear_is_the_naive_loop(database: CodeSet, queries: CodeSet, one_by_one: bool) -> None:
    features = queries.features().astype(np.float32)
    with LinearSearch() as search:
        search.build(database)
        if one_by_one:
            parts = [search.search(row[None], queries.codes[:1], K) for row in features]
            ids = np.concatenate([part.ids for part in parts])
        else:
            ids = ask(search, queries)
        assert ids.tolist() == naive(queries, database, K)
        far = search.search(features, queries.codes, K).distances
    flat = faiss.IndexFlatL2(database.dim)
    flat.add(database.features().astype(np.float32))
    squares, theirs = flat.search(features, K)
    assert (theirs == ids).mean() > 0.99  # it rounds
    assert far == pytest.approx(np.sqrt(squares), rel=1e-3)


def test_equal_distances_are_ordered_by_id(tmp_path: Path) -> None:
    same = np.zeros((60, 4), np.float16)
    with CodeSet(write_set(tmp_path / "db.h5", 60, seed=0, features=same)) as database:
        for search in (LinearSearch(), HashThenRerank()):
            with search:
                search.build(database)
                assert ask(search, database, 5).tolist() == [[0, 1, 2, 3, 4]] * 60


@pytest.mark.parametrize("name", [name for name in SEARCHES if name != "linear"])
def test_the_others_find_most_and_the_same_again(
    database: CodeSet, queries: CodeSet, name: str
) -> None:
    truth, answers = naive(queries, database, K), []
    for _ in range(2):
        with make_search(name, seed=3) as search:
            search.build(database)
            found = search.search(queries.features().astype(np.float32), queries.codes, K)
            answers.append(found.ids.tolist())
            assert (np.diff(found.distances, axis=1) >= 0).all()
    assert answers[0] == answers[1]
    assert recall(found.ids, truth) > (0.9 if name in ("hnsw", "pq-rerank", "hash") else 0.3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: HnswSearch(breadth=400),
        lambda: PqSearch(candidates=400),
        lambda: IvfPqSearch(candidates=400, lists=8, probes=8),
        lambda: HashThenRerank(candidates=None),
    ],
)
def test_without_limits_every_search_is_exact(
    database: CodeSet, queries: CodeSet, make: Callable[[], NeighbourSearch]
) -> None:
    with make() as search:
        search.build(database)
        assert ask(search, queries).tolist() == naive(queries, database, K)


def test_more_candidates_find_more(database: CodeSet, queries: CodeSet) -> None:
    truth, found = naive(queries, database, K), []
    for candidates in (0, 20, 60):
        with PqSearch(code_bytes=2, candidates=candidates) as search:
            search.build(database)
            found.append(recall(ask(search, queries), truth))
    assert found == sorted(found) and found[-1] > found[0] + 0.1


def test_features_are_padded_to_whole_parts(tmp_path: Path) -> None:
    path = write_set(tmp_path / "db.h5", 300, seed=0, dim=13)
    with CodeSet(path) as database, PqSearch(code_bytes=8, candidates=300) as search:
        search.build(database)
        assert ask(search, database, 3).tolist() == naive(database, database, 3)


def test_what_is_not_there_is_marked(tmp_path: Path) -> None:
    with CodeSet(write_set(tmp_path / "db.h5", 4, seed=0)) as database:
        for search in (LinearSearch(), HnswSearch(), HashThenRerank()):
            with search:
                search.build(database)
                found = search.search(database.features().astype(np.float32), database.codes, 6)
                assert found.ids.shape == (4, 6)
                assert (found.ids[:, 4:] == -1).all() and np.isinf(found.distances[:, 4:]).all()
                assert (np.sort(found.ids[:, :4], axis=1) == np.arange(4)).all()


def test_order_is_by_distance_then_id_and_holes_come_last() -> None:
    ids = np.array([[7, -1, 3, 5]])
    found = ordered(ids, np.array([[2, 0, 2, 1]], np.float32), 5)
    assert found.ids.tolist() == [[5, 3, 7, -1, -1]]
    assert found.distances.tolist() == [[1, 2, 2, np.inf, np.inf]]
    assert ordered(ids, np.array([[2, 0, 2, 1]], np.float32), 2).ids.tolist() == [[5, 3]]


def test_memory_is_that_of_what_is_kept(database: CodeSet) -> None:
    features = 4 * database.dim * len(database)
    used = {}
    for name in SEARCHES:
        with make_search(name) as search:
            search.build(database)
            used[name] = search.memory_bytes
    assert features <= used["linear"] < features + 1000
    assert used["hnsw"] > used["linear"] + 400 * 32 * 4  # 32 links at least
    codebook = 256 * 4 * 32  # 24 values are padded to 32
    assert 400 * 16 <= used["pq"] - codebook < 400 * 16 + 1000
    assert 0 < used["pq-rerank"] - used["pq"] - 400 * 32 * 2 < 1000  # float16
    assert used["hash"] > features // 2


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"search 'flann' - choose one of linear, hnsw"):
        make_search("flann")
    with CodeSet(write_set(tmp_path / "few.h5", 255, seed=0)) as few:
        for name in ("pq", "ivf-pq"):
            with pytest.raises(DataError, match=f"255 images: {name} is learned from 256"):
                make_search(name).build(few)
        for search in (LinearSearch(), HashThenRerank()):
            with pytest.raises(DataError, match=f"{search.name}: nothing to search yet"):
                ask(search, few)


def test_a_closed_index_leaves_no_files(database: CodeSet, tmp_path: Path,
                                        monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with HashThenRerank() as search:
        search.build(database)
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


def test_threads_of_faiss_are_as_before(database: CodeSet) -> None:
    before = faiss.omp_get_max_threads()
    with LinearSearch() as search:
        search.build(database)
    assert faiss.omp_get_max_threads() == before
