"""Damaged and hostile index files end in one of our errors, in bounded time and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from latenthash.codes import CodeSet
from latenthash.index import IndexWriter
from numbered import MEMORY, build, code_file


def fuzz(storage: str, rounds: int, seed: int) -> dict[str, int]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as place:
        folder = build(Path(place), range(30), storage)
        more = code_file(Path(place) / "more.h5", range(30, 40))
        with CodeSet(more) as codes, IndexWriter(folder) as writer:
            writer.add(codes)
            writer.remove([1, 33])
        ended = subprocess.run(
            [sys.executable, "-W", "error", str(Path(__file__).with_name("fuzz.py")),
             str(folder), str(rounds), str(seed)],
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    counts: dict[str, int] = json.loads(ended.stdout)
    return counts


@pytest.mark.parametrize("storage", ["float16", "int8"])
def test_damage_ends_in_an_error_of_ours(storage: str) -> None:
    assert fuzz(storage, 150, 0)["refused"] > 100


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
def test_much_damage_ends_in_an_error_of_ours(storage: str) -> None:
    assert fuzz(storage, 3000, 1)["refused"] > 2000
