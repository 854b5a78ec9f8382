"""tools/compare.py as a user runs it, and its tables and pictures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from latenthash.baselines import DESCRIPTORS, SEARCHES
from latenthash.codes import CodeSet
from latenthash.comparison import HashResult, compare_hashes, draw, hash_table, read_sets
from latenthash.files import sha256
from latenthash.hashing import METHODS, SUPERVISED
from sets import write_set

TOOL = Path(__file__).resolve().parent.parent / "tools/compare.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("sets")
    write_set(made / "db.h5", 300, seed=0)
    write_set(made / "q.h5", 30, seed=1)
    return made


def run(folder: Path, *options: object) -> subprocess.CompletedProcess[str]:
    given = ["--codes", folder / "db.h5", "--queries", folder / "q.h5", "--cache", folder / "cache"]
    command = [sys.executable, str(TOOL), *map(str, [*given, *options])]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_tables_json_and_pictures_agree(folder: Path, tmp_path: Path) -> None:
    options = [
        "--methods",
        "own",
        "lsh",
        "pca",
        "--bits",
        12,
        32,
        "--k",
        20,
        "--search",
        "linear",
        "hash",
        "--top",
        5,
        "--json",
        tmp_path / "out.json",
        "--plots",
        tmp_path / "plots",
    ]
    done = run(folder, *options)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    with CodeSet(folder / "db.h5") as database, CodeSet(folder / "q.h5") as queries:
        sets = read_sets(database, queries)
        results = compare_hashes(sets[0], *sets, ["own", "lsh", "pca"], [12, 32], k=20)
    for one, theirs in zip(results, found["hashes"], strict=True):
        assert theirs["means"] == one.means and theirs["curves"] == one.curves
    lines = done.stdout.splitlines()
    assert lines[: len(results)] == [*hash_table(results, "map_at_20").splitlines(), lines[4]]
    assert lines[3].split()[0] == "pca" and lines[3].split()[-1] == "-"  # 24 values, 32 bits
    assert [one["method"] for one in found["search"]] == ["linear", "hash"]
    assert lines[5].split()[:2] == ["linear", "1.0000"]
    assert found["data"]["database"] == {
        "file": "db.h5", "sha256": sha256(folder / "db.h5"), "images": 300,
    }  # fmt: skip
    assert "--top 5" in found["command"] and found["versions"]["faiss"]
    names = {path.name for path in (tmp_path / "plots").iterdir()}
    kinds = ("precision_at_rank", "precision_recall")
    assert names == {f"{kind}_{bits}.png" for kind in kinds for bits in (12, 16, 32)}


def test_a_second_run_takes_what_is_kept(folder: Path) -> None:
    options = ["--methods", "lsh", "--bits", 8]
    first, second = run(folder, *options), run(folder, *options)
    assert first.returncode == 0 and first.stdout == second.stdout
    files = list((folder / "cache").rglob("*.json"))
    before = {file: file.stat().st_mtime_ns for file in files}
    run(folder, *options)
    assert before == {file: file.stat().st_mtime_ns for file in files}


def test_another_set_may_be_learned_from(folder: Path, tmp_path: Path) -> None:
    write_set(folder / "train.h5", 100, seed=2)
    done = run(folder, "--methods", "pca", "--bits", 8, "--learn", folder / "train.h5",
               "--json", tmp_path / "out.json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["hashes"][0]["learned_from"] == 100
    assert found["data"]["training"]["images"] == 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--codes", "missing.h5"], "error: missing.h5: no such file"),
        (["--bits", "0"], "error: 0 bits - give 1 to 1024"),
        (["--methods", "--search", "--top", "0"], "error: 0 neighbours of 1000 queries"),
    ],
)
def test_mistakes_are_one_line(folder: Path, options: list[str], message: str) -> None:
    done = run(folder, *options)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]


def test_a_table_has_a_dash_where_there_is_no_figure() -> None:
    results = [
        HashResult("itq", 12, means={"m": 0.5}),
        HashResult("itq", 128, reason="too few directions"),
        HashResult("own", 48, means={"m": 0.91234}),
    ]
    assert hash_table(results, "m").splitlines() == [
        "m    12 bits  48 bits  128 bits",
        "itq   0.5000        -         -",
        "own        -   0.9123         -",
    ]


def test_pictures_show_what_could_be_learned(folder: Path, tmp_path: Path) -> None:
    with CodeSet(folder / "db.h5") as database, CodeSet(folder / "q.h5") as queries:
        sets = read_sets(database, queries)
        results = compare_hashes(sets[0], *sets, ["lsh", "pca"], [8, 32], k=20)
    pictures = draw(results, 20, tmp_path)
    assert [path.name for path in pictures[::2]] == [f"precision_at_rank_{n}.png" for n in (8, 32)]
    for path in pictures:
        with Image.open(path) as image:
            assert image.size == (1000, 640)


def test_the_page_names_what_there_is() -> None:
    page = (TOOL.parent.parent / "docs/baselines.md").read_text()
    for name in (*SEARCHES, *METHODS, *SUPERVISED, *(one.split("-")[0] for one in DESCRIPTORS)):
        assert f"`{name}" in page, name
    helped = subprocess.run([sys.executable, str(TOOL), "--help"], capture_output=True, text=True,
                            check=True).stdout  # fmt: skip
    commands = [line for line in page.splitlines() if "tools/compare.py" in line]
    assert len(commands) > 2
    for option in {word for line in commands for word in line.split() if word.startswith("--")}:
        assert f"{option} " in helped or f"[{option}" in helped, option
    example = page.split("```python\n")[1].split("```")[0]
    imports = [line for line in example.splitlines() if line.startswith("from ")]
    assert len(imports) > 3
    exec("\n".join(imports), {})
