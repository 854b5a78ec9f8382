"""The benchmarks at tiny sizes: their keys, and that both sides are measured rightly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import faiss_side
import harness
import report
import scaling
import synthetic
from latenthash.codes import CodeSet
from latenthash.distances import METRICS, l2

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def run(script: str, *arguments: object) -> str:
    command = [sys.executable, str(BENCHMARKS / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


def search(folder: Path, *arguments: object) -> dict[str, Any]:
    output = folder / "search.json"
    run(
        "search_bench.py",
        "--images",
        900,
        "--dim",
        40,
        "--queries",
        6,
        "--json",
        output,
        *arguments,
    )
    assert output.with_suffix(".png").stat().st_size > 10_000
    return dict(json.loads(output.read_text()))


def require_figures(case: dict[str, Any]) -> None:
    for way in (case["ours"], case["faiss_two_stage"], *case["coarse"].values()):
        assert 0 < way["p50_ms"] <= way["p99_ms"]
    assert set(case["coarse"]) == {"ours", "faiss", "faiss_sharded"}
    faiss = [case[way]["p50_ms"] for way in ("faiss_flat", "faiss_sharded")]
    assert case["faiss_two_stage"]["p50_ms"] == min(faiss)
    assert case["coarse_sharded_ratio"] > 0
    slower = case["faiss_two_stage"]["p50_ms"] / case["ours"]["p50_ms"]
    assert case["ratio"] == pytest.approx(slower, abs=0.01)
    assert case["coarse_ratio"] > 0
    assert case["bandwidth_share"] > 0
    assert case["same_results"] is True
    assert 0 < case["faiss_recall"] <= 1


def test_search_bench_writes_what_was_asked_for(tmp_path: Path) -> None:
    found = search(tmp_path, "--bits", 32, "--candidates", 100, "--top", 20)
    require_figures(found)
    require_figures(found["worst_case"])
    assert found["memory_bandwidth_gb_s"] > 0
    assert found["machine"]["cores"] == harness.CORES
    assert found["versions"]["faiss"]
    assert found["batch"]["batch_queries_s"] > 0
    assert found["distinct_codes"] < found["worst_case"]["distinct_codes"] == 900


@pytest.mark.parametrize("storage", ["float16", "float32"])
def test_search_bench_takes_other_storage(tmp_path: Path, storage: str) -> None:
    arguments = ("--data", "clustered", "--bits", 48, "--candidates", 50, "--top", 60)
    require_figures(search(tmp_path, *arguments, "--storage", storage))


def test_search_bench_keeps_an_index_and_drops_it_from_the_cache(tmp_path: Path) -> None:
    arguments = ("--data", "random", "--bits", 8, "--metric", "chi2", "--candidates", 90,
                 "--work", tmp_path / "work")  # fmt: skip
    warm = search(tmp_path, *arguments)
    assert warm["build"]["seconds"] > 0
    assert warm["linear_ratio"] > 0
    cold = search(tmp_path, *arguments, "--cold")
    require_figures(cold)
    assert cold["build"]["seconds"] is None
    assert "batch" not in cold
    assert 0 <= cold["resident_share_when_cold"] <= 1


def test_scaling_finds_the_same_by_all_methods(tmp_path: Path) -> None:
    output = tmp_path / "scaling.json"
    run("scaling.py", "--smallest", 2000, "--largest", 20_000, "--bits", 48, "--radius", 4,
        "--candidates", 300, "--queries", 5, "--json", output)  # fmt: skip
    found = json.loads(output.read_text())
    assert [step["codes"] for step in found["steps"]] == [2000, 20_000]
    for step in found["steps"]:
        assert step["same_results"] is True
        assert set(step["methods"]) == set(scaling.METHODS)
        for method in step["methods"].values():
            assert method["radius"]["p50_ms"] > 0
            assert method["mb"] >= 0
    assert output.with_suffix(".png").stat().st_size > 10_000


def test_build_bench_measures_rate_and_memory(tmp_path: Path) -> None:
    output = tmp_path / "build.json"
    run("build_bench.py", "--images", 300, "--dim", 16, "--runs", 1, "--json", output)
    found = json.loads(output.read_text())
    assert found["images_s"] > 0
    assert found["disk_images_s"] > 0
    assert found["peak_mb"] > 0
    assert found["index_mb"] > 300 * 16 * 2 / 1e6


@pytest.mark.parametrize("kind", synthetic.KINDS)
def test_synthetic_set_is_the_same_made_or_stored(tmp_path: Path, kind: str) -> None:
    recipe = synthetic.Synthetic(kind, synthetic.BLOCK + 700, 20, 12, seed=3)
    made = synthetic.SyntheticCodes(recipe, tmp_path)
    with CodeSet(synthetic.write_hdf5(recipe, tmp_path / "codes.h5")) as stored:
        for name in ("names", "labels", "codes", "content"):
            assert np.array_equal(getattr(made, name), getattr(stored, name))
        for part in ((0, 10), (synthetic.BLOCK - 5, synthetic.BLOCK + 5), (4700, len(made))):
            assert np.array_equal(made.features(*part), stored.features(*part))
        assert np.array_equal(made.features(), stored.features())
    assert np.array_equal(synthetic.all_codes(recipe), made.codes)
    assert len(np.unique(made.content, axis=0)) == len(made)


def test_clustered_features_are_near_where_codes_are_near() -> None:
    rows = synthetic.Synthetic("clustered", 2000, 64, 32).block(0)
    bits = np.unpackbits(rows.codes, axis=1).astype(int)
    hamming = np.abs(bits[:100, None] - bits[None]).sum(axis=2)
    features = rows.features.astype(np.float32)
    distances = np.linalg.norm(features[:100, None] - features[None], axis=2)
    assert distances[hamming < 8].mean() < 0.7 * distances[hamming > 24].mean()
    assert (features >= 0).all()


def test_half_is_float16_cut_down() -> None:
    values = np.random.default_rng(0).exponential(3, 5000).astype(np.float32)
    values[0] = 0
    found = synthetic._half(values.copy()).astype(np.float64)
    nearest = values.astype(np.float16).astype(np.float64)
    assert (found <= values).all()
    assert (nearest - found <= np.spacing(values.astype(np.float16))).all()


def stored_set(dtype: type, metric: str, bits: int = 24) -> tuple[faiss_side.TwoStage, Any, Any]:
    rng = np.random.default_rng(5)
    codes = rng.integers(0, 256, (600, bits // 8), dtype=np.uint8)
    features = rng.integers(0, 100, (600, 19)).astype(dtype)
    scale = rng.random(19, dtype=np.float32) + 0.1 if dtype is np.int8 else None
    ids = rng.permutation(600)
    side = faiss_side.TwoStage(codes, features, scale, ids, bits, metric, 200, 30)
    return side, codes, features.astype(np.float32) * (1 if scale is None else scale)


@pytest.mark.parametrize("dtype", [np.int8, np.float16, np.float32])
@pytest.mark.parametrize("metric", ["l2", "chi2"])
def test_every_way_of_the_faiss_side_gives_the_exact_distances(dtype: type, metric: str) -> None:
    side, codes, features = stored_set(dtype, metric)
    query = features[7] + 0.5
    hamming = np.unpackbits(codes ^ codes[3], axis=1).sum(axis=1)
    for way in side.coarse_ways.values():
        rows = way(codes[3], 200)
        assert len(set(rows.tolist())) == 200
        assert sorted(hamming[rows]) == sorted(hamming)[:200]
    rows = np.sort(rows)
    distances = METRICS[metric](query, features[rows])
    order = np.lexsort((side.ids[rows], distances))[:30]
    assert len(side.fine_ways) >= (3 if metric == "l2" else 1)
    for way in side.fine_ways.values():
        ids, found = side._best(*way(rows, query))
        np.testing.assert_allclose(found, distances[order], rtol=1e-4)
        assert faiss_side.same_hits((side.ids[rows][order], distances[order]), (ids, found))


def test_faiss_side_keeps_the_fastest_way() -> None:
    side, codes, features = stored_set(np.float32, "l2")
    tried = side.choose(codes[:5], features[:5])
    for sharded, kept in side.coarse_way.items():
        alike = {
            name: ms for name, ms in tried["coarse"].items() if name.endswith("sharded") == sharded
        }
        assert tried["coarse"][kept] == min(alike.values())
    assert tried["fine"][side.fine_way] == min(tried["fine"].values())


def hits(ids: list[int], distances: list[float]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    return np.array(ids, np.int64), np.array(distances, np.float32)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (hits([1, 2, 3], [1, 2, 2]), True),
        (hits([1, 3, 2], [1, 2, 2]), True),
        (hits([1, 2, 9], [1, 2, 2]), True),  # another one of equal distance at the edge
        (hits([9, 2, 3], [1, 2, 2]), False),
        (hits([1, 2, 3], [1, 2, 2.1]), False),
        (hits([1, 2], [1, 2]), False),
    ],
)
def test_same_hits_forgives_ties_only(other: Any, same: bool) -> None:
    assert faiss_side.same_hits(hits([1, 2, 3], [1, 2, 2]), other) is same


def test_interleaving_takes_turns_and_forgets_the_warm_up() -> None:
    called: list[tuple[str, int]] = []
    ways = {name: lambda q, name=name: called.append((name, q)) or q for name in "ab"}
    seconds, results = harness.interleaved(ways, 7)
    assert results == {"a": [*range(7)], "b": [*range(7)]}
    assert {name: len(times) for name, times in seconds.items()} == {"a": 7, "b": 7}
    names = "".join(name for name, _ in called)
    assert names[-14:] in ("abbaabbaabbaab", "baabbaabbaabba")


def test_percentiles_are_in_milliseconds() -> None:
    found = harness.percentiles([0.001 * value for value in range(1, 102)])
    assert (found["p50_ms"], found["p99_ms"], found["runs"]) == (51, 100, 101)


def test_forgotten_files_leave_the_page_cache(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(bytes(1 << 22))
    subprocess.run(["sync", str(file)], check=True)
    mapped = np.memmap(file, mode="r")
    assert mapped.sum() == 0
    assert harness.resident_share(file) == 1
    harness.forget([file])
    share = harness.resident_share(file)
    harness.warm([file])
    assert harness.resident_share(file) == 1
    assert mapped.sum() == 0
    if share == 1:
        pytest.skip("a file system in memory")
    assert share < 0.1


def test_report_fills_the_page_and_says_what_is_missing(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text((BENCHMARKS.parent / "docs/performance.md").read_text())
    results = tmp_path / "results"
    results.mkdir()
    search(results, "--bits", 8, "--candidates", 100, "--top", 20)
    (results / "thesis.json").write_text((results / "search.json").read_text())
    run("report.py", results, page)
    text = page.read_text()
    measured = json.loads((results / "search.json").read_text())
    assert f"| {report.figure(measured['ours']['p50_ms'])} |" in text
    assert text.count("not measured yet") == 3
    assert text.count("Not measured yet.") == 5
    assert f"{measured['worst_case']['ratio']} x" in text
    before = text
    run("report.py", results, page)
    assert page.read_text() == before


def test_figures_keep_three_digits() -> None:
    values = [0, 0.01234, 0.5, 3.14159, 42.42, 123.4, 34567.8]
    shown = ["0", "0.0123", "0.500", "3.14", "42.4", "123", "34,568"]
    assert [report.figure(value) for value in values] == shown


def test_queries_are_no_images_of_the_set() -> None:
    recipe = synthetic.Synthetic("random", 500, 64, 8)
    one, two = recipe.block(0), recipe.queries(50)
    assert not set(one.names) & set(two.names)
    assert l2(two.features[0], one.features).min() > 0
