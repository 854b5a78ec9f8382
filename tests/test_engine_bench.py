"""benchmarks/engine_bench.py at a tiny size: its keys, and what its figures are made of."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import engine_bench
from bad_images import photo
from latenthash.engines import get_engine
from latenthash.lmdb_store import DatumReader

pytest.importorskip("torch")
BENCHMARK = Path(engine_bench.__file__)
SMALL = ("--count", "9", "--runs", "1", "--steps", "2", "--skip", "1", "--train-batch", "4",
         "--loader-seconds", "0.1")  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(11):
        photo(50, 40, number).save(folder / f"{number}.jpg")
    return folder


@pytest.mark.caffe
def test_all_engines_are_measured(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    given = ("--net", "lenet_48", "--images", photos, "--json", output, *SMALL)
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), *map(str, given)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(output.read_text())
    assert (found["net"], found["images"], found["input"]) == ("lenet_48", 9, [1, 28, 28])
    for what in ("images_per_s", "train_steps_per_s"):
        rates = found[what]
        assert set(rates) == {"caffe", "torch"}
        assert set(rates["torch"]) == {"float32", "bfloat16"}
        assert min(rates["caffe"]["float32"], *rates["torch"].values()) > 0
        best = max(rates["torch"].values()) / rates["caffe"]["float32"]
        assert found["ratio"][what] == pytest.approx(best, rel=0.01)
    assert found["loader_images_per_s"] > 0
    assert found["machine"]["cores"] > 0
    assert str(tmp_path) not in output.read_text()


def settings(photos: Path, net: str) -> argparse.Namespace:
    sys.argv = ["", "--net", net, "--images", str(photos), "--json", "", *SMALL]
    return engine_bench.arguments()


def test_the_solver_is_the_nets_own_but_short(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", sys.argv)
    images = engine_bench.Set(settings(photos, "lenet_48"), tmp_path)
    solver, weights = images.solver()
    with DatumReader(tmp_path / "lmdb") as reader:
        assert (len(reader), reader.shape) == (9, (1, 28, 28))
        assert reader.labels().tolist() == [*range(9)]
    steps = []
    get_engine("torch", 1).train(solver, weights, on_step=steps.append)
    trained = [step for step in steps if step.phase == "train"]
    assert len(trained) >= 4
    assert all(np.isfinite(step.values["loss"]) for step in trained)


def test_rates_are_grouped_and_compared_by_medians() -> None:
    rates = {"caffe": [2.0, 4.0, 90.0], "torch": [9.0, 10.0, 11.0], "torch-bfloat16": [6.0]}
    assert engine_bench.by_engine(rates) == {
        "caffe": {"float32": 4.0},
        "torch": {"float32": 10.0, "bfloat16": 6.0},
    }
    assert engine_bench.ratio(rates) == 2.5
    assert engine_bench.ratio({"torch": [1.0]}) is None


def test_every_way_has_its_turn() -> None:
    called: list[str] = []
    ways = {name: lambda name=name: float(called.append(name) or 1) for name in "ab"}
    assert engine_bench.in_turn(ways, 3) == {"a": [1, 1, 1], "b": [1, 1, 1]}
    assert "".join(called) == "abbaab"
