"""tools/index.py as a user runs it: own process, real exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latenthash.codes import CodeSet, CodeWriter, Rows
from latenthash.hamming import pack
from latenthash.index import build_index
from latenthash.index.bucket.generation import open_generation

ROOT = Path(__file__).resolve().parent.parent
BITS, DIM, IMAGES = 12, 16, 60


def rows(count: int, seed: int, copies: int = 0) -> Rows:
    """Random images; the first `copies` come once more as near-copies."""
    rng = np.random.default_rng(seed)
    bits = rng.random((count, BITS)) < 0.5
    features = rng.random((count, DIM)).astype(np.float16)
    if copies:
        bits = np.concatenate([bits, bits[:copies]])
        bits[count:, 0] ^= True  # another bucket, one bit away
        features = np.concatenate([features, features[:copies] * np.float16(1.001)])
    total = count + copies
    return Rows(
        names=[f"{seed}/{number:03} é.png" for number in range(total)],
        labels=rng.integers(-1, 2, total, dtype=np.int32),
        features=features,
        codes=pack(bits),
        content=rng.integers(0, 256, (total, 32), dtype=np.uint8),
    )


def code_file(path: Path, content: Rows, weights: str = "w") -> Path:
    deploy = path.with_name("deploy.prototxt")
    deploy.write_text("name: 'net'")
    model = {
        "net": "small",
        "deploy": str(deploy),
        "deploy_sha256": "d",
        "weights_sha256": weights,
        "preprocess_sha256": "p",
        "preprocess": {"mean": None},
    }
    with CodeWriter(path, BITS, DIM, len(content)) as writer:
        writer.append(content)
        writer.finish(
            {"stage": "extract", "format": 1, "bits": BITS, "model": model,
             "classes": ["a", "b"], "root": None}
        )  # fmt: skip
    return path


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """An index of 60 images and near-copies of the first five."""
    path = code_file(tmp_path / "codes.h5", rows(IMAGES, 0, copies=5))
    with CodeSet(path) as codes:
        return build_index(codes, tmp_path / "index")


def run(*args: object, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools/index.py"), *map(str, args)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)


def answer(*args: object) -> dict:
    ended = run(*args, "--json")
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_an_index_grows_shrinks_and_stays_whole(index: Path, tmp_path: Path) -> None:
    more = rows(20, 1)
    more.content[:2] = rows(IMAGES, 0, copies=5).content[[3, 7]]
    added = answer("add", index, code_file(tmp_path / "more.h5", more))
    assert (added["added"], added["generation"]) == (18, 2)
    assert added["duplicates"] == [
        {"name": "1/000 é.png", "equals": "0/003 é.png"},
        {"name": "1/001 é.png", "equals": "0/007 é.png"},
    ]
    (tmp_path / "gone.txt").write_text("1/005 é.png\n1/006 é.png\n")
    removed = answer(
        "remove", index, "0/003 é.png", "--ids", 1, 2, 1, 999, "--from", tmp_path / "gone.txt"
    )
    assert (removed["removed"], removed["images"], removed["generation"]) == (5, 78, 3)
    facts = answer("info", index)
    assert (facts["images"], facts["removed"], len(facts["segments"])) == (78, 5, 2)
    assert (facts["bits"], facts["dim"], facts["classes"]) == (BITS, DIM, ["a", "b"])
    compacted = answer("compact", index)
    assert (compacted["images"], compacted["generation"]) == (78, 4)
    assert [part["images"] for part in answer("info", index)["segments"]] == [78]
    assert answer("verify", index)["ok"] is True
    found = open_generation(index).segments[0]
    assert found.find_name("1/005 é.png") is None
    assert found.find_name("1/007 é.png") is not None


def test_names_come_from_stdin_too(index: Path) -> None:
    ended = run("remove", index, "--from", "-", stdin="0/000 é.png\n0/001 é.png\n")
    assert ended.stdout == f"{index}: 2 images removed, 63 left\n"


def test_people_read_text(index: Path, tmp_path: Path) -> None:
    text = run("info", index).stdout
    assert "65" in text
    assert "12 bits of small" in text
    again = run("add", index, tmp_path / "codes.h5").stdout
    assert f"{index}: 0 images added" in again
    assert "65 left out" in again
    assert "0/004 é.png is 0/004 é.png" in again
    assert "and 55 more" in again
    assert run("verify", index).stdout == f"{index}: whole\n"


def test_an_emptied_index_is_looked_at_too(index: Path) -> None:
    answer("remove", index, "--ids", *range(65))
    for _ in range(2):  # with tombstones, then without any segment
        assert answer("stats", index)["images"] == 0
        assert answer("duplicates", index)["groups"] == []
        answer("compact", index)
    facts = answer("info", index)
    assert (facts["images"], facts["segments"]) == (0, [])
    assert run("stats", index).stdout.startswith("0 images, 0 distinct codes")


def test_damage_is_exit_code_1_and_names_the_file(index: Path) -> None:
    [path] = index.glob("segments/*/features.npy")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    ended = run("verify", index)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"damaged: {path}")
    ended = run("verify", index, "--json")
    assert ended.returncode == 1
    report = json.loads(ended.stdout)
    assert report["ok"] is False
    assert "features.npy" in report["problem"]


def test_stats_are_shown_and_drawn(index: Path, tmp_path: Path) -> None:
    facts = answer("stats", index, "--plot", tmp_path / "health.png")
    assert facts["images"] == 65
    assert len(facts["entropy"]) == BITS
    assert len(facts["candidates_per_radius"]["median"]) == BITS + 1
    assert facts["candidates_per_radius"]["median"][-1] == 65
    with Image.open(tmp_path / "health.png") as picture:
        assert picture.width >= 1000
    text = run("stats", index).stdout
    assert "65 images" in text
    assert "dead bits      none" in text
    assert "warning" not in text


def test_stats_warn_of_collapsed_codes(tmp_path: Path) -> None:
    content = rows(IMAGES, 0)
    content.codes[:] = content.codes[0]
    with CodeSet(code_file(tmp_path / "codes.h5", content)) as codes:
        index = build_index(codes, tmp_path / "index")
    ended = run("stats", index)
    assert ended.returncode == 0
    assert "warning: the codes have collapsed: all 60 images" in ended.stdout
    assert len(answer("stats", index)["warnings"]) == 1


def test_duplicates_are_grouped_across_segments(index: Path, tmp_path: Path) -> None:
    expected = [{f"0/{n:03} é.png", f"0/{n + IMAGES:03} é.png"} for n in range(5)]
    again = rows(IMAGES, 0)
    late = Rows(["late.png"], again.labels[:1], again.features[2:3], again.codes[2:3],
                np.full((1, 32), 7, np.uint8))  # fmt: skip
    answer("add", index, code_file(tmp_path / "late.h5", late))
    expected[2].add("late.png")
    facts = answer("duplicates", index)
    groups = [{copy["name"] for copy in group} for group in facts["groups"]]
    assert groups[0] == expected[2]
    assert sorted(map(sorted, groups)) == sorted(map(sorted, expected))
    assert all(copy["distance"] < 1e-5 for group in facts["groups"] for copy in group)
    assert answer("duplicates", index, "--radius", 0)["groups"] != facts["groups"]
    text = run("duplicates", index, "--show", 2, "--save", tmp_path / "copies.png").stdout
    assert "5 groups of near-copies, 11 images in them" in text
    assert "0/002 é.png  (+2 near-copies)" in text
    assert "and 3 more groups" in text
    with Image.open(tmp_path / "copies.png") as picture:
        assert picture.height > 500


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["info", "{t}/nowhere"], "nowhere: no index"),
        (["add", "{t}/index", "{t}/no.h5"], "no.h5: no such file"),
        (["add", "{t}/index", "{t}/other.h5"], "weights_sha256 'x' instead of 'w'"),
        (["remove", "{t}/index"], "nothing to remove"),
        (["remove", "{t}/index", "0/000 é.png", "unheard"], "holds no unheard"),
        (["remove", "{t}/index", "--from", "{t}/no.txt"], "no.txt: No such file"),
        (["duplicates", "{t}/index", "--radius", "-1"], "radius"),
        (["duplicates", "{t}/index", "--max-distance", "nan"], "max-distance"),
    ],
)
def test_a_users_mistake_is_one_line_and_code_2(
    index: Path, tmp_path: Path, args: list[str], words: str
) -> None:
    code_file(tmp_path / "other.h5", rows(3, 2), weights="x")
    ended = run(*(arg.format(t=tmp_path) for arg in args))
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert open_generation(index).number == 1
