"""Runs of the evaluator: named protocols, reranking, reports and their replay."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coded import code_file, labels_of
from latenthash.codes import CodeSet
from latenthash.errors import DataError, MismatchError
from latenthash.evaluate import Run, differences, evaluate, execute, read_report, run_again
from latenthash.index import build_index

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Training and test images of four classes; two test images are training images too."""
    content = np.random.default_rng(7).integers(0, 256, (80, 32), np.uint8)
    database = code_file(tmp_path / "d.h5", labels_of(40, 40, 40, 40))
    with CodeSet(database) as codes:
        content[[2, 5]] = codes.content[[100, 3]]
    queries = code_file(tmp_path / "q.h5", labels_of(20, 20, 20, 20), 1, content=content)
    return {"codes": str(database), "queries": str(queries)}


def found(**settings: Any) -> dict[str, Any]:
    """A report as JSON has it."""
    report: dict[str, Any] = json.loads(json.dumps(execute(Run(**settings)).report))
    return report


def test_without_a_protocol_it_is_evaluate(files: dict[str, str]) -> None:
    report = found(**files, k=30, seed=4)
    with CodeSet(Path(files["codes"])) as database, CodeSet(Path(files["queries"])) as queries:
        expected = evaluate(database, queries, 30, seed=4)
    assert report["map_at_30"] == expected.map_at_k
    assert report["excluded"] == ["1/2.png", "1/5.png"] == expected.excluded
    assert not {"protocol", "variants", "rerank", "in_library"} & set(report)
    assert found(**files, keep_known=True)["queries"] == 80


def test_a_protocol_leaves_known_queries_out(files: dict[str, str]) -> None:
    report = found(**files, protocol="cifar10", other_data=True)
    assert report["excluded"] == ["1/2.png", "1/5.png"]
    assert report["protocol"]["name"] == "cifar10 (other data)"
    assert report["protocol"]["measure"] == "map_at_1000"
    assert "160 images" in report["protocol"]["differs"]


def test_a_thousand_queries_are_drawn_by_the_seed(files: dict[str, str]) -> None:
    run = {**files, "protocol": "cifar10-1000", "other_data": True}
    reports = [found(**run, seed=seed) for seed in (1, 1, 2)]
    assert all(report["queries"] + len(report["excluded"]) == 8 for report in reports)
    assert all(report["database"] == 160 + 72 for report in reports)
    assert reports[0]["map_all"] == reports[1]["map_all"] != reports[2]["map_all"]


def test_files_whose_images_have_the_same_names_are_indexed_together(tmp_path: Path) -> None:
    content = np.random.default_rng(7).integers(0, 256, (80, 32), np.uint8)
    database = code_file(tmp_path / "d.h5", labels_of(40, 40))
    queries = code_file(tmp_path / "q.h5", labels_of(40, 40), content=content)
    report = found(codes=str(database), queries=str(queries), protocol="cifar10-1000",
                   other_data=True, rerank="l2", exact=True)  # fmt: skip
    assert report["rerank"]["images_compared"] == report["database"] == 152


def test_unseen_classes_have_two_figures(files: dict[str, str]) -> None:
    run = {**files, "protocol": "cifar10-unseen", "other_data": True, "seen": ["a", "b"]}
    report = found(**run, rerank="cosine", candidates=20)
    whole = report["variants"]["whole_database"]
    assert (report["database"], whole["database"]) == (80, 160)
    assert report["queries"] == whole["queries"] <= 40
    assert report["map_all"] > whole["map_all"]  # fewer classes to be confused with
    assert report["protocol"]["unseen"] == ["c", "d"]
    assert report["rerank"]["map_at_1000"] != whole["rerank"]["map_at_1000"]
    assert {"intervals", "curves", "precision_at"} <= set(whole)


def test_reranking_stands_beside_the_hamming_ranking(files: dict[str, str]) -> None:
    plain = found(**files, k=20)
    report = found(**files, k=20, rerank="l2", candidates=50)
    fine = report.pop("rerank")
    assert not differences(plain, report)  # the Hamming part is as it was
    mean, low, high = fine["gains"]["map_at_20"]
    assert mean == pytest.approx(fine["map_at_20"] - plain["map_at_20"])
    assert low < mean < high
    assert (fine["metric"], fine["candidates"], fine["radius"]) == ("l2", 50, None)
    assert 50 <= fine["images_compared"] < 160
    assert {"total", "per_query", "coarse", "fine", "rank"} == set(fine["seconds"])
    exact = found(**files, k=20, rerank="l2", exact=True)["rerank"]
    assert (exact["images_compared"], exact["exact"]) == (160, True)
    every = found(**files, k=20, rerank="l2", candidates=0)["rerank"]
    assert every["map_at_20"] == exact["map_at_20"]


def test_the_thesis_protocol(files: dict[str, str]) -> None:
    report = found(codes=files["codes"], protocol="caltech101-40", other_data=True, seed=5)
    library = report["in_library"]
    assert library["metric"] == "chi2"
    assert len(library["queries"]) == 40
    assert set(report["data"]) == {"database"}
    assert report["queries"] == 40
    assert report["excluded"] == []  # they are of the library, and counted
    with_self, alone = (library[name]["plain"] for name in ("with_self", "without_self"))
    assert with_self["map_by_rank"][0] == 1
    assert alone["precision_at_20"] < with_self["precision_at_20"]
    other = found(codes=files["codes"], protocol="caltech101-40", other_data=True, seed=6)
    assert other["in_library"]["queries"] != library["queries"]
    l1 = found(codes=files["codes"], protocol="caltech101-40", other_data=True, seed=5,
               rerank="l1", candidates=30)  # fmt: skip
    assert (l1["in_library"]["metric"], l1["rerank"]["metric"]) == ("l1", "l1")


def test_a_folder_needs_one_file(files: dict[str, str]) -> None:
    report = found(codes=files["codes"], protocol="folder", query_share=0.25, rerank="l2")
    assert (report["queries"], report["database"]) == (40, 120)
    assert report["protocol"]["query_share"] == 0.25
    assert report["rerank"]["images_compared"] == 120  # fewer than the candidates wanted


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"protocol": "cifar"}, "protocol 'cifar' - choose one of cifar10, "),
        ({"queries": None}, "no queries - give --queries"),
        ({"protocol": "cifar10", "k": 10}, "--k: protocol cifar10 has its own"),
        ({"protocol": "mnist", "keep_known": True}, "--keep-known: protocol mnist leaves"),
        ({"seen": ["a"]}, "--seen: is for protocol cifar10-unseen - leave out"),
        ({"query_share": 0.5, "protocol": "mnist"}, "--query-share: is for protocol folder"),
        ({"radius": 2}, "--radius: has no effect without --rerank - leave out"),
        ({"candidates": 7}, "--candidates: has no effect"),
        ({"exact": True, "protocol": "cifar10"}, "--exact: has no effect"),
        ({"exact": True, "protocol": "caltech101-40"}, "--exact: has no effect"),
        ({"index": "i"}, "--index: has no effect"),
        ({"rerank": "l3"}, "metric 'l3' - choose one of l2"),
        ({"rerank": "l2", "radius": -1}, "radius -1"),
        ({"k": 0}, "the first 0 ranks"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    files: dict[str, str], settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        execute(Run(**{**files, **settings}))


def test_an_index_is_used_where_it_fits(files: dict[str, str], tmp_path: Path) -> None:
    with CodeSet(Path(files["codes"])) as codes:
        folder = str(build_index(codes, tmp_path / "index"))
    run = {**files, "k": 20, "rerank": "l2"}
    assert not differences(found(**run), found(**run, index=folder))
    with pytest.raises(DataError, match="holds other images"):
        execute(Run(**files, protocol="cifar10-1000", other_data=True, rerank="l2", index=folder))


def test_stages_are_announced(files: dict[str, str]) -> None:
    from contextlib import contextmanager

    told: dict[str, tuple[int, int]] = {}

    @contextmanager
    def announce(stage: str):
        yield lambda *step: told.update({stage: step})

    run = Run(codes=files["codes"], protocol="caltech101-40", other_data=True, rerank="l2")
    execute(run, announce=announce)
    assert {stage: done == total for stage, (done, total) in told.items()} == dict.fromkeys(
        [f"in_library: {what}" for what in ("ranking", "indexing", "reranking",
                                            "hashed and plain")], True
    )  # fmt: skip


# Replay


def test_a_replay_comes_to_the_same(files: dict[str, str]) -> None:
    settings = {"codes": files["codes"], "protocol": "caltech101-40", "other_data": True, "seed": 3}
    before = found(**settings, rerank="l2", candidates=30)
    run = run_again(before)
    assert run == Run(**settings, rerank="l2", candidates=30)
    assert differences(before, execute(run).report) == []


def test_differences_name_the_place(files: dict[str, str]) -> None:
    before = found(**files)
    changed = json.loads(json.dumps(before))
    changed["map_all"] += 1e-15
    changed["curves"]["recall"][3] = 0
    changed["intervals"].pop("map_all")
    changed["seconds"]["total"] = 99
    changed["command"] = "another"
    changed["versions"]["numpy"] = "0"
    assert [line.split(":")[0] for line in differences(before, changed)] == [
        "curves.recall.3",
        "intervals.map_all.0",
        "intervals.map_all.1",
        "map_all",
    ]
    assert "nothing now" in differences(before, changed)[1]


def test_files_that_moved(files: dict[str, str], tmp_path: Path) -> None:
    before = found(**files, k=20)
    moved = Path(files["codes"]).rename(tmp_path / "elsewhere.h5")
    with pytest.raises(DataError, match=r"d\.h5: no such file"):
        execute(run_again(before))
    again = run_again(before, codes=str(moved), queries=None)
    assert differences(before, execute(again).report) == []


def test_other_files_do_not_pass_for_the_same(files: dict[str, str]) -> None:
    before = found(**files)
    code_file(Path(files["codes"]), labels_of(40, 40, 40, 40), 8)
    assert any(
        line.startswith("data.database.sha256")
        for line in differences(before, execute(run_again(before)).report)
    )


def test_a_report_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    for content, words in (("{", "is no JSON"), ("[1]", "is no report")):
        path.write_text(content)
        with pytest.raises(DataError, match=words):
            read_report(path)
    with pytest.raises(DataError, match=r"none\.json: No such file"):
        read_report(tmp_path / "none.json")
    for told in ({}, {"run": {"codes": "d.h5"}}, {"run": 3}):
        with pytest.raises(DataError, match="no report of this version"):
            run_again(told)


# The tool


def run_tool(name: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / f"tools/{name}.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def test_tool_runs_a_protocol_and_replays_it(files: dict[str, str], tmp_path: Path) -> None:
    given = ("--codes", "d.h5", "--queries", "q.h5", "--protocol", "cifar10-unseen", "--seen",
             "a, b", "--rerank", "l2", "--seed", 3)  # fmt: skip
    refused = run_tool("evaluate", *given, cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "not the data of protocol cifar10-unseen" in refused.stderr
    ended = run_tool("evaluate", *given, "--other-data", "--json", "e.json", "--plots", "plots",
                     cwd=tmp_path)  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "NOT the protocol's own data" in ended.stdout
    assert "never seen in training: c, d" in ended.stdout
    assert "whole database:" in ended.stdout
    assert "reranked by l2" in ended.stdout
    assert (tmp_path / "plots/precision_at_rank.png").read_bytes()[:4] == b"\x89PNG"
    report = json.loads((tmp_path / "e.json").read_text())
    assert shlex.split(report["command"])[1:5] == ["--codes", "d.h5", "--queries", "q.h5"]
    page = (ROOT / "docs/measures.md").read_text()
    for part in (report, report["protocol"], report["rerank"]):
        assert [key for key in part if f"`{key}`" not in page] == []

    again = run_tool("evaluate", "--replay", "e.json", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout == "e.json: the same numbers again\n"
    refused = run_tool("evaluate", "--replay", "e.json", "--query-share", 0.5, cwd=tmp_path)
    assert refused.returncode == 2
    assert "--query-share: is in e.json already" in refused.stderr
    report["rerank"]["map_at_1000"] = 0.5
    (tmp_path / "e.json").write_text(json.dumps(report))
    other = run_tool("evaluate", "--replay", "e.json", cwd=tmp_path)
    assert other.returncode == 1
    assert "e.json: 1 values differ\n  rerank.map_at_1000: 0.5 before, 0." in other.stdout


def test_tool_shows_the_thesis_protocol(files: dict[str, str], tmp_path: Path) -> None:
    ended = run_tool("evaluate", "--codes", "d.h5", "--protocol", "caltech101-40", "--other-data",
                     "--plots", "plots", "--json", "e.json", cwd=tmp_path)  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "precision at 20 without self" in ended.stdout
    assert "time saved" in ended.stdout
    assert (tmp_path / "plots/in_library.png").is_file()
    page = (ROOT / "docs/measures.md").read_text()
    library = json.loads((tmp_path / "e.json").read_text())["in_library"]
    for part in (library, library["with_self"]["plain"]):
        assert [key for key in part if f"`{key}`" not in page] == []


def test_tool_without_files(tmp_path: Path) -> None:
    ended = run_tool("evaluate", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (
        2, "error: no code file - give --codes, or --replay a report\n"
    )  # fmt: skip


def test_tool_holds_classes_out(tmp_path: Path) -> None:
    from PIL import Image

    for name in "abcd":
        (tmp_path / "set" / name).mkdir(parents=True)
        Image.new("L", (4, 4)).save(tmp_path / "set" / name / "1.png")
    ended = run_tool("hold_out", "set", "-o", "seen", "--seed", 1, "--json", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert sorted([*told["seen"], *told["unseen"]]) == list("abcd")
    assert (told["images"], len(told["unseen"])) == (3, 1)
    shown = run_tool("hold_out", "set", "-o", "seen", "--seed", 1, cwd=tmp_path).stdout
    assert f"held out: {told['unseen'][0]}\n" in shown
    assert "tools/build_lmdb.py seen/seen.txt DATA --root set" in shown


def test_moved_codes_of_another_net_are_refused(files: dict[str, str], tmp_path: Path) -> None:
    before = found(**files)
    other = code_file(tmp_path / "o.h5", labels_of(40, 40, 40, 40), weights_sha256="other")
    with pytest.raises(MismatchError, match="weights_sha256"):
        execute(run_again(before, codes=str(other)))
