"""Methods side by side: each figure against a loop, or against the evaluator."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from latenthash.baselines import LinearSearch, PqSearch, make_search
from latenthash.cache import Cache
from latenthash.codes import CodeSet
from latenthash.comparison import (
    OWN,
    HashResult,
    ImageSet,
    compare_hashes,
    compare_search,
    hashes,
    read_sets,
)
from latenthash.errors import DataError, MismatchError
from latenthash.evaluate import evaluate
from latenthash.hamming import unpack
from latenthash.hashing import HashSettings, learn
from latenthash.threads import VARIABLE
from sets import write_set


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[CodeSet, CodeSet]:
    folder = tmp_path_factory.mktemp("sets")
    return (
        CodeSet(write_set(folder / "db.h5", 300, seed=0)),
        CodeSet(write_set(folder / "q.h5", 40, seed=1)),
    )


@pytest.fixture(scope="module")
def sets(files: tuple[CodeSet, CodeSet]) -> tuple[ImageSet, ImageSet]:
    return read_sets(*files)


def naive_map(codes: np.ndarray, labels: np.ndarray, asked: np.ndarray, wanted: np.ndarray,
              k: int) -> float:  # fmt: skip
    """Mean AP at k of a Hamming ranking with ties by row, by loops and scikit-learn."""
    total = 0.0
    for code, label in zip(asked, wanted, strict=True):
        far = (codes != code).sum(axis=1)
        order = sorted(range(len(codes)), key=lambda row: (far[row], row))[:k]
        hits = labels[order] == label
        total += average_precision_score(hits, -np.arange(k)) if hits.any() else 0
    return total / len(asked)


@pytest.mark.parametrize("method", ["lsh", "itq", "ksh"])
def test_a_function_is_worth_what_its_codes_are(
    sets: tuple[ImageSet, ImageSet], method: str
) -> None:
    database, queries = sets
    [result] = compare_hashes(database, database, queries, [method], [12], k=20, seed=5)
    function = learn(database.features, HashSettings(method, 12, 5), database.labels)
    codes = (unpack(function.encode(images.features), 12) for images in (database, queries))
    ours, asked = codes
    expected = naive_map(ours, database.labels, asked, queries.labels, 20)
    assert result.means["map_at_20"] == pytest.approx(expected)
    assert (result.method, result.bits, result.learned_from) == (method, 12, 300)
    low, high = result.intervals["map_at_20"]
    assert low <= result.means["map_at_20"] <= high
    within = [database.labels[(ours != code).sum(axis=1) <= 2] for code in asked]
    shares = [(near == label).mean() if len(near) else 0.0
              for near, label in zip(within, queries.labels, strict=True)]  # fmt: skip
    assert result.means["radius2_precision"] == pytest.approx(np.mean(shares))
    assert result.curves["radius_precision"][2] == pytest.approx(np.mean(shares), abs=1e-6)
    assert result.curves["precision"][9] == pytest.approx(result.means["precision_at_10"], abs=1e-6)
    assert result.ranks[9] == 10


def test_own_codes_are_worth_what_evaluate_says(
    files: tuple[CodeSet, CodeSet], sets: tuple[ImageSet, ImageSet]
) -> None:
    [result] = compare_hashes(sets[0], *sets, [OWN], [12, 48], k=50)
    assert (result.bits, result.learned_from) == (16, 0)
    assert result.means == evaluate(*files, k=50).means


def test_labels_help_where_they_are_used(sets: tuple[ImageSet, ImageSet]) -> None:
    results = compare_hashes(sets[0], *sets, ["lsh", "itq-cca"], [4], k=50)
    plain, taught = (result.means["map_at_50"] for result in results)
    assert taught > plain


def test_results_come_by_method_then_width_and_what_cannot_be_has_its_reason(
    sets: tuple[ImageSet, ImageSet],
) -> None:
    told: list[tuple[int, int]] = []
    results = compare_hashes(
        sets[0], *sets, ["pca", "lsh"], [12, 32], on_progress=lambda *step: told.append(step)
    )
    assert [(one.method, one.bits) for one in results] == [
        ("pca", 12), ("pca", 32), ("lsh", 12), ("lsh", 32),
    ]  # fmt: skip
    assert "32 bits of features of 24 values" in results[1].reason and not results[1].means
    assert not any(one.reason for one in (results[0], *results[2:]))
    assert told == [(done, 4) for done in range(5)]


def test_a_result_goes_through_json(sets: tuple[ImageSet, ImageSet]) -> None:
    results = compare_hashes(sets[0], *sets, ["lsh", "pca"], [12, 40], k=10)
    text = json.dumps([one.to_json() for one in results], allow_nan=False)
    assert [HashResult(**one) for one in json.loads(text)] == results


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> list[HashSettings]:
    """Settings of each function that is really learned."""
    calls: list[HashSettings] = []

    def counted(features, settings, labels):  # type: ignore[no-untyped-def]
        calls.append(settings)
        return learn(features, settings, labels)

    monkeypatch.setattr(hashes, "learn", counted)
    return calls


def test_a_second_run_learns_and_measures_nothing(
    sets: tuple[ImageSet, ImageSet], tmp_path: Path, learned: list[HashSettings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    cache = Cache(tmp_path / "cache")
    first = compare_hashes(sets[0], *sets, ["lsh", OWN], [12], k=10, cache=cache)
    monkeypatch.setattr(hashes, "measure", None)
    copies = [replace(images, features=images.features.copy()) for images in sets]
    assert compare_hashes(copies[0], *copies, ["lsh", OWN], [12], k=10, cache=cache) == first
    assert learned == [HashSettings("lsh", 12)]


def test_whatever_changes_is_made_anew(
    sets: tuple[ImageSet, ImageSet], tmp_path: Path, learned: list[HashSettings]
) -> None:
    database, queries = sets
    cache = Cache(tmp_path / "cache")

    def run(training: ImageSet = database, ranked: ImageSet = database, asked: ImageSet = queries,
            **settings: int) -> HashResult:  # fmt: skip
        options = {"k": 10, "seed": 0, **settings}
        return compare_hashes(training, ranked, asked, ["lsh"], [12], cache=cache, **options)[0]

    def moved(images: ImageSet) -> ImageSet:
        features = images.features.copy()
        features[0, 0] += 1
        return replace(images, features=features)

    def relabelled(images: ImageSet) -> ImageSet:
        return replace(images, labels=(images.labels + 1) % 4)

    first = run()
    assert run(k=20).means.keys() != first.means.keys() and len(learned) == 1  # measured anew
    assert run(asked=relabelled(queries)).means["map_at_10"] < first.means["map_at_10"]
    run(ranked=moved(database)), run(asked=moved(queries))
    assert len(learned) == 1
    assert run(seed=1).means != first.means and len(learned) == 2
    run(training=moved(database))
    assert len(learned) == 3
    kept = {path.parent.name for path in (tmp_path / "cache").rglob("*.*")}
    assert kept == {"learn_hash", "measure_hash"}
    assert run() == first and len(learned) == 3


def test_a_large_training_set_is_sampled(
    sets: tuple[ImageSet, ImageSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashes, "SAMPLE", 100)
    [result] = compare_hashes(sets[0], *sets, ["pca"], [8])
    assert result.learned_from == 100


def test_queries_in_the_database_are_left_out(tmp_path: Path) -> None:
    same = write_set(tmp_path / "db.h5", 50, seed=0)
    mixed = write_set(tmp_path / "q.h5", 60, seed=1, content_seed=0)  # 50 of them are known
    with CodeSet(same) as database, CodeSet(mixed) as queries:
        assert len(read_sets(database, queries)[1]) == 10
        assert len(read_sets(database, queries, keep_known=True)[1]) == 60
        with pytest.raises(DataError, match="all images are in"):
            read_sets(database, database)


def test_mistakes_are_named(sets: tuple[ImageSet, ImageSet], tmp_path: Path) -> None:
    database, queries = sets
    with pytest.raises(DataError, match="hash 'md5'"):
        compare_hashes(database, database, queries, ["md5"])
    with pytest.raises(DataError, match="the first 0 ranks"):
        compare_hashes(database, database, queries, ["lsh"], k=0)
    with pytest.raises(DataError, match="own codes of images that have none"):
        compare_hashes(database, replace(database, codes=None), queries, [OWN])
    with pytest.raises(DataError, match="0 queries, 300 images"):
        compare_hashes(database, database, queries.taken(np.zeros(40, bool)), ["lsh"])
    with (
        CodeSet(write_set(tmp_path / "db.h5", 20, seed=0)) as one,
        CodeSet(write_set(tmp_path / "q.h5", 20, seed=1, bits=8)) as other,
        pytest.raises(MismatchError, match="bits 8 instead of 16"),
    ):
        compare_search(one, other, [LinearSearch()])


# ---- searches


def test_searches_are_measured_against_the_exact_one(files: tuple[CodeSet, CodeSet]) -> None:
    database, queries = files
    methods = [make_search(name) for name in ("linear", "hnsw", "hash")] + [PqSearch(code_bytes=2)]
    results = compare_search(database, queries, methods, k=10)
    found = {one.method: one for one in results}
    assert found["linear"].recall == 1 and found["hnsw"].recall > 0.9
    assert 0 < found["pq"].recall < 0.9
    assert found["pq"].settings == {"code_bytes": 2, "candidates": 0, "seed": 0}
    assert found["hash"].settings["bits"] == 16
    rows = database.features().astype(float)
    hits = []
    for feature, label in zip(queries.features().astype(float), queries.labels, strict=True):
        nearest = np.argsort(((rows - feature) ** 2).sum(axis=1))[:10]
        hits.append(database.labels[nearest] == label)
    assert found["linear"].precision_at_k == pytest.approx(np.mean(hits))
    expected = [average_precision_score(row, -np.arange(10)) if row.any() else 0 for row in hits]
    assert found["linear"].map_at_k == pytest.approx(np.mean(expected))
    for one in results:
        assert (one.k, one.queries, one.threads) == (10, 40, 1)
        assert 0 < one.median_ms <= one.p99_ms and one.build_seconds > 0 and one.memory_bytes > 0
    json.dumps([one.to_json() for one in results], allow_nan=False)


def test_a_sample_of_the_queries_is_asked(files: tuple[CodeSet, CodeSet]) -> None:
    told: list[tuple[int, int]] = []
    results = [
        compare_search(*files, [make_search("hash")], most=15, seed=seed,
                       on_progress=lambda *step: told.append(step))[0]
        for seed in (0, 0, 1)
    ]  # fmt: skip
    assert [one.queries for one in results] == [15, 15, 15]
    assert results[0].precision_at_k == results[1].precision_at_k
    assert told[:2] == [(0, 1), (1, 1)]


class Watching(LinearSearch):
    """Notes how many threads our own kernels would take."""

    seen: list[str | None]

    def search(self, *args):  # type: ignore[no-untyped-def]
        self.seen.append(os.environ.get(VARIABLE))
        return super().search(*args)


@pytest.fixture(params=[None, "2"])
def asked_threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param is None:
        monkeypatch.delenv(VARIABLE, raising=False)
    else:
        monkeypatch.setenv(VARIABLE, request.param)
    yield request.param


def test_one_thread_answers(files: tuple[CodeSet, CodeSet], asked_threads: str | None) -> None:
    watching = Watching()
    watching.seen = []
    compare_search(*files, [watching], most=3)
    assert watching.seen == ["1"] * 6  # three warm up
    assert os.environ.get(VARIABLE) == asked_threads
