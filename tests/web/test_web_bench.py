"""The benchmark of the service runs, small, and its report is whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from web_library import PER_CLASS, ROOT, free_port


def test_all_loads_are_answered(built: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, str(ROOT / "benchmarks/web_bench.py"), "--index",
               str(built / "index"), "--engine", "fake", "--workers", "2", "--clients", "2",
               "--users", "4", "--seconds", "1", "--uploads", "2", "--pixels", "40",
               "--port", str(free_port()), "--work", str(tmp_path),
               "--json", str(report)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(report.read_text())
    assert found["images"] == 2 * PER_CLASS
    for load in ("search", "upload", "users"):
        assert found[load]["errors"] == 0, found[load]
        assert found[load]["requests_per_s"] > 0
    assert found["upload"]["runs"] == 2
    before = found["memory"]["before_mb"]
    assert before["all"] > before["without_files"] > 0
    assert str(tmp_path) not in report.read_text()


def test_an_enlarged_index_holds_the_originals_and_their_copies(tmp_path: Path) -> None:
    from latenthash.codes import CodeSet
    from latenthash.engines import get_engine
    from latenthash.extract import extract
    from latenthash.hashing import HashSettings
    from latenthash.index import BucketIndex
    from latenthash.sources import open_source
    from small import write_images, write_published

    web_bench = pytest.importorskip("web_bench")
    source = open_source(write_images(tmp_path / "images", per_class=10))
    model = write_published(tmp_path / "model")
    codes = tmp_path / "codes.h5"
    extract(source, model, get_engine("fake"), codes, learning=HashSettings("lsh", 16))
    index = web_bench.enlarged(codes, 47, tmp_path / "index", seed=0, noise=0.05)
    with CodeSet(codes) as original, BucketIndex(index) as grown:
        assert len(grown) == 47
        stored, features = grown.stored(np.arange(47))
        np.testing.assert_array_equal(features[:20], original.features().astype(np.float32))
        np.testing.assert_array_equal(stored[:20], original.codes)
        assert not np.array_equal(features[20:40], features[:20])
        np.testing.assert_allclose(features[20:40], features[:20], atol=0.2)
        assert grown.names(np.array([3, 23])) == [original.names[3], f"20/{original.names[3]}"]
