from __future__ import annotations

import json
import shlex
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from latenthash.codes import CodeSet, CodeWriter, Rows
from latenthash.errors import DataError, MismatchError
from latenthash.evaluate import Labelled, evaluate, measure, ranking
from latenthash.evaluate.ranking import curve_ranks
from latenthash.files import sha256
from latenthash.hamming import distances, pack, unpack
from latenthash.kernels import library
from latenthash.metrics import tie_aware_average_precision

TOOL = Path(__file__).resolve().parent.parent / "tools/evaluate.py"
BITS = 10


def random_set(count: int, seed: int) -> Labelled:
    """Codes that tell the class, with noise; many are equal."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, count, dtype=np.int32)
    noise = rng.random((count, BITS)) < 0.2
    return Labelled(pack((np.arange(BITS) % 4 == labels[:, None]) ^ noise), labels)


def write_set(path: Path, count: int, seed: int, **changes: Any) -> Path:
    made = random_set(count, seed)
    content = np.random.default_rng([seed, 1]).integers(0, 256, (count, 32), np.uint8)
    rows = Rows(
        [f"{seed}/{number}" for number in range(count)],
        changes.get("labels", made.labels),
        np.zeros((count, 3), np.float16),
        made.codes,
        changes.get("content", content),
    )
    manifest = {
        "stage": "extract", "format": 1, "bits": changes.get("bits", BITS),
        "classes": changes.get("classes", list("abcd")),
        "model": {"deploy_sha256": "d", "weights_sha256": changes.get("weights", "w")},
    }  # fmt: skip
    with CodeWriter(path, BITS, 3, count) as writer:
        writer.append(rows)
        writer.finish(manifest)
    return path


@pytest.fixture
def database(tmp_path: Path) -> CodeSet:
    return CodeSet(write_set(tmp_path / "d.h5", 150, 0))


@pytest.fixture
def queries(tmp_path: Path) -> CodeSet:
    return CodeSet(write_set(tmp_path / "q.h5", 70, 1))


def naive(queries: Labelled, database: Labelled, k: int) -> dict[str, list[float]]:
    """Every measure with plain loops, over codes as lists of bits."""
    codes = unpack(database.codes, BITS).tolist()
    found: dict[str, list[float]] = {}
    for code, label in zip(unpack(queries.codes, BITS).tolist(), queries.labels, strict=True):
        far = [sum(a != b for a, b in zip(code, other, strict=True)) for other in codes]
        order = sorted(range(len(codes)), key=lambda row: (far[row], row))
        hits = [bool(database.labels[row] == label) for row in order]
        within = [bool(database.labels[row] == label) for row in order if far[row] <= 2]
        total = sum(hits)
        rings = [[row for row in order if far[row] == ring] for ring in range(BITS + 1)]
        relevant = [[sum(database.labels[row] == label for row in ring) for ring in rings]]
        one = {
            f"map_at_{k}": average_precision_score(hits[:k], -np.arange(k)) if any(hits[:k]) else 0,
            "map_all": average_precision_score(hits, -np.arange(len(hits))) if total else 0,
            "map_tie_aware": tie_aware_average_precision(
                np.array(relevant), np.array([[len(ring) for ring in rings]])
            )[0],
            "radius2_precision": sum(within) / len(within) if within else 0,
            "radius2_recall": sum(within) / total if total else 0,
        }
        for rank in (1, 5, 10, 100, k):
            some = sum(hits[:rank])
            one[f"precision_at_{rank}"] = some / rank
            if rank <= len(order):
                ring_of = [[r / len(ring)] * len(ring) if ring else []
                           for r, ring in zip(relevant[0], rings, strict=True)]  # fmt: skip
                one[f"tie_aware_precision_at_{rank}"] = sum([*chain(*ring_of)][:rank]) / rank
            one[f"recall_at_{rank}"] = some / total if total else 0
            one[f"f1_at_{rank}"] = 2 * some / (rank + total)
        for name, value in one.items():
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize("compiled", [True, False])
def test_every_measure_equals_the_naive_one(
    compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiled:
        monkeypatch.setattr(library, "native", lambda: None)
    monkeypatch.setattr(ranking, "_MOST", 16)  # several blocks, the last one not full
    queries, database = random_set(70, 1), random_set(150, 0)
    queries.labels[:3] = 9  # a class that the database lacks
    told: list[tuple[int, int]] = []
    found = measure(queries, database, BITS, 40, lambda *step: told.append(step), threads=2)
    expected = naive(queries, database, 40)
    assert set(found.values) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found.values[name], values, atol=1e-12, err_msg=name)
    assert told == [(16, 70), (32, 70), (48, 70), (64, 70), (70, 70)]


def test_curves_equal_the_naive_ones() -> None:
    queries, database = random_set(30, 1), random_set(150, 0)
    found = measure(queries, database, BITS, 20)
    far = distances(queries.codes, database.codes)
    same = queries.labels[:, None] == database.labels
    order = np.argsort(far, axis=1, kind="stable")
    assert found.ranks[:20].tolist() == list(range(1, 21))
    assert found.ranks[-1] == 150
    for place, rank in enumerate(found.ranks):
        hits = np.take_along_axis(same, order, axis=1)[:, :rank].sum(axis=1)
        assert found.curves["precision"][place] == pytest.approx((hits / rank).mean())
        best = [min(rank, total) / rank for total in same.sum(axis=1)]
        assert found.curves["best_precision"][place] == pytest.approx(np.mean(best))
        assert found.curves["recall"][place] == pytest.approx((hits / same.sum(axis=1)).mean())
    for radius in range(BITS + 1):
        inside = far <= radius
        hits = (inside & same).sum(axis=1)
        precision = (hits / np.maximum(inside.sum(axis=1), 1)).mean()
        assert found.curves["radius_precision"][radius] == pytest.approx(precision)
        recall = (hits / same.sum(axis=1)).mean()
        assert found.curves["radius_recall"][radius] == pytest.approx(recall)


def test_threads_change_nothing() -> None:
    queries, database = random_set(300, 1), random_set(150, 0)
    one, two = (measure(queries, database, BITS, threads=threads) for threads in (1, 2))
    for name, values in one.values.items():
        assert np.array_equal(values, two.values[name])
    for name, values in one.curves.items():
        assert np.array_equal(values, two.curves[name])


@pytest.mark.parametrize(("k", "count"), [(1, 1), (5, 3), (3, 3), (1000, 59_000), (1, 10)])
def test_curve_ranks_are_dense_up_to_k(k: int, count: int) -> None:
    ranks = curve_ranks(k, count)
    assert ranks[: min(k, count)].tolist() == list(range(1, min(k, count) + 1))
    assert ranks[-1] == count
    assert (np.diff(ranks) > 0).all()


def test_means_and_intervals(database: CodeSet, queries: CodeSet) -> None:
    with database, queries:
        result = evaluate(database, queries, k=40, seed=3)
        expected = naive(random_set(70, 1), random_set(150, 0), 40)
    assert result.map_at_k == pytest.approx(np.mean(expected["map_at_40"]))
    assert result.precision_at[10] == pytest.approx(np.mean(expected["precision_at_10"]))
    assert result.radius_precision == pytest.approx(np.mean(expected["radius2_precision"]))
    assert (result.k, result.queries, result.database) == (40, 70, 150)
    assert sorted(result.precision_at) == [1, 5, 10, 40, 100]
    for name, (low, high) in result.intervals.items():
        assert low <= result.means[name] <= high, name
        assert high - low < 0.35, name


def test_ranks_past_the_database_hold_no_hit(tmp_path: Path) -> None:
    with (
        CodeSet(write_set(tmp_path / "d.h5", 15, 0)) as database,
        CodeSet(write_set(tmp_path / "q.h5", 3, 1)) as queries,
    ):
        result, cut = evaluate(database, queries), evaluate(database, queries, k=15)
    assert result.k == 1000
    assert result.map_at_k == cut.map_at_k
    assert sorted(result.precision_at) == [1, 5, 10]
    assert result.measured.ranks.tolist() == list(range(1, 16))


def test_queries_that_the_database_holds_are_left_out(tmp_path: Path, database: CodeSet) -> None:
    content = np.random.default_rng(7).integers(0, 256, (70, 32), np.uint8)
    content[[2, 5]] = database.content[[100, 3]]
    with database, CodeSet(write_set(tmp_path / "q.h5", 70, 1, content=content)) as queries:
        result = evaluate(database, queries)
        kept = evaluate(database, queries, keep_known=True)
    assert result.excluded == ["1/2", "1/5"]
    assert (result.queries, kept.queries, kept.excluded) == (68, 70, [])
    others = np.delete(kept.measured.values["map_all"], [2, 5])
    assert np.array_equal(result.measured.values["map_all"], others)


def test_a_database_against_itself_has_no_query_left(database: CodeSet) -> None:
    with database, pytest.raises(DataError, match=r"all images are in .*--keep-known"):
        evaluate(database, database)


def test_classes_are_matched_by_name(tmp_path: Path, database: CodeSet) -> None:
    labels = random_set(70, 1).labels
    renumbered = np.array([3, 1, 0, 2], np.int32)[labels]  # a is now number 3, ..
    changes = {"labels": renumbered, "classes": ["c", "b", "d", "a"]}
    with (
        database,
        CodeSet(write_set(tmp_path / "q.h5", 70, 1)) as queries,
        CodeSet(write_set(tmp_path / "r.h5", 70, 1, **changes)) as shuffled,
        CodeSet(write_set(tmp_path / "n.h5", 70, 1, classes=list("wxyz"))) as by_number,
        CodeSet(write_set(tmp_path / "u.h5", 70, 1, classes=["a", "b", "c", "?"])) as unknown,
    ):
        expected = evaluate(database, queries).measured.values["map_all"]
        for other in (shuffled, by_number):
            assert np.array_equal(evaluate(database, other).measured.values["map_all"], expected)
        found = evaluate(database, unknown).measured.values["map_all"]
    assert np.array_equal(found, np.where(labels == 3, 0, expected))


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"weights": "other"}, "weights_sha256 'other'"), ({"bits": 9}, "bits 9 instead of 10")],
)
def test_codes_of_another_network_are_refused(
    tmp_path: Path, database: CodeSet, changes: dict[str, Any], words: str
) -> None:
    with (
        database,
        CodeSet(write_set(tmp_path / "q.h5", 3, 1, **changes)) as queries,
        pytest.raises(MismatchError, match=words),
    ):
        evaluate(database, queries)


@pytest.mark.parametrize("count", [0, 3])
def test_images_without_labels_are_refused(tmp_path: Path, database: CodeSet, count: int) -> None:
    unknown = np.full(count, -1, np.int32)
    with (
        database,
        CodeSet(write_set(tmp_path / "q.h5", count, 1, labels=unknown)) as queries,
        pytest.raises(DataError, match=r"q\.h5: has no labels"),
    ):
        evaluate(database, queries)


def test_k_below_1_is_refused(database: CodeSet, queries: CodeSet) -> None:
    with database, queries, pytest.raises(DataError, match="the first 0 ranks"):
        evaluate(database, queries, k=0)


def run_tool(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_tool_writes_json_and_plots(tmp_path: Path, database: CodeSet, queries: CodeSet) -> None:
    given = ("--codes", database.path, "--queries", queries.path)
    output, plots = tmp_path / "out/e.json", tmp_path / "plots"
    ended = run_tool(*given, "--seed", 4, "--json", output, "--plots", plots)
    assert ended.returncode == 0, ended.stderr
    assert "70 queries, 150 images" in ended.stdout
    found = json.loads(output.read_text())
    with database, queries:
        result = evaluate(database, queries, seed=4)
    assert found["map_at_1000"] == found["map_at_k"] == result.map_at_k
    for name in ("map_all", "map_tie_aware", "radius2_precision"):
        assert found[name] == result.means[name]
        assert found["intervals"][name] == list(result.intervals[name])
    assert found["precision_at"]["10"] == result.precision_at[10]
    assert found["recall_at"]["100"] == result.at("recall")[100]
    assert found["curves"]["ranks"] == list(range(1, 151))
    assert len(found["curves"]["radius_recall"]) == BITS + 1
    assert found["data"]["queries"] == {
        "file": "q.h5", "sha256": sha256(queries.path), "images": 70,
    }  # fmt: skip
    assert found["model"]["weights_sha256"] == "w"
    assert found["versions"]["numpy"] == np.__version__
    assert found["seconds"]["total"] > 0
    assert found["seed"] == 4
    page = (TOOL.parent.parent / "docs/measures.md").read_text()
    assert all(f"`{key}`" in page for key in found)
    assert all(f"`{key}`" in page for key in found["curves"])
    for name in ("precision_at_rank.png", "precision_recall.png"):
        assert (plots / name).read_bytes()[:4] == b"\x89PNG"

    # the command that it names gives the same numbers again
    name, *again = shlex.split(found["command"])
    assert name == "evaluate.py"
    place = again.index("--json") + 1
    again[place] = str(tmp_path / "again.json")
    assert run_tool(*again).returncode == 0
    second = json.loads((tmp_path / "again.json").read_text())
    for report in (found, second):
        del report["seconds"], report["command"]
    assert second == found


def test_tool_says_what_was_left_out(tmp_path: Path, database: CodeSet) -> None:
    content = np.random.default_rng(7).integers(0, 256, (70, 32), np.uint8)
    content[4] = database.content[9]
    queries = write_set(tmp_path / "q.h5", 70, 1, content=content)
    given = ("--codes", database.path, "--queries", queries)
    assert "the very file: 1\n" in run_tool(*given).stdout
    ended = run_tool(*given, "--json")
    assert json.loads(ended.stdout)["excluded"] == ["1/4"]
    assert json.loads(run_tool(*given, "--json", "--keep-known").stdout)["queries"] == 70
    refused = run_tool("--codes", queries, "--queries", queries)
    assert refused.returncode == 2
    assert "--keep-known" in refused.stderr
