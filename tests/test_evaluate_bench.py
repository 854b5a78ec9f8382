from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
import evaluate_bench

SCRIPT = Path(evaluate_bench.__file__)


def test_bench_compares_what_comes_to_the_same(tmp_path: Path) -> None:
    output = tmp_path / "evaluate.json"
    sizes = {"queries": 60, "database": 500, "k": 100, "turns": 2, "script-queries": 20}
    given = [text for name, size in sizes.items() for text in (f"--{name}", str(size))]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *given, "--json", str(output)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(output.read_text())
    assert found["largest_difference_of_map"] < 1e-5  # torch sums in single precision
    assert 0 < found["all"]["map_at_k"] < 1
    assert found["all"]["peak_mb"] > 0
    for name in ("ours", "numpy_script", "torch_script"):
        assert found[name]["ms_per_query"] > 0
    slower = found["numpy_script"]["ms_per_query"] / found["ours"]["ms_per_query"]
    assert found["numpy_script"]["times_ours"] == pytest.approx(slower, abs=0.05, rel=0.05)


def test_codes_differ_from_their_class_by_the_noise() -> None:
    made = evaluate_bench.make(2000, 48, 10, 3)
    signs = evaluate_bench.signs(made, 48)
    assert set(np.unique(signs)) == {-1, 1}
    for label in range(10):
        rows = signs[made.labels == label]
        centre = np.sign(rows.mean(axis=0))
        assert (rows != centre).mean() == pytest.approx(0.25, abs=0.03)
