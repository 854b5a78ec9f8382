"""Options of tools/search.py, with queries of the index: no network is needed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from latenthash.codes import CodeSet
from latenthash.index import build_index
from test_index_tool import IMAGES, ROOT, code_file, rows

NAME = "0/003 é.png"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search_tool")
    with CodeSet(code_file(folder / "codes.h5", rows(IMAGES, 0, copies=5))) as codes:
        return build_index(codes, folder / "index")


def run(index: Path, *args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools/search.py"), "--index", str(index)]
    return subprocess.run([*command, *map(str, args)], capture_output=True, text=True, check=False)


def answer(index: Path, *args: object) -> dict:
    ended = run(index, *args, "--json")
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def names(report: dict) -> list[str]:
    return [hit["name"] for hit in report["hits"]]


def test_an_image_of_the_index_finds_itself_and_its_copy(index: Path) -> None:
    report = answer(index, "--like", NAME, "--top", 3)
    assert report["query"] == NAME
    assert names(report)[:2] == [NAME, f"0/{3 + IMAGES:03} é.png"]
    assert "lookup" in report["timings_ms"]


def test_fold_keeps_the_best(index: Path) -> None:
    plain, folded = (answer(index, "--like", NAME, *more) for more in ([], ["--fold"]))
    assert names(folded)[0] == NAME
    assert names(plain)[1] not in names(folded)
    assert folded["hits"][0]["near_copies"] == 1
    assert len(names(folded)) == 10
    text = run(index, "--like", NAME, "--fold").stdout
    assert f"{NAME}  (+1 near-copy)\n" in text


def test_exact_compares_all_and_says_so(index: Path) -> None:
    assert answer(index, "--like", NAME, "--candidates", 5)["coarse"]["exact"] is False
    coarse = answer(index, "--like", NAME, "--candidates", 5, "--exact")["coarse"]
    assert (coarse["exact"], coarse["candidates"]) == (True, IMAGES + 5)
    assert ", exact, " in run(index, "--like", NAME, "--exact").stdout


def test_filters(index: Path) -> None:
    everything = answer(index, "--like", NAME, "--top", 100)["hits"]
    for args, keep in (
        (["--label", "a"], lambda hit: hit["label"] == "a"),
        (["--label", "a", "--label", "b"], lambda hit: hit["label"] in "ab" and hit["label"]),
        (["--not-label", "a"], lambda hit: hit["label"] != "a"),
        (["--name-pattern", "0/01*"], lambda hit: hit["name"].startswith("0/01")),
        (["--not-name-pattern", "*5 é.png"], lambda hit: not hit["name"].endswith("5 é.png")),
    ):
        found = names(answer(index, "--like", NAME, "--top", 100, *args))
        assert found == [hit["name"] for hit in everything if keep(hit)]
        assert 0 < len(found) < len(everything)


def test_several_queries_and_memory(index: Path) -> None:
    reports = answer(index, "--like", NAME, "--like", "0/004 é.png", "--ram", "1M")
    assert [report["query"] for report in reports] == [NAME, "0/004 é.png"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "no query"),
        (["--like", "unheard"], "unheard"),
        (["--like", NAME, "--label", "cat"], "no class 'cat'"),
        (["--like", NAME, "--ram", "much"], "size 'much'"),
    ],
)
def test_a_users_mistake_is_one_line_and_code_2(index: Path, args: list[str], words: str) -> None:
    ended = run(index, *args)
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert line.startswith("error: ")
    assert words in line
