from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bad_images import make_bad_images, photo
from latenthash.lmdb_store import DatumReader

TOOL = Path(__file__).parent.parent / "tools" / "build_lmdb.py"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name in ("cat", "dog"):
        (tmp_path / "in" / name).mkdir(parents=True)
        for number in range(5):
            photo(20, 10, number).save(tmp_path / "in" / name / f"{number}.png")
    return tmp_path / "in"


def test_the_closing_line_counts_what_was_built(source: Path, tmp_path: Path) -> None:
    done = run(source, tmp_path / "out")
    assert done.returncode == 0
    assert done.stdout == (
        "8 training and 2 validation images of 2 classes, 20x10 colour, "
        f"in {tmp_path / 'out'}; nothing skipped\n"
    )


def test_options_reach_the_library(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--resize", "12x8", "--gray", "--encode", "raw", "--val", "0.4", "--seed", "3")
    done = run(source, out, *options, "--json")
    report = json.loads(done.stdout)
    assert (report["shape"], report["encode"]) == ([1, 8, 12], "raw")
    assert (report["train_images"], report["val_images"]) == (6, 4)
    assert report["classes"][1] == {"label": 1, "name": "dog", "train": 3, "val": 2}
    assert json.loads((out / "dataset.json").read_text())["seed"] == 3
    with DatumReader(out / "train_lmdb") as reader:
        assert reader.shape == (1, 8, 12)


def test_a_list_file_with_a_root(source: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("cat/0.png 0\ncat/1.png 1\n")
    done = run(tmp_path / "list.txt", tmp_path / "out", "--root", source, "--val", "0")
    assert done.stdout.startswith("2 training and 0 validation images of 2 classes")


def test_bad_images_are_counted_and_fail_a_strict_run(source: Path, tmp_path: Path) -> None:
    expected = make_bad_images(source / "bad")
    skipped = sum(reason is not None for reason in expected.values())
    done = run(source, tmp_path / "out", "--resize", "32")
    assert done.returncode == 0
    assert "Warning" not in done.stderr
    line = f"; {skipped} skipped, listed in {tmp_path / 'out' / 'skipped.csv'}\n"
    assert done.stdout.endswith(line)
    done = run(source, tmp_path / "strict", "--strict")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("error: cannot be used: 'bad/")
    assert not (tmp_path / "strict").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("nowhere", "out"), 2, "error: nowhere: no such file or folder - give class folders"),
        (("IN", "out", "--resize", "big"), 2, "'big' is no size such as 256 or 320x240"),
        (("IN", "out", "--val", "2"), 2, "a validation share of 2.0 - give 0 to below 1"),
        (("IN", "IN"), 2, "give a folder outside the source"),
    ],
)
def test_mistakes_are_one_line_with_the_remedy(
    arguments: tuple[str, ...], code: int, words: str, source: Path, tmp_path: Path
) -> None:
    done = run(*(str(source) if word == "IN" else word for word in arguments))
    assert done.returncode == code
    assert words in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_help_shows_an_example() -> None:
    assert "example:\n  python tools/build_lmdb.py photos/ data/photos" in run("--help").stdout
