"""The tools with an address in Milvus, in processes of their own, against a real server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latenthash.index import open_index
from test_index import clustered, code_file

ROOT = Path(__file__).resolve().parent.parent
LATEST = ROOT / "run/latest-index"
pytestmark = pytest.mark.slow


def run(name: str, *args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / name), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def answer(name: str, *args: object) -> dict[str, Any]:
    done = run(name, *args, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def refusal(name: str, *args: object) -> str:
    done = run(name, *args)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    return line


@pytest.fixture(autouse=True)
def kept_latest() -> Iterator[None]:
    """The index that was built last before the tests is so after them."""
    kept = LATEST.read_text() if LATEST.is_file() else None
    yield
    if kept is None:
        LATEST.unlink(missing_ok=True)
    else:
        LATEST.write_text(kept)


def test_build_and_search(milvus: str, tmp_path: Path) -> None:
    rows, address = clustered(40, 20, 2), f"{milvus}tools_search"
    built = answer("build_index.py", code_file(tmp_path, rows, 20), address)
    assert built["images"] == 40
    assert LATEST.read_text() == address
    found = answer("search.py", "--like", rows.names[3], "--index", address, "--top", 7)
    assert found["hits"][0]["distance"] == 0
    assert found["coarse"]["ways"] == ["milvus"]
    refused = run("search.py", "--like", "x", "--index", "faiss://h/a")
    assert refused.returncode == 2
    assert "unknown faiss://" in refused.stderr


def test_looking_after_it(milvus: str, tmp_path: Path) -> None:
    """As over a folder: grows, shrinks, stays whole; people and machines are told."""
    rows, more, address = clustered(40, 20, 2), clustered(14, 20, 3), f"{milvus}tools_care"
    rows.content[:] = np.random.default_rng(0).integers(1, 256, rows.content.shape)
    more.content[:2], more.names[:] = rows.content[[5, 6]], [f"n/{n}" for n in range(14)]
    answer("build_index.py", code_file(tmp_path, rows, 20), address)
    added = answer("index.py", "add", address, code_file(tmp_path, more, 20))
    assert added["added"] == 12
    assert [each["equals"] for each in added["duplicates"]] == rows.names[5:7]
    removed = answer("index.py", "remove", address, "n/3", rows.names[0], "--ids", 1, 999)
    assert (removed["removed"], removed["images"]) == (3, 49)
    compacted = answer("index.py", "compact", address)
    assert (compacted["images"], compacted["bytes_freed"]) == (49, None)
    facts = answer("index.py", "info", address)
    assert [facts[key] for key in ("images", "bits", "bytes", "segments")] == [49, 20, None, []]
    assert answer("index.py", "verify", address)["ok"] is True
    told = run("index.py", "info", address).stdout
    assert told.startswith(f"{address}, generation ")
    assert "segments" not in told and "size" not in told
    with open_index(address) as index:
        assert index.find_name("n/3") is None
        assert index.find_name("n/4") is not None


def test_damage_is_exit_code_1(milvus: str, tmp_path: Path) -> None:
    from latenthash.adapters.milvus.address import parse
    from latenthash.adapters.milvus.server import Server

    address = f"{milvus}tools_damage"
    answer("build_index.py", code_file(tmp_path, clustered(10, 8, 1), 8), address)
    with open_index(address) as index, Server(parse(address)) as raw:
        raw.delete(index.manifest["features"], [2])
        raw.count(index.manifest["features"])
    done = run("index.py", "verify", address)
    assert done.returncode == 1
    assert "image 2: it has a code and no feature" in done.stderr


def test_mistakes(milvus: str, tmp_path: Path) -> None:
    address = f"{milvus}tools_mistakes"
    codes = code_file(tmp_path, clustered(10, 8, 1), 8)
    assert "no index there" in refusal("index.py", "info", address)
    answer("build_index.py", codes, address)
    assert "holds no unheard" in refusal("index.py", "remove", address, "unheard")
    for name in ("stats", "duplicates"):
        assert "its codes are not files here" in refusal("index.py", name, address)
