"""The tools as a user runs them: own process, real Caffe, real exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
NAMES = sorted(path.stem for path in (ROOT / "tools").glob("[a-z]*.py"))


def tool(name: str, *args: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / f"tools/{name}.py"), *map(str, args)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def ok(name: str, *args: object, cwd: Path = ROOT) -> str:
    ended = tool(name, *args, cwd=cwd)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.parametrize("name", NAMES)
def test_help_has_an_example_that_parses_the_tool_itself(name: str) -> None:
    text = ok(name, "--help")
    assert f"example:\n  python tools/{name}.py" in text


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where every stage has run: images, data, net, run, *.h5, index."""
    folder = tmp_path_factory.mktemp("pipeline")
    rng = np.random.default_rng(0)
    for channel, name in enumerate(("red", "green", "blue")):
        (folder / "images" / name).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 100, (64, 64, 3), dtype=np.uint8)
            pixels[..., channel] += 150
            Image.fromarray(pixels).save(folder / "images" / name / f"{number}.jpg")
    ok("build_lmdb", "images", "data", "--resize", "64", cwd=folder)
    ok("make_net", "--net", "quick", "--bits", 16, "--classes", 3, "--data", "data", "-o", "net",
       cwd=folder)  # fmt: skip
    solver = folder / "net/solver.prototxt"
    lines = solver.read_text().splitlines()
    lines = [line for line in lines if not line.startswith(("max_iter", "snapshot:"))]
    solver.write_text("\n".join([*lines, "max_iter: 12"]))
    report = json.loads(ok("train", "--solver", solver, "--output", "run", "--json", cwd=folder))
    for part, name in (("train", "database"), ("val", "queries")):
        ok("extract", f"data/{part}.txt", "--root", "images", "--net", "net",
           "--weights", report["caffemodel"], "-o", f"{name}.h5", cwd=folder)  # fmt: skip
    ok("build_index", "database.h5", "index", cwd=folder)
    return folder


@pytest.mark.caffe
def test_search_finds_the_colour_and_reports_json(pipeline: Path) -> None:
    query = pipeline / "new photo é.png"
    pixels = np.random.default_rng(9).integers(0, 100, (200, 300, 3), dtype=np.uint8)
    pixels[..., 1] += 150
    Image.fromarray(pixels).save(query)
    answer = json.loads(ok("search", query, "--index", pipeline / "index", "--top", 3, "--json"))
    assert answer["query"] == str(query)
    assert len(answer["code"]) == 16
    assert [hit["label"] for hit in answer["hits"]] == ["green"] * 3
    assert answer["coarse"]["candidates"] >= 3


@pytest.mark.caffe
def test_the_last_index_is_the_default_and_save_draws(pipeline: Path) -> None:
    ok("build_index", pipeline / "database.h5", pipeline / "index")
    text = ok("search", pipeline / "images/red/0.jpg", "--save", pipeline / "hits.png")
    assert "candidates in" in text
    with Image.open(pipeline / "hits.png") as sheet:
        assert sheet.width > 800


@pytest.mark.caffe
def test_evaluate_reports(pipeline: Path) -> None:
    report = json.loads(
        ok(
            "evaluate",
            "--codes",
            pipeline / "database.h5",
            "--queries",
            pipeline / "queries.h5",
            "--json",
        )
    )
    assert (report["queries"], report["database"]) == (6, 30)
    assert report["map_at_k"] > 0.9


@pytest.mark.caffe
def test_a_bad_query_is_one_line_and_the_others_are_answered(pipeline: Path) -> None:
    bad = pipeline / "note.jpg"
    bad.write_text("no picture")
    good = pipeline / "images/blue/1.jpg"
    ended = tool("search", bad, good, "--index", pipeline / "index", "--json")
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [f"error: {bad}: not an image"]
    [answer] = json.loads(ended.stdout)
    assert answer["hits"][0]["label"] == "blue"


@pytest.mark.caffe
@pytest.mark.parametrize(
    ("name", "args", "words"),
    [
        ("search", ["x.jpg", "--index", "{p}/nowhere"], "nowhere: no index"),
        ("search", ["x.jpg", "--index", "{p}/index", "--top", "0"], "top 0"),
        ("build_index", ["{p}/nothing.h5", "{p}/i"], "nothing.h5: no such file"),
        ("build_index", ["{p}/data/labels.txt", "{p}/i"], "labels.txt: is no whole HDF5"),
        ("evaluate", ["--codes", "{p}/no.h5", "--queries", "{p}/queries.h5"], "no.h5"),
        ("extract", ["{p}/images", "--net", "unheard", "--weights", "w", "-o", "o"], "unheard"),
        ("extract", ["{p}/images", "--net", "{p}/net", "--weights", "no", "-o", "o"], "no: no"),
        ("extract", ["{p}/none", "--net", "{p}/net", "--weights", "{w}", "-o", "o"], "no such"),
        ("extract", ["{p}/data", "--net", "lenet_48", "--weights", "{w}", "-o", "o"], "1, 28, 28"),
    ],
)  # fmt: skip
def test_a_users_mistake_is_one_line_and_code_2(
    pipeline: Path, name: str, args: list[str], words: str
) -> None:
    weights = next((pipeline / "run").glob("*.caffemodel"))
    ended = tool(name, *(arg.format(p=pipeline, w=weights) for arg in args))
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert line.startswith("error: ")
    assert words in line


def test_tools_find_their_environment_from_any_interpreter(tmp_path: Path) -> None:
    """With a bare Python the tool hands over to .venv, wherever it is called from."""
    if not (ROOT / ".venv/bin/python").exists():
        pytest.fail("this test needs .venv, which `make setup` makes")
    command = ["/usr/bin/python3", "-S", str(ROOT / "tools/search.py"), "--help"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "example:" in ended.stdout
